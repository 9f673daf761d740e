"""Frozen graphs of TensorFlow (`.pb`): the constants of a `GraphDef`.

The numbers of the fields are those of tensorflow/core/framework/{graph,node_def,attr_value,
tensor,tensor_shape,types}.proto:

    GraphDef          node=1 library=2 version=3 versions=4
    NodeDef           name=1 op=2 attr=5 (key=1 value=2)
    AttrValue         tensor=8
    TensorProto       dtype=1 tensor_shape=2 tensor_content=4 float_val=5 double_val=6 int_val=7
                      int64_val=10 bool_val=11 half_val=13 uint32_val=16 uint64_val=17
    TensorShapeProto  dim=2 (size=1)
"""

import math
from typing import Any

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken, Contents, File, numbers, width
from keras_dense._weights.formats.wire import Message, fields

# DataType to NumPy's, for all that are numbers.
DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    8: "complex64",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_STRING = 7
_TOP = {(1, 2), (2, 2), (3, 0), (4, 2)}
# Lists of typed values: field and size.
_REALS = {"float32": (5, "<f4"), "float64": (6, "<f8")}
_INTEGERS = {"int64": 10, "bool": 11, "float16": 13, "bfloat16": 13, "uint32": 16, "uint64": 17}


def fits(file: File) -> bool:
    """Check for the fields of a `GraphDef`, whose nodes have a name and an operation."""
    nodes = False
    try:
        for field in fields(file.map, 0, file.size):
            if (field.number, field.kind) not in _TOP:
                return False
            if field.number == 1:
                node = Message(file.map, field.start, field.end)
                if not node.raw(1) or not node.raw(2):
                    return False
                nodes = True
    except Broken:
        return nodes
    return nodes


def contents(file: File, everything: bool) -> Contents:
    """Contents of a graph: its constants by the names of their nodes.

    Integers and single numbers steer the graph (shapes, axes, factors) and go to `meta`, unless
    `everything` is wanted.
    """
    tensors: dict[str, Array] = {}
    constants: dict[str, Array] = {}
    operations: dict[str, int] = {}
    for field in fields(file.map, 0, file.size):
        if field.number != 1:
            continue
        node = Message(file.map, field.start, field.end)
        name, operation = node.text(1), node.text(2)
        operations[operation] = operations.get(operation, 0) + 1
        if operation != "Const":
            continue
        found = _constant(file, name, node)
        if found is not None:
            weight = found.ndim and found.dtype.kind in "fc"
            (tensors if everything or weight else constants)[name] = found
    if not tensors:
        raise Broken(
            "is a graph of TensorFlow without weights: it has "
            f"{operations.get('VariableV2', 0) + operations.get('VarHandleOp', 0)} variables, "
            "whose values are in a checkpoint. Give that, or freeze the graph"
        )
    return Contents(tensors, {"constants": constants, "operations": operations}, "TensorFlow graph")


def _constant(file: File, name: str, node: Message) -> Array | None:
    """The value of a constant; `None` for text."""
    for attribute in node.messages(5):
        if attribute.raw(1) == b"value":
            tensor = attribute.message(2).message(8)
            if tensor.integer(1) == _STRING:
                return None
            try:
                return _array(file, tensor)
            except Broken as error:
                raise Broken(f"cannot be read: the constant {name[:200]!r} {error}") from None
    raise Broken(f"is damaged: the constant {name[:200]!r} has no value")


def shape_of(message: Message) -> tuple[int, ...]:
    """The sizes of a `TensorShapeProto`."""
    found = tuple(dimension.integer(1) for dimension in message.messages(2))
    if any(n < 0 for n in found):
        raise Broken("is damaged: its shape has a negative size")
    return found


def dtype_of(number: int) -> str:
    """NumPy's name of a `DataType`."""
    if number not in DTYPES:
        raise Broken(f"has the data type {number} of TensorFlow, which is not one of numbers")
    return DTYPES[number]


def _array(file: File, tensor: Message) -> Array:
    dtype, shape = dtype_of(tensor.integer(1)), shape_of(tensor.message(2))
    content = tensor.fields.get(4)
    if content and content[-1].end > content[-1].start:
        return file.array(content[-1].start, dtype, shape, content[-1].end - content[-1].start)
    values: Any
    if dtype in _REALS:
        values = tensor.reals(*_REALS[dtype]).astype(dtype)
    elif dtype.startswith("complex"):
        values = tensor.reals(*((9, "<c8") if dtype == "complex64" else (12, "<c16")))
    else:
        values = np.array(tensor.integers(_INTEGERS.get(dtype, 7)), "int64")
        values = values.astype("uint16") if "float" in dtype else values.astype(dtype)
        values = numbers(values.view("uint8"), dtype) if "float" in dtype else values
    size = math.prod(shape)
    if len(values) > size:
        raise Broken(f"is damaged: it has {len(values)} numbers for {list(shape)}")
    # The last number stands for all that follow, and none for zeros.
    file.spend((size - len(values)) * width(dtype))
    full = np.zeros(size, values.dtype)
    full[: len(values)] = values
    if len(values):
        full[len(values) :] = values[-1]
    return full.reshape(shape)

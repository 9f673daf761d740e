"""Networks of LiteRT, once TensorFlow Lite (`.tflite`).

The indices of the fields are those of tensorflow/compiler/mlir/lite/schema/schema.fbs:

    Model                   operator_codes=1 subgraphs=2 description=3 buffers=4
    SubGraph                tensors=0 inputs=1 outputs=2 operators=3 name=4
    Tensor                  shape=0 type=1 buffer=2 name=3 quantization=4 sparsity=6
    QuantizationParameters  scale=2 zero_point=3 details_type=4 quantized_dimension=6
    Buffer                  data=0 offset=1 size=2
"""

import dataclasses
import math
from typing import Any

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken, Contents, File, numbers
from keras_dense._weights.formats.flatbuffer import Table, root

_STRING = 5
_INT4 = 17
# TensorType to NumPy's, for all that are numbers.
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    8: "complex64",
    9: "int8",
    10: "float64",
    11: "complex128",
    12: "uint64",
    15: "uint32",
    16: "uint16",
    _INT4: "int8",
    18: "bfloat16",
}


@dataclasses.dataclass(frozen=True)
class Quantization:
    """Integers that stand for real numbers: `scale * (values - zero_point)`.

    Attributes:
        values: the integers of the file; `None` for a map that the network computes.
        scale, zero_point: arrays of one element, or of one for each index of `axis`.
        axis: int, the axis with a scale of its own for each index.
    """

    values: Array | None
    scale: Array
    zero_point: Array
    axis: int

    def real(self) -> Array:
        """The real numbers, float32."""
        values = np.asarray(self.values)
        shape = [1] * values.ndim
        if self.scale.size > 1:
            shape[self.axis] = -1
        zero = self.zero_point.reshape(shape if self.zero_point.size > 1 else [1] * values.ndim)
        # The difference of two integers of 32 bits may need more of them.
        difference = (values.astype("int64") - zero).astype("float32")
        return difference * self.scale.reshape(shape)


def fits(file: File) -> bool:
    """Check for the identifier."""
    return file.head[4:8] == b"TFL3"


def contents(file: File, everything: bool) -> Contents:
    """Contents of a network: the tensors that have values.

    Integers without a scale and single numbers steer the network (shapes, axes) and go to `meta`,
    unless `everything` is wanted. Quantized tensors are given as float32; `meta["quantization"]`
    has a `Quantization` for each of them, with their integers, and for each quantized map.
    """
    model = root(file.map)
    buffers = model.tables(4)
    tensors: dict[str, Array] = {}
    constants: dict[str, Array] = {}
    quantization: dict[str, Quantization] = {}
    maps: dict[str, list[str]] = {"inputs": [], "outputs": []}
    for number, graph in enumerate(model.tables(2)):
        names: list[str] = []
        for index, tensor in enumerate(graph.tables(0)):
            name = tensor.text(3) or f"tensor_{index}"
            if any(name in known for known in (tensors, constants, quantization, names)):
                name = f"{name}:{number}.{index}"  # Graphs of one file repeat names.
            names.append(name)
            try:
                values = _values(file, tensor, buffers)
                scaled = _quantization(tensor, values)
            except Broken as error:
                raise Broken(f"cannot be read: the tensor {name[:200]!r} {error}") from None
            if scaled is not None:
                quantization[name] = scaled
            if values is not None:
                found = values if scaled is None else scaled.real()
                weight = everything or (found.ndim and found.dtype.kind in "fc")
                (tensors if weight else constants)[name] = found
        if number == 0:
            for index, ends in ((1, maps["inputs"]), (2, maps["outputs"])):
                ends += [names[n] for n in graph.numbers(index, "<i4") if 0 <= n < len(names)]
    if not tensors:
        raise Broken("is a network of LiteRT without weights")
    meta: dict[str, Any] = {**maps, "quantization": quantization, "constants": constants}
    meta["description"] = model.text(3)
    return Contents(tensors, meta, "LiteRT")


def _values(file: File, tensor: Table, buffers: list[Table]) -> Array | None:
    """The values of a tensor as in the file; `None` where it has none, or text."""
    number, kind = tensor.number(2, "<I"), tensor.number(1, "<b")
    if number >= len(buffers):
        raise Broken("is damaged: its buffer does not exist")
    start, size = buffers[number].vector(0)
    if not size and buffers[number].number(1, "<Q") > 1:  # After the network, beyond 2 GB.
        start, size = buffers[number].number(1, "<Q"), buffers[number].number(2, "<Q")
    if not size or kind == _STRING:
        return None
    if tensor.table(6) is not None:
        raise Broken("is stored as sparse; convert the network without that")
    if kind not in _DTYPES:
        raise Broken(f"has the type {kind} of LiteRT, which is not one of numbers")
    shape = tuple(int(n) for n in tensor.numbers(0, "<i4"))
    if any(n < 0 for n in shape):
        raise Broken("is damaged: its shape has a negative size")
    if kind == _INT4:
        return _halves(file.raw(start, size), shape)
    return file.array(start, _DTYPES[kind], shape, size)


def _halves(raw: Array, shape: tuple[int, ...]) -> Array:
    """Integers of 4 bits, two in a byte, the lower half first."""
    count = math.prod(shape)
    if len(raw) != (count + 1) // 2:
        raise Broken(f"is damaged: {len(raw)} bytes for {list(shape)} numbers of 4 bits")
    both = np.stack([raw << 4, raw & 0xF0], axis=-1).reshape(-1)[:count]
    return (both.view("int8") >> 4).reshape(shape)


def _quantization(tensor: Table, values: Array | None) -> Quantization | None:
    settings = tensor.table(4)
    kind = tensor.number(1, "<b")
    if settings is None or _DTYPES.get(kind, "")[:3] not in ("int", "uin"):
        return None
    scale = numbers(settings.numbers(2, "<f4").view("uint8"), "float32")
    zero = numbers(settings.numbers(3, "<i8").view("uint8"), "int64")
    if settings.number(4, "<B"):
        raise Broken("is quantized in a way that is not known")
    if not scale.size:
        return None
    zero = zero if zero.size else np.zeros(1, "int64")
    axis = settings.number(6, "<i")
    if values is not None:
        several = scale.size > 1
        axes = values.shape[axis] if several and 0 <= axis < values.ndim else None
        if zero.size not in (1, scale.size) or (several and axes != scale.size):
            raise Broken("is damaged: its scales do not fit its shape")
    return Quantization(values, scale, zero, axis)

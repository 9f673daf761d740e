"""ONNX: for ONNX Runtime, TensorRT and others."""

import contextlib
import logging
import pathlib
import threading
from collections.abc import Sequence

import keras
import numpy as np

from keras_dense._optional import require
from keras_dense._types import ArrayLike, PathLike
from keras_dense.export.arguments import checked
from keras_dense.export.check import WrongOutput
from keras_dense.export.product import Product
from keras_dense.export.write import write_and_check
from keras_dense.heads.model_heads import Given

OPSET = 18
_TRIES = 3
# Operations in int8; with activations, to measure ranges after them. Outputs stay float32.
_INT8 = ("Add", "Clip", "Concat", "Conv", "ConvTranspose", "MaxPool", "Relu")


def onnx(
    model: keras.Model,
    file: PathLike,
    heads: Given = None,
    *,
    size: Sequence[int] | None = None,
    images: ArrayLike | None = None,
    quantize: str | None = None,
    early_labels: bool = False,
) -> dict[str, float]:
    """Write an ONNX file.

    Its input is "images", uint8 `(B, H, W, C)`; its outputs are results, see `kd.export`.
    `metadata_props["about"]` is JSON with their meaning, including names and colors of classes.

    Needs `pip install keras_dense[export]` (tf2onnx, onnx, onnxruntime).

    Args:
        model: a model of one image, as any builder returns it.
        file: path that ends in ".onnx"; an existing file is replaced at the end.
        heads: its heads; default: those that the model carries.
        size: `(height, width)` of all images; default: any, or what the model takes.
        images: uint8 `(B, H, W, C)` to compare on; default: random images.
        quantize: `None`; "float16": weights in float16, half the file, computed in float32;
            "int8": a quarter of the file, weights and maps in int8, with the range of each map
            measured on `images`: some dozens of typical ones.
        early_labels: bool, whether to decide labels before the last upsampling and repeat them:
            less computation with many classes, but edges in steps of the upsampling's factor. For
            models that end in bilinear upsampling, fixed or learned.

    Returns:
        `{name: difference}` of each output to that of the model: for labels the share that differs,
        otherwise the largest |difference|. Also printed.

    Raises:
        ValueError, TypeError: for arguments that do not fit; for a model with an operation that
            ONNX does not have, which is named. Then nothing is written.
        RuntimeError: on another backend than TensorFlow, or if the file computes something else
            than the model. Then nothing is written.
        ImportError: if a package is missing.

    Example:

    ```python
    kd.export.onnx(model, "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx")
    labels, confidence = session.run(["labels", "confidence"], {"images": images})
    ```
    """
    path, chosen, size, images = checked(
        "onnx",
        model,
        file,
        heads,
        size,
        images,
        ".onnx",
        quantize,
        kinds=["float16", "int8"],
        measured=["int8"],
    )
    require("onnxruntime", extra="export")
    product = Product(model, chosen, size, early_labels=early_labels)

    def write(path):
        proto = converted(product)
        if quantize == "float16":
            _store_in_float16(proto)
        if quantize == "int8":
            _compute_in_int8(proto, path, images)
        else:
            path.write_bytes(proto.SerializeToString())

    # Seen twice, not understood: a file whose output has one dimension more. Others of the same
    # model were right, so it is converted again; what is kept has passed the comparison.
    for _ in range(_TRIES - 1):
        with contextlib.suppress(WrongOutput):
            return write_and_check(product, path, write, load, images, exact=quantize is None)
    return write_and_check(product, path, write, load, images, exact=quantize is None)


def converted(product):
    """The product as an ONNX model; raises for operations that ONNX does not have."""
    tf2onnx = require("tf2onnx", extra="export")
    helper = require("onnx", extra="export").helper
    function = product.function()
    with _quiet("tf2onnx"):
        proto, _ = tf2onnx.convert.from_function(
            function,
            input_signature=function.input_signature,
            opset=OPSET,
            custom_op_handlers={"Erfc": (_erfc, [])},
        )
    unknown = sorted(_unknown(proto.graph))
    if unknown:
        raise ValueError(
            f"ONNX cannot hold {product.name!r}: it has no counterpart of the TensorFlow "
            f"operations {', '.join(unknown)}. A SavedModel can."
        )
    helper.set_model_props(proto, {"about": product.about})
    return proto


def _erfc(graph, node, name, _):
    """The exact GELU of TensorFlow, by the function that ONNX has: erfc(x) = 1 - erf(x)."""
    inputs, outputs = list(node.input), list(node.output)
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", inputs)
    one = graph.make_const(f"{name}_one", np.array(1, "float32"))
    graph.make_node("Sub", [one.output[0], erf.output[0]], outputs=outputs, name=node.name)


@contextlib.contextmanager
def _quiet(name):
    """Silence the loggers of a package in this thread only."""
    own = threading.get_ident()

    def elsewhere(record):
        return record.thread != own

    logs = [logging.getLogger(n) for n in logging.root.manager.loggerDict if n.startswith(name)]
    for log in logs:
        log.addFilter(elsewhere)
    try:
        yield
    finally:
        for log in logs:
            log.removeFilter(elsewhere)


def _store_in_float16(proto):
    """Weights in float16, cast to float32 where they are used; runtimes do that once."""
    onnx = require("onnx", extra="export")
    casts = []
    for weight in proto.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.ndim < 2:
            continue
        name, least = weight.name, np.finfo("float16").max
        stored = onnx.numpy_helper.from_array(
            np.clip(values, -least, least).astype("float16"), f"{name}_float16"
        )
        weight.CopyFrom(stored)
        casts.append(
            onnx.helper.make_node("Cast", [stored.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _compute_in_int8(proto, path, images):
    """Write a file that computes in int8, by ONNX Runtime's own quantization."""
    quantization = require("onnxruntime.quantization", extra="export")
    shapes = require("onnxruntime.quantization.shape_inference", extra="export")
    aside = path.parent.parent  # of what is kept
    path.write_bytes(proto.SerializeToString())
    shapes.quant_pre_process(str(path), str(aside / "prepared.onnx"), skip_symbolic_shape=True)

    class Images(quantization.CalibrationDataReader):
        each = iter(range(len(images)))

        def get_next(self):
            n = next(self.each, None)
            return None if n is None else {"images": images[n : n + 1]}

    quantization.quantize_static(
        str(aside / "prepared.onnx"),
        str(path),
        Images(),
        op_types_to_quantize=list(_INT8),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def _unknown(graph):
    """Operations that ONNX does not have, in a graph with its loops and branches."""
    defs = require("onnx.defs", extra="export")
    for node in graph.node:
        if not defs.has(node.op_type, node.domain):
            yield node.op_type
        for attribute in node.attribute:
            for inner in [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]:
                yield from _unknown(inner)


def load(path):
    """A function of images that runs an ONNX file on the CPU."""
    runtime = require("onnxruntime", extra="export")
    session = runtime.InferenceSession(
        pathlib.Path(path).read_bytes(), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def run(images):
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return run

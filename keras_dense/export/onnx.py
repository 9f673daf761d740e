"""ONNX: for ONNX Runtime, TensorRT and others."""

import logging
import pathlib

from keras_dense._optional import require
from keras_dense.export.arguments import checked
from keras_dense.export.product import Product
from keras_dense.export.write import write_and_check

OPSET = 18


def onnx(model, heads, file, *, size=None, images=None, early_labels=False):
    """Write an ONNX file.

    Its input is "images", uint8 `(B, H, W, C)`; its outputs are what people use, see `kd.export`.
    `metadata_props["about"]` is JSON that says what they are, with names and colours of classes.

    Needs `pip install keras_dense[export]` (tf2onnx, onnx, onnxruntime).

    Args:
        model: a model of one image, as any builder returns it.
        heads: the heads it was built with.
        file: ends in ".onnx"; one that is there is replaced, at the end.
        size: `(height, width)` of all images; default: any, or what the model takes.
        images: uint8 `(B, H, W, C)` to compare on; default: random pictures.
        early_labels: decide on labels before the last upsampling and repeat them: less to compute
            where there are many classes, edges in steps of the upsampling's factor. For models
            that end in bilinear upsampling, fixed or learned.

    Returns:
        `{name: difference}` of each output to that of the model: of labels the share that differs,
        otherwise the largest |difference|. Also printed.

    Raises:
        ValueError, TypeError: for arguments that do not fit; for a model with an operation that
            ONNX does not have, which is named. Then nothing is written.
        RuntimeError: on another backend than TensorFlow, or if the file computes something else
            than the model. Then nothing is written.
        ImportError: if a package is missing.

    Example:

    ```python
    kd.export.onnx(model, kd.heads.Segmentation(11), "model.onnx")
    session = onnxruntime.InferenceSession("model.onnx")
    labels, confidence = session.run(["labels", "confidence"], {"images": images})
    ```
    """
    path, size = checked("onnx", model, heads, file, size, images, ".onnx")
    require("onnxruntime", extra="export")
    product = Product(model, heads, size, early_labels=early_labels)

    def write(path):
        path.write_bytes(converted(product).SerializeToString())

    return write_and_check(product, path, write, load, images)


def converted(product):
    """The product as an ONNX model, or an error that names what ONNX does not have."""
    tf2onnx = require("tf2onnx", extra="export")
    helper = require("onnx", extra="export").helper
    log = logging.getLogger("tf2onnx")
    level, _ = log.level, log.setLevel(logging.CRITICAL)
    function = product.function()
    try:
        proto, _ = tf2onnx.convert.from_function(
            function, input_signature=function.input_signature, opset=OPSET
        )
    finally:
        log.setLevel(level)
    unknown = sorted(_unknown(proto.graph))
    if unknown:
        raise ValueError(
            f"ONNX cannot hold {product.name!r}: it has no counterpart of the TensorFlow "
            f"operations {', '.join(unknown)}. A SavedModel can."
        )
    helper.set_model_props(proto, {"about": product.about})
    return proto


def _unknown(graph):
    """Operations that are not of ONNX, in a graph and what its loops and branches do."""
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

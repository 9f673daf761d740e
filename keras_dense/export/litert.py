"""LiteRT, once TensorFlow Lite: for phones and small boards."""

import re
import zipfile
from collections.abc import Sequence

import keras
import numpy as np

from keras_dense._optional import require
from keras_dense._types import ArrayLike, PathLike
from keras_dense.export.arguments import checked
from keras_dense.export.product import Product
from keras_dense.export.write import write_and_check
from keras_dense.heads.model_heads import Given


def litert(
    model: keras.Model,
    file: PathLike,
    heads: Given = None,
    *,
    size: Sequence[int] | None = None,
    images: ArrayLike | None = None,
    quantize: str | None = None,
    early_labels: bool = False,
) -> dict[str, float]:
    """Write a file for LiteRT, which was called TensorFlow Lite.

    Its signature "serving_default" takes "images", uint8 `(1, H, W, C)`, and returns what people
    use, see `kd.export`. A file of free size takes any number of images of any size: Python's
    signature runner does so by itself, elsewhere the input is resized first
    (`resize_tensor_input`). One of fixed size takes one image, as most accelerators of phones ask.

    The file is also a zip archive, as LiteRT's own tools have it, with an about.json that says
    what the outputs are, with names and colors of classes: `unzip -p model.tflite about.json`.

    Needs `pip install keras_dense[export]` (ai-edge-litert).

    Args:
        model: a model of one image, as any builder returns it.
        file: ends in ".tflite"; one that is there is replaced, at the end.
        heads: its heads; default: those that the model carries.
        size: `(height, width)` of all images; default: any, or what the model takes.
        images: uint8 `(B, H, W, C)` to compare on; default: random images.
        quantize: `None`; "float16": weights in float16, half the file; "int8": weights in int8, a
            quarter of the file, and what is computed with them, too, with the range of each map
            found while it runs.
        early_labels: bool, whether to decide labels before the last upsampling and repeat them:
            less computation with many classes, but edges in steps of the upsampling's factor. For
            models that end in bilinear upsampling, fixed or learned.

    Returns:
        `{name: difference}` of each output to that of the model: for labels the share that differs,
        otherwise the largest |difference|. Also printed.

    Raises:
        ValueError, TypeError: for arguments that do not fit; for a model with an operation that
            LiteRT does not have, which is named (conditional random fields, for instance). Then
            nothing is written.
        RuntimeError: on another backend than TensorFlow, or if the file computes something else
            than the model. Then nothing is written.
        ImportError: if a package is missing.

    Example:

    ```python
    kd.export.litert(model, "model.tflite", size=(384, 512))
    runner = ai_edge_litert.interpreter.Interpreter("model.tflite").get_signature_runner()
    labels = runner(images=images)["labels"]
    ```
    """
    path, chosen, size, images = checked(
        "litert", model, file, heads, size, images, ".tflite", quantize, kinds=["float16", "int8"]
    )
    require("ai_edge_litert.interpreter", extra="export")
    product = Product(
        model, chosen, size, batch=None if None in size else 1, early_labels=early_labels
    )

    def write(path):
        folder = path.parent.parent / "savedmodel"
        product.save(folder, {"serving_default": product.function()})
        path.write_bytes(_converted(product, folder, quantize))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("about.json", product.about)

    return write_and_check(product, path, write, load, images, exact=quantize is None)


def _converted(product, folder, quantize):
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder), signature_keys=["serving_default"]
    )
    if quantize is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        return converter.convert()
    except Exception as error:  # A ConverterError, which is not public.
        missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
        if not missing:
            raise
        raise ValueError(
            f"LiteRT cannot hold {product.name!r}: it has no counterpart of the TensorFlow "
            f"operations {', '.join(missing)}. A SavedModel can."
        ) from error


def load(path):
    """A function of images that runs a file of LiteRT."""
    litert = require("ai_edge_litert.interpreter", extra="export")
    interpreter = litert.Interpreter(str(path))
    runner = interpreter.get_signature_runner("serving_default")
    fixed = interpreter.get_input_details()[0]["shape_signature"][0] == 1

    def run(images):
        if not fixed:
            return runner(images=images)
        each = [runner(images=images[n : n + 1]) for n in range(len(images))]
        return {name: np.concatenate([one[name] for one in each]) for name in each[0]}

    return run

"""OpenVINO: for the CPUs, GPUs and NPUs of Intel."""

import re
from collections.abc import Sequence

import keras

from keras_dense._files import scratch
from keras_dense._optional import require
from keras_dense._types import ArrayLike, PathLike
from keras_dense.export.arguments import checked
from keras_dense.export.product import Product
from keras_dense.export.write import write_and_check
from keras_dense.heads.model_heads import Given


def openvino(
    model: keras.Model,
    file: PathLike,
    heads: Given = None,
    *,
    size: Sequence[int] | None = None,
    images: ArrayLike | None = None,
    quantize: str | None = None,
    early_labels: bool = False,
) -> dict[str, float]:
    """Write a model of OpenVINO: an .xml file, and its weights in a .bin file beside it.

    Its input is "images", uint8 `(B, H, W, C)`; its outputs are results, see `kd.export`.
    `rt_info["about"]` is JSON that says what they are, with names and colors of classes.

    Needs `pip install keras_dense[export]` (openvino; nncf for int8).

    Args:
        model: a model of one image, as any builder returns it.
        file: ends in ".xml"; one that is there is replaced, at the end.
        heads: its heads; default: those that the model carries.
        size: `(height, width)` of all images; default: any, or what the model takes.
        images: uint8 `(B, H, W, C)` to compare on; default: random images.
        quantize: `None`; "float16": weights in float16, half the file; what is computed in is the
            choice of the device; "int8": a quarter of the file, weights and maps in int8, with the
            range of each map measured on `images`: some dozens of those that the model is for.
        early_labels: bool, whether to decide labels before the last upsampling and repeat them:
            less computation with many classes, but edges in steps of the upsampling's factor. For
            models that end in bilinear upsampling, fixed or learned.

    Returns:
        `{name: difference}` of each output to that of the model: for labels the share that differs,
        otherwise the largest |difference|. Also printed.

    Raises:
        ValueError, TypeError: for arguments that do not fit; for a model with an operation that
            OpenVINO does not have, which is named. Then nothing is written.
        RuntimeError: on another backend than TensorFlow, or if the files compute something else
            than the model. Then nothing is written.
        ImportError: if a package is missing.

    Example:

    ```python
    kd.export.openvino(model, "model.xml")
    network = openvino.Core().compile_model("model.xml")
    labels = network(images)["labels"]
    ```
    """
    path, chosen, size, images = checked(
        "openvino",
        model,
        file,
        heads,
        size,
        images,
        ".xml",
        quantize,
        kinds=["float16", "int8"],
        measured=["int8"],
    )
    ov = require("openvino", extra="export")
    product = Product(model, chosen, size, early_labels=early_labels)

    def write(path):
        # Not beside the file, whose path may have a comma: OpenVINO would take it for two.
        with scratch() as folder:
            product.save(folder, {"serving_default": product.function()})
            converted = _converted(ov, product, str(folder))
            if quantize == "int8":
                converted = _in_int8(converted, images)
            converted.set_rt_info(product.about, "about")
            ov.save_model(converted, path, compress_to_fp16=quantize == "float16")

    return write_and_check(product, path, write, load, images, exact=quantize is None)


def _converted(ov, product, folder):
    try:
        return ov.convert_model(folder)
    except Exception as error:  # An OpConversionFailure, which is not public.
        missing = re.search(r"No conversion rule found for operations: (.*)", str(error))
        if missing is None:
            raise
        raise ValueError(
            f"OpenVINO cannot hold {product.name!r}: it has no counterpart of the TensorFlow "
            f"operations {missing[1].strip()}. A SavedModel can."
        ) from error


def _in_int8(converted, images):
    """The same that computes in int8, by OpenVINO's own quantization."""
    nncf = require("nncf", extra="export")
    each = nncf.Dataset([images[n : n + 1] for n in range(len(images))])
    return nncf.quantize(converted, each, subset_size=len(images))


def load(path):
    """A function of images that runs a model of OpenVINO on the CPU, in float32."""
    ov = require("openvino", extra="export")
    network = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def run(images):
        answers = network(images)
        return {name: answers[output] for output in network.outputs for name in output.get_names()}

    return run

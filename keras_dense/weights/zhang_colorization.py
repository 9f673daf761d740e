"""Loader of the PyTorch release of "Colorful Image Colorization"."""

import re
from collections.abc import Mapping

import keras

from keras_dense._types import ArrayLike, PathLike
from keras_dense._weights.kinds import scaled
from keras_dense._weights.rules import Rule
from keras_dense.weights.load import load


def _convolution(match: re.Match) -> str:
    """The authors' modules are sequences: convolution, ReLU, convolution, …"""
    return f"conv{match[1]}_{int(match[2]) // 2 + 1}"


RULES = (
    # Their network takes (L − 50) / 100, this one L − 50.
    Rule(r"model(1)\.(0)", _convolution, scaled("conv", 0.01)),
    Rule(r"model([12])\.([02])", _convolution, "conv"),
    Rule(r"model([3-7])\.([024])", _convolution, "conv"),
    Rule(r"model([12])\.4|model([3-7])\.6", lambda m: f"conv{m[1] or m[2]}_bn", "batch_norm"),
    Rule(r"model(8)\.(0)", _convolution, "transposed"),
    Rule(r"model(8)\.([24])", _convolution, "conv"),
    Rule(r"model8\.6", "{head}scores", "conv"),
    Rule(r"model_out\..*", None, "skip", "the mean of the bins, which the head computes"),
)


def load_zhang_colorization(
    model: keras.Model, source: PathLike | Mapping[str, ArrayLike]
) -> keras.Model:
    """Load the authors' weights of `eccv16` into `kd.zhang_colorization`.

    The file is `colorization_release_v2-9b330a0b.pth` of github.com/richzhang/colorization, which
    their `eccv16()` downloads. Its network takes (L − 50) / 100 and this one L − 50, so the first
    kernel is divided by 100. Its last layer, from 313 bins to (a, b), has no counterpart
    here: it is the mean under the softmax, as in `kd.heads.Colorization(temperature=1.0)`.

    Args:
        model: `kd.zhang_colorization()` with a single head, changed in place.
        source: path of the `.pth` file, or its dict of names and arrays.

    Returns:
        `model`.

    Raises:
        FileNotFoundError: for a path that does not exist.
        ValueError: for another network, or a file with other names or shapes.

    Example:

    ```python
    model = kd.zhang_colorization(heads=kd.heads.Colorization(temperature=1.0))
    kd.weights.load_zhang_colorization(model, "colorization_release_v2-9b330a0b.pth")
    kd.decoded(model).predict(images)
    ```
    """
    load(model, source, rules=RULES)
    return model

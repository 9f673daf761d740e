"""Checks of the arguments of a dense CRF."""

from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array, as_pixel_values
from keras_dense._types import Array, ArrayLike
from keras_dense.ops.mean_field import NORMALIZATIONS

# A probability of 0 would win against all evidence; pydensecrf has the same bound.
LEAST = 1e-5


def crf_inputs(
    probabilities: ArrayLike, image: ArrayLike, known: ArrayLike | None
) -> tuple[Array, Array, Array]:
    """Probabilities, images and masks as batches in float32."""
    probabilities, image = as_array(probabilities, "probabilities"), as_array(image, "image")
    known = None if known is None else as_array(known, "known")
    if probabilities.ndim == 3 and image.ndim == 3:
        probabilities, image = probabilities[None], image[None]
        known = None if known is None else known[None]
    if probabilities.ndim != 4 or probabilities.shape[:3] != image.shape[:3] or image.ndim != 4:
        raise ValueError(
            "`probabilities` must be (H, W, classes) and `image` (H, W, channels), or batches of "
            "both, of one height and width. Received: probabilities of shape "
            f"{probabilities.shape}, image of shape {image.shape}"
        )
    if probabilities.shape[-1] < 2:
        raise ValueError(
            "`probabilities` must have at least 2 classes: give p and 1 - p for one object. "
            f"Received: probabilities of shape {probabilities.shape}"
        )
    if 0 in probabilities.shape:
        raise ValueError(
            "`probabilities` must have at least one pixel. Received: probabilities of shape "
            f"{probabilities.shape}"
        )
    image = as_pixel_values(image, "image")
    if not np.isfinite(probabilities).all():
        wrong = probabilities.size - int(np.isfinite(probabilities).sum())
        raise ValueError(
            f"`probabilities` must be finite numbers. Received: {probabilities.dtype} with NaN or "
            f"infinity in {wrong} of {probabilities.size} values"
        )
    if probabilities.min() < 0:
        raise ValueError(
            "`probabilities` must not be negative: apply a softmax to logits first. Received: "
            f"{probabilities.min():.3g} to {probabilities.max():.3g}"
        )
    known = np.ones(image.shape[:3]) if known is None else known
    if known.shape != image.shape[:3]:
        raise ValueError(
            f"`known` must have the image's height and width. Received: {known.shape}, image of "
            f"shape {image.shape}"
        )
    return probabilities.astype("float32"), image, (known != 0).astype("float32")


def crf_settings(
    iterations: int,
    sxy: float,
    compat: float,
    bilateral_sxy: float,
    srgb: float,
    bilateral_compat: float,
    normalization: str | None,
) -> tuple[Any, ...]:
    """The same arguments as plain numbers, each in its range."""
    return (
        _check.integer(iterations, "iterations", low=0),
        _check.number(sxy, "gaussian_sxy", above=0),
        _check.number(compat, "gaussian_compat", 0),
        _check.number(bilateral_sxy, "bilateral_sxy", above=0),
        _check.number(srgb, "bilateral_srgb", above=0),
        _check.number(bilateral_compat, "bilateral_compat", 0),
        _check.choice(normalization, "normalization", NORMALIZATIONS),
    )

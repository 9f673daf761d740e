"""What the functions of a dense CRF take, checked."""

import numbers

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array, as_pixel_values
from keras_dense.ops.mean_field import NORMALIZATIONS

# A probability of 0 would be believed against all evidence; pydensecrf has the same.
LEAST = 1e-5


def crf_inputs(probabilities, image, known):
    """All as batches, float32, or an error that says what would do."""
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
            "A CRF chooses among 2 classes at least: give p and 1 - p for object and background. "
            f"Received: probabilities of shape {probabilities.shape}"
        )
    if 0 in probabilities.shape:
        raise ValueError(f"There is no pixel. Received: probabilities {probabilities.shape}")
    image = as_pixel_values(image, "image")
    if not np.isfinite(probabilities).all():
        wrong = probabilities.size - int(np.isfinite(probabilities).sum())
        raise ValueError(
            f"`probabilities` must be finite numbers. Received: {probabilities.dtype} with NaN or "
            f"infinity in {wrong} of {probabilities.size} values"
        )
    if probabilities.min() < 0:
        raise ValueError(
            "`probabilities` must not be negative: of logits take the softmax first. Received: "
            f"{probabilities.min():.3g} to {probabilities.max():.3g}"
        )
    known = np.ones(image.shape[:3]) if known is None else known
    if known.shape != image.shape[:3]:
        raise ValueError(
            f"`known` must have the image's height and width. Received: {known.shape}, image of "
            f"shape {image.shape}"
        )
    return probabilities.astype("float32"), image, (known != 0).astype("float32")


def crf_settings(iterations, sxy, compat, bilateral_sxy, srgb, bilateral_compat, normalization):
    sizes = {"gaussian_sxy": sxy, "bilateral_sxy": bilateral_sxy, "bilateral_srgb": srgb}
    weights = {"gaussian_compat": compat, "bilateral_compat": bilateral_compat}
    given = {**sizes, **weights}
    found = {k: v.item() if np.ndim(v) == 0 and hasattr(v, "item") else v for k, v in given.items()}
    for name, value in found.items():
        real = isinstance(value, numbers.Real) and not isinstance(value, bool)
        least = "above 0" if name in sizes else "≥ 0"
        if not real or not np.isfinite(value) or value < 0 or (name in sizes and value == 0):
            raise ValueError(f"`{name}` must be a number {least}. Received: {name}={value!r}")
    if normalization not in NORMALIZATIONS:
        raise ValueError(
            f"`normalization` must be one of {NORMALIZATIONS}. "
            f"Received: normalization={normalization!r}"
        )
    order = "gaussian_sxy gaussian_compat bilateral_sxy bilateral_srgb bilateral_compat".split()
    listed = (float(found[name]) for name in order)
    return (_check.integer(iterations, "iterations", low=0), *listed, normalization)

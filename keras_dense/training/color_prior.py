"""Frequencies of colors in a data set."""

from typing import Any

import numpy as np
from keras import ops

from keras_dense._types import Array
from keras_dense.heads.annotation import rgb_image
from keras_dense.losses.colorization import subsampled
from keras_dense.ops import ab_bins, rgb_to_lab, soft_encode


def estimate_ab_prior(
    dataset: Any,
    grid: int = 10,
    *,
    neighbors: int = 5,
    sigma: float = 5.0,
    stride: int = 4,
    subsample: str = "mean",
    key: str = "image",
) -> Array:
    """Share of each color bin in a data set, for `kd.heads.Colorization(prior=…)`.

    The mean of the soft encodings of all known pixels, made as in the loss, in one pass over the
    data. Bins that never occur have 0, which the loss accepts.

    Args:
        dataset: samples with an image: `len(dataset)`, `dataset[i]`.
        grid, neighbors, sigma: settings of the encoding, see `kd.ops.soft_encode`.
        stride, subsample: pixels that are used, see `kd.losses.ColorCrossEntropy`.
        key: str, key of the RGB image 0–255 `(H, W, 3)`; float pixels that are not finite are
            unknown.

    Returns:
        float64 array `(bins,)` that sums to 1.

    Raises:
        ValueError: if there is no known pixel.

    Reference: Zhang et al., ECCV 2016, section 2.2.

    >>> prior = estimate_ab_prior([{"image": np.full((8, 8, 3), 128)}])  # gray: (0, 0) and around
    >>> int((prior > 0).sum()), round(float(prior.max()), 3)
    (5, 0.649)
    """
    total = np.zeros(len(ab_bins(grid)))
    for index in range(len(dataset)):
        image = rgb_image(dataset[index][key], f"{key} of sample {index}")
        image = image.astype("float32")[None]
        known = np.isfinite(image).all(-1, keepdims=True)
        ab = rgb_to_lab(np.where(known, image, 0.0))[..., 1:]
        ab, weight = subsampled(ab, ops.cast(known, "float32"), stride, subsample)
        near, share = soft_encode(ab, grid, neighbors=neighbors, sigma=sigma)
        share = ops.convert_to_numpy(share * weight).astype("float64")
        near = ops.convert_to_numpy(near)
        total += np.bincount(near.ravel(), share.ravel(), minlength=len(total))
    if not total.any():
        raise ValueError("There is no known pixel in `dataset`.")
    return total / total.sum()

"""Bands around the borders of objects, for scores of sharpness."""

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike
from keras_dense.datasets.sample import VOID


def trimap(labels: ArrayLike, width: float, *, ignore_class: int | None = VOID) -> Array:
    """Mark the pixels in a band around borders between labels.

    Scores in that band measure the sharpness of a prediction; in a whole image, borders are too
    small a part. Give the band as `sample_weight` to a metric.

    Args:
        labels: ints `(H, W)`. Unknown pixels have no border, and are not in the band.
        width: float > 0, width of the band on each side, in pixels: 1 is the pixels at the border.
        ignore_class: int, the label of unknown pixels, or `None`.

    Returns:
        bool `(H, W)`.

    Raises:
        ValueError: for labels that are not ints `(H, W)`, or a width that is not above 0.

    Reference: Kohli, Ladický and Torr, "Robust Higher Order Potentials for Enforcing Label
        Consistency", IJCV 2009, section 5; Krähenbühl and Koltun, NIPS 2011, section 6.

    >>> trimap(np.array([[0, 0, 0, 1, 1, 255]]), 2).astype(int).tolist()
    [[0, 1, 1, 1, 1, 0]]
    """
    labels = as_array(labels, "labels")
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"`labels` must be ints (H, W). Received: {labels.dtype} of shape {labels.shape}"
        )
    width = _check.number(width, "width", above=0)
    known = np.ones(labels.shape, bool) if ignore_class is None else labels != ignore_class
    border = np.zeros(labels.shape, bool)
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1], np.s_[1:]),
        (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[1:, :-1], np.s_[:-1, 1:]),
    ):
        differ = (labels[here] != labels[there]) & known[here] & known[there]
        border[here] |= differ
        border[there] |= differ
    if not border.any():
        return border
    distance = require("scipy.ndimage", extra="scipy").distance_transform_edt(~border)
    return known & (distance < width)

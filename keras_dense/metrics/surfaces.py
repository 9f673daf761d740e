"""Distances between the borders of two regions, with NumPy and SciPy."""

from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike

Spacing = float | Sequence[float]


def check_spacing(spacing: Spacing) -> tuple[float, float]:
    """The distance of neighboring pixels along rows and columns of an image, each above 0.

    >>> check_spacing(0.5), check_spacing((1, 0.25))
    ((0.5, 0.5), (1.0, 0.25))
    """
    values = (spacing, spacing) if np.ndim(spacing) == 0 else tuple(np.asarray(spacing).tolist())
    if len(values) != 2:
        wanted = "a number > 0, or two: of pixels in a column and of pixels in a row"
        raise _check.fail("spacing", wanted, spacing)
    down, across = (_check.number(value, "spacing", above=0) for value in values)
    return down, across


def surface(mask: Array) -> Array:
    """The pixels of a region that have one of their 4 neighbors outside: bool `(H, W)`.

    Beyond the image is outside.

    >>> surface(np.ones((3, 4), bool)).astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    around = np.pad(mask, 1)
    inner = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    return mask & ~inner


def surface_distances(
    truth: ArrayLike, found: ArrayLike, *, spacing: Spacing = 1.0
) -> tuple[Array, Array]:
    """Distances from each surface pixel of a region to the nearest one of the other.

    The surface of a region are its pixels that have one of their 4 neighbors outside; beyond the
    image is outside. All surface metrics are statistics of these two arrays.

    Args:
        truth: `(H, W)`, bool or 0 and 1.
        found: the same, of the prediction.
        spacing: the distance of neighboring pixels, in any unit: a float > 0, or two, of pixels in
            a column and of pixels in a row.

    Returns:
        `(from_truth, from_found)`, float64 `(n,)` each, in the unit of `spacing`; infinite if the
        other region is empty.

    Raises:
        ValueError: for shapes that do not fit, or values other than 0 and 1.
        ImportError: without SciPy.

    >>> truth, found = np.zeros((2, 5, 7), bool)
    >>> truth[1:4, 1:3] = found[1:4, 1:6] = True
    >>> from_truth, from_found = surface_distances(truth, found, spacing=0.5)
    >>> float(from_truth.max()), float(from_found.max())
    (0.5, 1.5)
    """
    truth, found = _mask(truth, "truth"), _mask(found, "found")
    if truth.shape != found.shape:
        raise ValueError(
            f"`found` must have the shape of the truth, {truth.shape}. Received: {found.shape}"
        )
    spacing = check_spacing(spacing)
    either = truth | found
    if not either.any():
        return np.zeros(0), np.zeros(0)
    # Only the part of the image that has either region: its other edges have no surface.
    box = tuple(
        slice(int(line[0]), int(line[-1]) + 1)
        for line in (np.flatnonzero(either.any(axis)) for axis in (1, 0))
    )
    surfaces = [surface(mask[box]) for mask in (truth, found)]
    return _to(surfaces[1], surfaces[0], spacing), _to(surfaces[0], surfaces[1], spacing)


def _to(there, here, spacing):
    """Distances from the pixels of `here` to the nearest of `there`."""
    if not there.any() or not here.any():
        return np.full(int(here.sum()), np.inf)
    ndimage = require("scipy.ndimage", extra="scipy")
    return ndimage.distance_transform_edt(~there, sampling=spacing)[here]


def _mask(mask, name):
    mask = as_array(mask, name)
    if mask.ndim != 2 or not np.isin(mask, (0, 1)).all():
        values = f", with {np.unique(mask)[:5].tolist()}" if mask.ndim == 2 else ""
        raise ValueError(
            f"`{name}` must be one region, bool or 0 and 1 of shape (height, width). "
            f"Received: shape {mask.shape}{values}"
        )
    return mask.astype(bool)

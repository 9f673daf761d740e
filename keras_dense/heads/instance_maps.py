"""Numbered objects as maps that a network can predict, and objects from such maps."""

from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array

_LEVELS = 255  # steps of the relative distance in which peaks are compared


def encode_instances(numbers: Array) -> Array:
    """Maps of numbered objects: foreground, and the relative distance to the border.

    The distance is that of a pixel to the nearest one of the background or of another object, over
    the largest of its object: 1 at the center, of any size. The edge of the image and unknown
    pixels are no border: an object that is cut by them is deep there.

    Args:
        numbers: ints `(H, W)`, 0 for background, < 0 for unknown.

    Returns:
        float32 `(H, W, 2)`, NaN where unknown.

    Raises:
        ImportError: without SciPy.

    >>> encode_instances(np.array([[0, 7, 7, 7, 0, -1]]))[0, :, 1].round(2).tolist()
    [0.0, 0.5, 1.0, 0.5, 0.0, nan]
    """
    maps = np.zeros((*numbers.shape, 2), "float32")
    maps[..., 0] = numbers > 0
    ndimage = require("scipy.ndimage", extra="objects")
    names, ranks = np.unique(numbers.clip(0), return_inverse=True)
    ranks = ranks.reshape(numbers.shape) + int(names[0] > 0)
    for rank, box in enumerate(ndimage.find_objects(ranks), start=1):
        around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
        inside = ranks[around] == rank
        no_border = inside | (numbers[around] < 0)
        # Without any border in sight, every pixel may be the center.
        distance = inside if no_border.all() else ndimage.distance_transform_edt(no_border)
        maps[around][inside, 1] = (distance / distance[inside].max())[inside]
    maps[numbers < 0] = np.nan
    return maps


def decode_instances(maps: Array, threshold: float, prominence: float) -> Array:
    """Numbers of the objects in maps, int32 `(H, W)`: a watershed from the peaks of the distance.

    Objects are parts of the foreground, one for each peak of the distance, and the whole of a
    connected region (with four neighbors) without a peak. Each region is decoded by itself, so the
    result does not depend on what else an image shows.

    Args:
        maps: floats `(H, W, 2)`, foreground and relative distance; NaN is background.
        threshold: probability above which a pixel is foreground.
        prominence: float, how far the distance falls from a peak, at least, on any way to a higher
            one.

    Raises:
        ImportError: without SciPy or scikit-image.
    """
    ndimage = require("scipy.ndimage", extra="objects")
    watershed = require("skimage.segmentation", extra="objects").watershed
    # Comparisons with NaN are false.
    foreground = maps[..., 0] > threshold
    distance = np.where(foreground, np.nan_to_num(maps[..., 1], nan=0.0), 0.0)
    regions, count = ndimage.label(foreground)
    if not count:
        return regions.astype("int32")
    markers, peaks = ndimage.label(_peaks(distance, foreground, prominence))
    without = np.ones(count + 1, bool)
    without[regions[markers > 0]] = False
    without[0] = False
    alone = without[regions]
    markers[alone] = peaks + regions[alone]
    return watershed(-distance, markers, mask=foreground).astype("int32")


def _peaks(distance: Array, foreground: Array, prominence: float) -> Array:
    """The pixels of the peaks, bool `(H, W)`."""
    reconstruction: Any = require("skimage.morphology", extra="objects").reconstruction
    ndimage = require("scipy.ndimage", extra="objects")
    levels = np.rint(distance * _LEVELS).astype("int32") + 1
    levels = np.where(foreground, levels, 0)
    fall = max(1, round(prominence * _LEVELS))
    # Domes stand out from a surface whose every top is lowered by the fall, up to the next way
    # out; those of lesser peaks by less.
    cross = ndimage.generate_binary_structure(2, 1)
    domes = levels - reconstruction((levels - fall).clip(0), levels, footprint=cross)
    numbers, count = ndimage.label(domes > 0)
    heights = ndimage.maximum(domes, numbers, np.arange(count + 1))
    return (numbers > 0) & (heights >= fall)[numbers]


def in_order(numbers: Array, min_size: int = 0) -> Array:
    """Objects numbered 1, 2, … in reading order of their first pixels, without the small ones.

    Returns:
        uint16, or uint32 for more than 65,535 objects.

    >>> in_order(np.array([[0, 9, 9, 4], [3, 3, 3, 4]]), min_size=3).tolist()
    [[0, 0, 0, 0], [1, 1, 1, 0]]
    """
    names, first, ranks, sizes = np.unique(
        numbers, return_index=True, return_inverse=True, return_counts=True
    )
    kept = (names > 0) & (sizes >= min_size)
    order = np.argsort(first[kept])
    found: Array = np.zeros(len(names), "uint32")
    found[np.flatnonzero(kept)[order]] = np.arange(1, len(order) + 1)
    dtype = "uint16" if len(order) <= 65535 else "uint32"
    return found.astype(dtype)[ranks].reshape(numbers.shape)


def unmatched(truth: Array, found: Array) -> Array:
    """Pixels that are wrong: of objects without a counterpart, or where the two differ.

    Args:
        truth, found: numbers `(H, W)`, 0 for background. Two objects belong together if they share
            more than half of what both cover; so an object has at most one counterpart.

    Returns:
        bool `(H, W)`.

    >>> unmatched(np.array([[1, 1, 1, 0, 2]]), np.array([[5, 5, 0, 0, 0]])).tolist()
    [[False, False, True, False, True]]
    """
    _, t = np.unique(np.append(truth, 0), return_inverse=True)
    _, f = np.unique(np.append(found, 0), return_inverse=True)
    t, f = t[:-1].reshape(truth.shape), f[:-1].reshape(found.shape)
    width = int(f.max(initial=0)) + 1
    pairs, where, shared = np.unique(t * width + f, return_inverse=True, return_counts=True)
    a, b = pairs // width, pairs % width
    covered = np.bincount(t.ravel())[a] + np.bincount(f.ravel(), minlength=width)[b] - shared
    right = (2 * shared > covered) & (a > 0) & (b > 0)
    right |= (a == 0) & (b == 0)
    return ~right[where].reshape(truth.shape)

"""The pixels of a region that are near its border."""

from keras import ops


def boundary(masks, reach):
    """What erosion takes from each mask: pixels with something else at most `reach` away.

    Distance is the larger one of rows and columns, and beyond the image is something else:
    `reach` erosions with a square of 3×3. Counted in an integral image, so time does not grow with
    `reach`.

    Args:
        masks: `(B, H, W, C)` of 0 and 1, or bool.
        reach: int ≥ 1, or an int32 tensor, in pixels.

    Returns:
        bool `(B, H, W, C)`.

    >>> import numpy as np
    >>> ring = ops.convert_to_numpy(boundary(np.ones((1, 3, 4, 1), "bool"), 1))[0, ..., 0]
    >>> ring.astype(int).tolist()
    [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    masks = ops.cast(masks, "int32")
    total = masks
    for axis in (1, 2):
        total = _window(total, reach, axis)
    whole = ops.cast((2 * reach + 1) ** 2, "int32")
    return ops.logical_and(ops.equal(masks, 1), total < whole)


def _window(x, reach, axis):
    """Sums of `2 reach + 1` neighbors along an axis; what lies outside counts 0."""
    pads = [(0, 0)] * 4
    pads[axis] = (1, 0)
    sums = ops.pad(ops.cumsum(x, axis=axis), pads)
    length = ops.shape(x)[axis]
    here = ops.arange(length, dtype="int32")
    last = ops.minimum(here + reach + 1, length)
    first = ops.maximum(here - reach, 0)
    return ops.take(sums, last, axis=axis) - ops.take(sums, first, axis=axis)

"""The pixels near the border of a region."""

from typing import Any

from keras import ops

from keras_dense._types import ArrayLike, Tensor


def boundary(masks: ArrayLike, reach: Any) -> Tensor:
    """The pixels that erosion removes from each mask: those at most `reach` away from its border.

    The distance is the larger of rows and columns, and pixels beyond the image are outside of every
    mask: the same as `reach` erosions with a square of 3×3. Computed with an integral image, so
    time does not grow with `reach`.

    Args:
        masks: `(B, H, W, C)` of 0 and 1, or bool.
        reach: int >= 1, or an int32 tensor, in pixels.

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
    """Sums of `2 reach + 1` neighbors along an axis; cells outside count 0."""
    pads = [(0, 0)] * 4
    pads[axis] = (1, 0)
    sums = ops.pad(ops.cumsum(x, axis=axis), pads)
    length = ops.shape(x)[axis]
    here = ops.arange(length, dtype="int32")
    last = ops.minimum(here + reach + 1, length)
    first = ops.maximum(here - reach, 0)
    return ops.take(sums, last, axis=axis) - ops.take(sums, first, axis=axis)

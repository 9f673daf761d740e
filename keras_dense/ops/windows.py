"""Maximum and mean of dilated windows, which the pooling of no backend has."""

from collections.abc import Sequence

from keras import ops

from keras_dense._types import ArrayLike, Sides, Tensor
from keras_dense.ops.image import as_float, pad_map


def _slide(x, sizes, rates, strides, combine):
    """Combine the cells of every window, along one axis after the other."""
    for axis, (size, rate, stride) in enumerate(zip(sizes, rates, strides, strict=True), start=1):
        reach = (size - 1) * rate
        count = ops.shape(x)[axis] - reach
        first, *others = [
            x[:, i : i + count : stride] if axis == 1 else x[:, :, i : i + count : stride]
            for i in range(0, reach + 1, rate)
        ]
        x = first
        for other in others:
            x = combine(x, other)
    return x


def _padded(x, pads, fill):
    return pad_map(x, *pads, fill=fill)


def max_windows(
    x: ArrayLike, size: Sequence[int], rate: Sequence[int], strides: Sequence[int], pads: Sides
) -> Tensor:
    """The largest cell of every window; cells of a window are `rate` apart.

    Args:
        x: `(B, H, W, C)`.
        size, rate, strides: pairs of ints.
        pads: `((top, bottom), (left, right))`, cells that are never the maximum.

    >>> import numpy as np
    >>> y = max_windows(np.array([3.0, 0, 1, 2]).reshape(1, 1, 4, 1), (1, 2), (1, 2), (1, 1),
    ...                 ((0, 0), (0, 0)))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 2.0]
    """
    x = as_float(x)
    return _slide(_padded(x, pads, float("-inf")), size, rate, strides, ops.maximum)


def mean_windows(
    x: ArrayLike, size: Sequence[int], rate: Sequence[int], strides: Sequence[int], pads: Sides
) -> Tensor:
    """The mean of every window over its cells on the map; cells of a window are `rate` apart.

    Args:
        x: `(B, H, W, C)`.
        size, rate, strides: pairs of ints.
        pads: `((top, bottom), (left, right))`, cells that do not count.

    >>> import numpy as np
    >>> y = mean_windows(np.array([3.0, 0, 1]).reshape(1, 1, 3, 1), (1, 2), (1, 2), (1, 1),
    ...                  ((0, 0), (0, 2)))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [2.0, 0.0, 1.0]
    """
    x = as_float(x)
    total = _slide(_padded(x, pads, 0.0), size, rate, strides, ops.add)
    if all(isinstance(p, int) and p == 0 for pad in pads for p in pad):  # known to be none
        return total / (size[0] * size[1])
    ones = _padded(ops.ones_like(x[:1, :, :, :1]), pads, 0.0)
    count = _slide(ones, size, rate, strides, ops.add)
    return total / ops.maximum(count, 1.0)

"""Colors for classes."""

from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array


def voc_palette(n):
    """The colors of PASCAL VOC: class 0 black, then far apart for as long as possible.

    Bit `3 j + c` of the class becomes bit `7 - j` of its channel `c` (R, G, B), as in the
    `VOClabelcolormap.m` of the VOC development kit. All colors are different; the more there are,
    the nearer the last ones are to others.

    Args:
        n: int, how many colors, 1 to 2²⁴.

    Returns:
        uint8 array of shape `(n, 3)`.

    Raises:
        ValueError: if `n` is not an integer from 1 to 2²⁴.

    Example:

    >>> voc_palette(4).tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    """
    n = _check.integer(n, "n", low=1, high=1 << 24)
    classes = np.arange(n)[:, None]
    channels = np.arange(3)[None, :]
    colors = np.zeros((n, 3), int)
    for j in range(8):
        colors |= ((classes >> (3 * j + channels)) & 1) << (7 - j)
    return colors.astype(np.uint8)


def as_palette(palette):
    """Colors as uint8, checked.

    >>> as_palette([[0, 128, 255]]).dtype
    dtype('uint8')
    """
    colors = as_labels(palette, "palette")
    if colors.size and not 0 <= colors.min() <= colors.max() <= 255:
        raise ValueError(
            f"`palette` must be colors from 0 to 255. Received: {colors.min()} to {colors.max()}"
        )
    return colors.astype("uint8")


def legend_of(class_names: Sequence[str], palette: Array) -> list[tuple[str, tuple]]:
    """Pairs of class name and RGB color.

    >>> legend_of(["sky"], np.array([[1, 2, 3]]))
    [('sky', (1, 2, 3))]
    """
    return [(name, tuple(c)) for name, c in zip(class_names, palette.tolist(), strict=True)]

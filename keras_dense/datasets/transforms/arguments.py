"""Checks and types of the arguments of transforms."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from keras_dense import _check
from keras_dense._types import Sample

Color: TypeAlias = Sequence[int]
Transform: TypeAlias = Callable[[Sample, np.random.Generator], Sample]


def color(value: Color, name: str) -> tuple[int, ...]:
    """Return an RGB color as three integers from 0 to 255.

    >>> color([255, 0, 0], "color")
    (255, 0, 0)
    """
    wanted = "three integers from 0 to 255 (R, G, B)"
    try:
        rgb = _check.integers(value, name, low=0, length=3)
    except ValueError:
        raise _check.fail(name, wanted, value) from None
    if max(rgb) > 255:
        raise _check.fail(name, wanted, value)
    return rgb

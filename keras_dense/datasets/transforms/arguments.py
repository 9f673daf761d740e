"""What transforms accept, checked when they are made and not in the middle of an epoch."""

import numbers

import numpy as np

from keras_dense import _check


def is_number(value):
    """Whether it is a real number, Python's or NumPy's, and no bool.

    >>> [is_number(value) for value in (1, np.float32(0.5), True, "1")]
    [True, True, False, False]
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def fraction(who, name, value):
    """A probability or strength from 0 to 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ValueError(f"{who}: {name} must be a number from 0 to 1. Received: {name}={value!r}")
    return float(value)


def size_2d(who, name, value):
    """A positive integer, or (height, width) of them."""
    try:
        height, width = (value, value) if np.ndim(value) == 0 else value
        return _check.integer(height, name, low=1), _check.integer(width, name, low=1)
    except (TypeError, ValueError):
        raise ValueError(
            f"{who}: {name} must be a positive integer or a pair (height, width) of them. "
            f"Received: {name}={value!r}"
        ) from None


def color(who, name, value):
    """An RGB color of three integers from 0 to 255."""
    try:
        rgb = tuple(_check.integer(v, name, low=0) for v in value)
    except (TypeError, ValueError):
        rgb = ()
    if len(rgb) != 3 or max(rgb) > 255:
        raise ValueError(
            f"{who}: {name} must be three integers from 0 to 255 (R, G, B). "
            f"Received: {name}={value!r}"
        )
    return rgb

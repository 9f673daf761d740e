"""What transforms accept, checked when they are made and not in the middle of an epoch."""

import numbers


def fraction(who, name, value):
    """A probability or strength from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= 1:
        raise ValueError(f"{who}: {name} must be a number from 0 to 1. Received: {name}={value!r}")
    return float(value)


def size_2d(who, name, value):
    """A positive integer, or (height, width) of them."""
    pair = (value, value) if isinstance(value, numbers.Integral) else value
    try:
        height, width = pair
        good = all(isinstance(n, numbers.Integral) and not isinstance(n, bool) for n in pair)
    except (TypeError, ValueError):
        good = False
    if not good or height < 1 or width < 1:
        raise ValueError(
            f"{who}: {name} must be a positive integer or a pair (height, width) of them. "
            f"Received: {name}={value!r}"
        )
    return int(height), int(width)


def color(who, name, value):
    """An RGB colour of three integers from 0 to 255."""
    try:
        rgb = tuple(int(v) for v in value)
        good = len(rgb) == 3 and all(0 <= v <= 255 for v in rgb)
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            f"{who}: {name} must be three integers from 0 to 255 (R, G, B). "
            f"Received: {name}={value!r}"
        )
    return rgb

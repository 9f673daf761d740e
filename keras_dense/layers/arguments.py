"""Arguments that many layers and networks take: checked, and in one form."""

import numbers

import keras


def _is_int(value):
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def at_least_one(value, name):
    """An int ≥ 1, or an error that names the argument.

    >>> at_least_one(64, "filters")
    64
    """
    if not _is_int(value) or value < 1:
        raise ValueError(f"`{name}` must be an int ≥ 1. Received: {name}={value!r}")
    return int(value)


def as_pair(value, name):
    """A pair of ints ≥ 1 from one or two, or an error that says what would do.

    >>> as_pair(2, "rate"), as_pair([1, 3], "rate")
    ((2, 2), (1, 3))
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or not all(_is_int(v) and v >= 1 for v in pair):
        raise ValueError(f"`{name}` must be an int ≥ 1 or two of them. Received: {name}={value!r}")
    return tuple(int(v) for v in pair)


def as_sides(value, name, otherwise=""):
    """`((top, bottom), (left, right))` of ints ≥ 0, or an error that says what would do.

    >>> as_sides([[1, 2], [0, 0]], "margin")
    ((1, 2), (0, 0))
    """
    sides = value if isinstance(value, (tuple, list)) and len(value) == 2 else ()
    valid = len(sides) == 2
    for side in sides:
        valid = valid and isinstance(side, (tuple, list)) and len(side) == 2
        valid = valid and all(_is_int(n) and n >= 0 for n in side)
    if not valid:
        raise ValueError(
            f"`{name}` must be {otherwise}((top, bottom), (left, right)) in cells ≥ 0. "
            f"Received: {name}={value!r}"
        )
    return tuple(tuple(int(n) for n in side) for side in sides)


def as_padding(padding):
    """`padding` as "same", "valid" or `((top, bottom), (left, right))`, or an error.

    >>> as_padding("SAME")
    'same'
    """
    if isinstance(padding, str) and padding.lower() in ("same", "valid"):
        return padding.lower()
    return as_sides(padding, "padding", "'same', 'valid' or ")


def as_data_format(data_format):
    """`data_format`, that of the Keras config for `None`, or an error that says what would do.

    >>> as_data_format("channels_first")
    'channels_first'
    """
    data_format = keras.config.image_data_format() if data_format is None else data_format
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            "`data_format` must be 'channels_last' or 'channels_first'. "
            f"Received: data_format={data_format!r}"
        )
    return data_format

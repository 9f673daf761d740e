"""Checks of arguments: each returns its value in one plain form, or raises a `ValueError`.

All errors read alike: "`name` must be …. Received: name=value". Arrays have checks of their own in
`keras_dense._arrays`.
"""

import math
import numbers

import keras
import numpy as np


def fail(name, wanted, value):
    """The error of all checks: "`name` must be `wanted`. Received: name=value".

    >>> raise fail("rate", "an integer >= 1", 0)
    Traceback (most recent call last):
    ValueError: `rate` must be an integer >= 1. Received: rate=0
    """
    return ValueError(f"`{name}` must be {wanted}. Received: {name}={value!r}")


def _plain(value):
    """A number of NumPy, or an array or tensor without axes, as a number of Python."""
    if isinstance(value, (bool, np.bool_, str)) or np.ndim(value) != 0:
        return value
    return value.item() if hasattr(value, "item") else value


def _range(low, high):
    if high is not None:
        return f" from {low} to {high}"
    return "" if low is None else f" >= {low}"


def is_integer(value):
    """Whether a value is an integer of Python or NumPy, and no bool.

    >>> [is_integer(value) for value in (1, np.int64(1), True, 1.0)]
    [True, True, False, False]
    """
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value):
    """Whether a value is a real number of Python or NumPy, and no bool.

    >>> [is_number(value) for value in (1, np.float32(0.5), True, "1")]
    [True, True, False, False]
    """
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def integer(value, name, low=None, high=None):
    """An int: Python's or NumPy's, an array or tensor without axes, but no bool.

    Args:
        value: what was given.
        name: str, the argument, for the message.
        low, high: int, the least and the largest that is allowed; `high` needs `low`.

    >>> integer(np.int64(3), "num_classes", low=1)
    3
    """
    found = _plain(value)
    wrong = not is_integer(found)
    wrong = wrong or (low is not None and found < low) or (high is not None and found > high)
    if wrong:
        raise fail(name, f"an integer{_range(low, high)}", value)
    return int(found)


def number(value, name, low=None, high=None, *, above=None, below=None):
    """A finite float.

    Args:
        value: what was given.
        name: str, the argument, for the message.
        low, high: the least and the largest that is allowed; `high` needs one of the others.
        above, below: numbers that it must be larger and smaller than.

    >>> number(np.float32(0.5), "dropout", 0, 1)
    0.5
    >>> number(0, "sigma", above=0)
    Traceback (most recent call last):
    ValueError: `sigma` must be a number > 0. Received: sigma=0
    """
    found = _plain(value)
    wrong = not is_number(found) or not math.isfinite(found)
    wrong = wrong or (low is not None and found < low) or (high is not None and found > high)
    wrong = wrong or (above is not None and not found > above)
    wrong = wrong or (below is not None and not found < below)
    if wrong:
        bounds = [_range(low, high)]
        if above is not None:
            bounds = [f" > {above}"] + ([] if high is None else [f" <= {high}"])
        if below is not None:
            bounds.append(f" < {below}")
        raise fail(name, f"a number{' and'.join(bounds)}", value)
    return float(found)


def flag(value, name):
    """A bool; the string "false" must not mean true.

    >>> flag(np.True_, "flip")
    True
    """
    if not isinstance(value, (bool, np.bool_)):
        raise fail(name, "True or False", value)
    return bool(value)


def choice(value, name, options):
    """One of a few strings (or other values).

    >>> choice("mean", "reduction", ("mean", "sum"))
    'mean'
    """
    if not any(value is option or value == option for option in options):
        raise fail(name, f"one of {', '.join(map(repr, options))}", value)
    return value


def pair(value, name, low=1):
    """Two ints, of which one may stand for both: a rate, a factor, (height, width).

    >>> pair(2, "rate"), pair([1, np.int64(3)], "rate")
    ((2, 2), (1, 3))
    """
    found = _listed(value)
    found = (value, value) if found is None else found
    try:
        if len(found) != 2:
            raise ValueError
        return tuple(integer(v, name, low) for v in found)
    except ValueError:
        raise fail(name, f"an integer{_range(low, None)} or a pair of them", value) from None


def integers(value, name, low=1, length=None, *, empty=False):
    """A tuple of one or more ints.

    Args:
        value: a tuple, list, range or array.
        name: str, the argument, for the message.
        low: int, the least that is allowed.
        length: int, how many there must be.
        empty: bool, whether there may be none.

    >>> integers([6, 12, 18], "rates")
    (6, 12, 18)
    >>> integers((), "rates", empty=True)
    ()
    """
    listed = _listed(value)
    if empty and listed == ():
        return ()
    try:
        found = tuple(integer(v, name, low) for v in listed or ())
    except ValueError:
        found = ()
    if not found or length not in (None, len(found)):
        count = "" if length is None else f"{length} "
        raise fail(name, f"a tuple of {count}integers{_range(low, None)}", value)
    return found


def _listed(value):
    if isinstance(value, (tuple, list, range)):
        return tuple(value)
    return tuple(value.tolist()) if isinstance(value, np.ndarray) and value.ndim == 1 else None


def sides(value, name, otherwise=""):
    """`((top, bottom), (left, right))` in cells, ints >= 0.

    >>> sides([[1, 2], [0, 0]], "margin")
    ((1, 2), (0, 0))
    """
    try:
        (top, bottom), (left, right) = value
        return tuple(
            tuple(integer(n, name, low=0) for n in side) for side in ((top, bottom), (left, right))
        )
    except (TypeError, ValueError):
        wanted = f"{otherwise}((top, bottom), (left, right)) in cells >= 0"
        raise fail(name, wanted, value) from None


def padding(value, name="padding"):
    """`padding` of a convolution: "same", "valid" or `((top, bottom), (left, right))`.

    >>> padding("SAME")
    'same'
    """
    if isinstance(value, str) and value.lower() in ("same", "valid"):
        return value.lower()
    return sides(value, name, "'same', 'valid' or ")


def data_format(value, name="data_format"):
    """`data_format`; for `None` that of the Keras configuration.

    >>> data_format("channels_first")
    'channels_first'
    """
    value = keras.config.image_data_format() if value is None else value
    return choice(value, name, ("channels_last", "channels_first"))

"""Checks of arguments that several operations take."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keras_dense import _check
from keras_dense.surgery.effect import CONVOLUTIONS, POOLING
from keras_dense.surgery.graph import functional


def check_output_stride(output_stride: int) -> int:
    """`output_stride`, checked: a power of two.

    >>> check_output_stride(16)
    16
    """
    positive = _check.is_integer(output_stride) and output_stride >= 1
    if not positive or output_stride & (output_stride - 1):
        raise _check.fail("output_stride", "a power of two: 1, 2, 4, 8, 16, …", output_stride)
    return int(output_stride)


def checked_rates(rates: Mapping[str, Any], model: keras.Model) -> dict[str, tuple[int, int]]:
    """Dilation rates by layer name, checked, as pairs.

    Raises:
        ValueError: for unknown layers, layers without a window, and rates below 1.

    >>> image = keras.Input((None, None, 3))
    >>> checked_rates({"c": 2}, keras.Model(image, keras.layers.Conv2D(4, 3, name="c")(image)))
    {'c': (2, 2)}
    """
    operations = {op.name: op for op in _operations(model)}
    unknown = sorted(set(rates) - set(operations))
    if unknown:
        raise ValueError(
            f"`rates` must name layers of {model.name!r}. Received: {', '.join(map(repr, unknown))}"
        )
    for name in rates:
        if not isinstance(operations[name], CONVOLUTIONS + POOLING):
            kind = type(operations[name]).__name__
            raise ValueError(
                "`rates` must name convolutions or poolings, which have a window to dilate. "
                f"Received: {name!r}, a {kind}"
            )
    return {name: _check.pair(rate, f"rates[{name!r}]") for name, rate in rates.items()}


def _operations(model: keras.Model) -> Iterator[Any]:
    for op in functional(model).operations:
        yield from _operations(op) if isinstance(op, keras.Model) else (op,)

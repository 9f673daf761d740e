"""Arguments of surgery, checked."""

import keras

from keras_dense import _check
from keras_dense.surgery.graph import functional
from keras_dense.surgery.strides import CONVOLUTIONS, POOLING


def check_output_stride(output_stride):
    """Raise a `ValueError` for what is no power of two.

    >>> check_output_stride(16)
    """
    valid = isinstance(output_stride, int) and not isinstance(output_stride, bool)
    if not valid or output_stride < 1 or output_stride & (output_stride - 1):
        raise ValueError(
            "`output_stride` must be a power of two: 1, 2, 4, 8, 16, … "
            f"Received: output_stride={output_stride!r}"
        )


def checked_rates(rates, model):
    """Rates by layer name as pairs; a `ValueError` for unknown layers, those without a window, and
    rates below 1.

    >>> image = keras.Input((None, None, 3))
    >>> checked_rates({"c": 2}, keras.Model(image, keras.layers.Conv2D(4, 3, name="c")(image)))
    {'c': (2, 2)}
    """
    operations = {op.name: op for op in _operations(model)}
    unknown = sorted(set(rates) - set(operations))
    if unknown:
        raise ValueError(f"`rates` names layers that {model.name!r} does not have: {unknown}")
    for name in rates:
        if not isinstance(operations[name], CONVOLUTIONS + POOLING):
            kind = type(operations[name]).__name__
            raise ValueError(f"`rates` names {name!r}, a {kind}, which has no window to dilate.")
    return {name: _check.pair(rate, f"rates[{name!r}]") for name, rate in rates.items()}


def _operations(model):
    for op in functional(model).operations:
        yield from _operations(op) if isinstance(op, keras.Model) else (op,)

"""Convolution with holes: what the backends do fast and right, and what to do where they do not.

All functions take the arguments of `keras.ops.conv`, and more: rates with strides, padding in
cells. Taps that lie `rate` cells apart read `x[stride * i + rate * a - pad]`.
"""

import math

import keras
from keras import ops


def atrous_conv(x, kernel, rate=1, strides=1, padding="same", data_format="channels_last"):
    """Convolution (cross-correlation) whose taps lie `rate` cells apart, grouped or not.

    Args:
        x: `(B, H, W, C)`, or `(B, C, H, W)` with "channels_first"; sizes may be unknown.
        kernel: `(k_h, k_w, C / groups, filters)`; its shape says how many groups there are.
        rate: int ≥ 1 or a pair.
        strides: int ≥ 1 or a pair; other than 1 together with a rate, too.
        padding: "valid"; "same", which is TensorFlow's rule with the dilated extent
            `rate (k - 1) + 1` of the kernel; or zeros as `((top, bottom), (left, right))`.
        data_format: "channels_last" or "channels_first".

    >>> import numpy as np
    >>> x = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    >>> y = atrous_conv(x, np.ones((1, 3, 1, 1), "float32"), rate=2)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [2.0, 4.0, 6.0, 4.0, 6.0]
    """
    x, kernel = _tensors(x, kernel)
    channels = x.shape[-1 if data_format == "channels_last" else 1]
    if kernel.shape[2] == 1 and channels > 1:
        # A group for each channel. Depthwise is the same function; TensorFlow's grouped
        # convolution is compiled anew at each call on the CPU and ten times slower.
        shape = (*kernel.shape[:2], channels, kernel.shape[3] // channels)
        kernel = ops.reshape(kernel, shape)
        return _run(ops.depthwise_conv, x, kernel, rate, strides, padding, data_format)
    return _run(ops.conv, x, kernel, rate, strides, padding, data_format)


def atrous_depthwise_conv(
    x, kernel, rate=1, strides=1, padding="same", data_format="channels_last"
):
    """Each channel with kernels of its own, whose taps lie `rate` cells apart.

    Args:
        x, rate, strides, padding, data_format: as for `atrous_conv`.
        kernel: `(k_h, k_w, C, multiplier)`; channel `c` gives the output channels
            `multiplier c`, `multiplier c + 1`, …

    >>> import numpy as np
    >>> x = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    >>> y = atrous_depthwise_conv(x, np.ones((1, 2, 1, 1), "float32"), 3, padding="valid")
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 5.0]
    """
    x, kernel = _tensors(x, kernel)
    return _run(ops.depthwise_conv, x, kernel, rate, strides, padding, data_format)


def same_pads(size, kernel_size, rate=1, stride=1):
    """Zeros before and after an axis that "same" means.

    Without a stride they do not depend on `size`; with one, an unknown size gives `None`.

    >>> same_pads(None, 4, rate=3), same_pads(8, 3, stride=2)
    ((4, 5), (0, 1))
    """
    extent = rate * (kernel_size - 1) + 1
    if stride == 1:
        total = extent - 1
    elif size is None:
        return None
    elif isinstance(size, int):
        total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    else:
        total = ops.maximum(((size + stride - 1) // stride - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def explicit_pads(padding, sizes, kernel_size, rate, strides):
    """Any padding as zeros before and after each axis, `None` where that is unknown.

    >>> explicit_pads("same", (8, None), (3, 3), (1, 1), (2, 2))
    ((0, 1), None)
    """
    if padding == "valid":
        return ((0, 0),) * len(kernel_size)
    if padding == "same":
        return tuple(map(same_pads, sizes, kernel_size, rate, strides))
    return padding


def _tensors(x, kernel):
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    return x, ops.cast(kernel, x.dtype)


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _run(conv, x, kernel, rate, strides, padding, data_format):
    """`conv` once rates and strides are as small as they can be and the padding is a word."""
    if data_format == "channels_first" and _only_channels_last():
        x = ops.transpose(x, (0, 2, 3, 1))
        y = _run(conv, x, kernel, rate, strides, padding, "channels_last")
        return ops.transpose(y, (0, 3, 1, 2))
    sizes, strides = kernel.shape[:2], _pair(strides)
    # A rate between the taps of a single tap is none, yet backends take the slow path for it.
    rate = tuple(1 if k == 1 else r for k, r in zip(sizes, _pair(rate), strict=True))
    last = data_format == "channels_last"
    if not isinstance(padding, str):
        padding = tuple(tuple(int(p) for p in pads) for pads in padding)
        same = tuple(same_pads(None, k, r) for k, r in zip(sizes, rate, strict=True))
        # As a word the zeros cost no copy of the map.
        if padding == ((0, 0), (0, 0)):
            padding = "valid"
        elif padding == same and strides == (1, 1):
            padding = "same"
    divisors = tuple(math.gcd(r, s) for r, s in zip(rate, strides, strict=True))
    apart = _strides_apart(conv, rate, strides, divisors)
    if not isinstance(padding, str) or (padding == "same" and (apart or divisors != (1, 1))):
        shape = ops.shape(x)[1:3] if last else ops.shape(x)[2:4]
        padding = explicit_pads(padding, shape, sizes, rate, strides)
        x = ops.pad(x, ((0, 0), *padding, (0, 0)) if last else ((0, 0), (0, 0), *padding))
        padding = "valid"
    if divisors != (1, 1):
        # Only every d-th cell is ever read where d divides stride and rate.
        x = _every(x, divisors, last)
        strides = tuple(s // d for s, d in zip(strides, divisors, strict=True))
        rate = tuple(r // d for r, d in zip(rate, divisors, strict=True))
    first = (1, 1) if apart else strides
    y = conv(
        x,
        kernel,
        strides=first,
        padding=padding,
        data_format=data_format,
        dilation_rate=rate,
    )
    return _every(y, strides, last) if first != strides else y


def _every(x, steps, last):
    if last:
        return x[:, :: steps[0], :: steps[1]]
    return x[:, :, :: steps[0], :: steps[1]]


def _strides_apart(conv, rate, strides, divisors):
    """Whether the strides have to be taken after a convolution without: TensorFlow only.

    It refuses strides together with rates, and unequal strides of a depthwise convolution.
    """
    if keras.backend.backend() != "tensorflow":
        return False
    strides = [s // d for s, d in zip(strides, divisors, strict=True)]
    rate = [r // d for r, d in zip(rate, divisors, strict=True)]
    unequal = conv is ops.depthwise_conv and strides[0] != strides[1]
    return unequal or (max(strides) > 1 and max(rate) > 1)


def _only_channels_last():
    """TensorFlow convolves channels-first on a GPU only."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")

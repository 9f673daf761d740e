"""Atrous convolution: the backends' own where it is right and fast, replacements elsewhere.

All functions take the arguments of `keras.ops.conv`, and more: rates with strides, padding in
cells. Taps that are `rate` cells apart read `x[stride * i + rate * a - pad]`.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dense._types import ArrayLike, Sides, Size, Tensor
from keras_dense.ops.image import as_float, at_least, pad_map
from keras_dense.ops.torch_maps import convolve


def atrous_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    rate: Size = 1,
    strides: Size = 1,
    padding: str | Sides = "same",
    data_format: str = "channels_last",
    bias: ArrayLike | None = None,
) -> Tensor:
    """Convolution (cross-correlation) with taps `rate` cells apart, grouped or not.

    Args:
        x: `(B, H, W, C)`, or `(B, C, H, W)` with "channels_first"; sizes may be unknown.
        kernel: `(k_h, k_w, C / groups, filters)`; its shape gives the number of groups.
        rate: int >= 1 or a pair, the dilation rate.
        strides: int >= 1 or a pair; strides and rates can be combined.
        padding: "valid"; "same", which is TensorFlow's rule with the dilated extent
            `rate (k - 1) + 1` of the kernel; or zeros as `((top, bottom), (left, right))`.
        data_format: "channels_last" or "channels_first".
        bias: `(filters,)`, added to the result.

    >>> import numpy as np
    >>> x = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    >>> y = atrous_conv(x, np.ones((1, 3, 1, 1), "float32"), rate=2)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [2.0, 4.0, 6.0, 4.0, 6.0]
    """
    x, kernel = _tensors(x, kernel)
    channels = x.shape[-1 if data_format == "channels_last" else 1]
    depthwise = kernel.shape[2] == 1 and channels > 1
    if depthwise:  # A group for each channel: the same function, and fast.
        shape = (*kernel.shape[:2], channels, kernel.shape[3] // channels)
        kernel = ops.reshape(kernel, shape)
    return _run(x, kernel, rate, strides, padding, data_format, depthwise, bias)


def atrous_depthwise_conv(
    x: ArrayLike,
    kernel: ArrayLike,
    *,
    rate: Size = 1,
    strides: Size = 1,
    padding: str | Sides = "same",
    data_format: str = "channels_last",
    bias: ArrayLike | None = None,
) -> Tensor:
    """Depthwise convolution with taps `rate` cells apart.

    Args:
        x, rate, strides, padding, data_format, bias: see `atrous_conv`.
        kernel: `(k_h, k_w, C, multiplier)`; channel `c` gives the output channels
            `multiplier c`, `multiplier c + 1`, …

    >>> import numpy as np
    >>> x = np.arange(5, dtype="float32").reshape(1, 1, 5, 1)
    >>> y = atrous_depthwise_conv(x, np.ones((1, 2, 1, 1), "float32"), rate=3, padding="valid")
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 5.0]
    """
    x, kernel = _tensors(x, kernel)
    return _run(x, kernel, rate, strides, padding, data_format, True, bias)


def same_pads(size: Any, kernel_size: int, rate: int = 1, stride: int = 1) -> Any:
    """The zeros before and after an axis for padding "same".

    Without a stride they do not depend on `size`; with one, an unknown size gives `None`.

    >>> same_pads(None, 4, rate=3), same_pads(8, 3, stride=2)
    ((4, 5), (0, 1))
    """
    extent = rate * (kernel_size - 1) + 1
    if stride == 1:
        total = extent - 1
    elif size is None:
        return None
    else:
        total = at_least(((size + stride - 1) // stride - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def explicit_pads(
    padding: str | Sides,
    sizes: Sequence[Any],
    kernel_size: Sequence[int],
    rate: Sequence[int],
    strides: Sequence[int],
) -> Any:
    """Any padding as zeros before and after each axis; `None` where they are unknown.

    >>> explicit_pads("same", (8, None), (3, 3), (1, 1), (2, 2))
    ((0, 1), None)
    """
    if padding == "valid":
        return ((0, 0),) * len(kernel_size)
    if padding == "same":
        return tuple(map(same_pads, sizes, kernel_size, rate, strides))
    return padding


def _tensors(x: ArrayLike, kernel: ArrayLike) -> tuple[Tensor, Tensor]:
    x, kernel = as_float(x), ops.convert_to_tensor(kernel)
    return x, ops.cast(kernel, x.dtype)


def _pair(value: Size) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _effective(rate, kernel):
    """A single tap has no rate, yet backends take the slow path for it."""
    return tuple(1 if k == 1 else r for k, r in zip(kernel.shape, _pair(rate), strict=False))


def _run(x, kernel, rate, strides, padding, data_format, depthwise, bias):
    """Convolve and add the bias; maps are turned where the CPU knows channels last alone."""
    last = data_format == "channels_last"
    if not last and keras.backend.backend() == "tensorflow" and _on_cpu():
        x = ops.transpose(x, (0, 2, 3, 1))
        y = _run(x, kernel, rate, strides, padding, "channels_last", depthwise, bias)
        return ops.transpose(y, (0, 3, 1, 2))
    if bias is not None:
        bias = ops.cast(bias, x.dtype)
    fast = last and keras.backend.backend() == "torch" and not isinstance(x, keras.KerasTensor)
    if fast and not _lacks_gradient(x, rate, depthwise):
        return _torch_conv(x, kernel, rate, strides, padding, depthwise, bias)
    y = _reduced(x, kernel, rate, strides, padding, data_format, depthwise)
    if bias is None:
        return y
    return ops.add(y, ops.reshape(bias, (1, 1, 1, -1) if last else (1, -1, 1, 1)))


def _torch_conv(x, kernel, rate, strides, padding, depthwise, bias):
    if depthwise:
        kernel = ops.reshape(kernel, (*kernel.shape[:2], 1, -1))
    rate, strides = _effective(rate, kernel), _pair(strides)
    pads = explicit_pads(padding, x.shape[1:3], kernel.shape[:2], rate, strides)
    return convolve(x, kernel, bias, rate=rate, strides=strides, pads=pads)


def _reduced(x, kernel, rate, strides, padding, data_format, depthwise):
    """Convolve, after reducing rates and strides and replacing padding by a name if possible."""
    sizes, strides, last = kernel.shape[:2], _pair(strides), data_format == "channels_last"
    rate = _effective(rate, kernel)
    if padding == "same" and strides != (1, 1) and (max(rate) > 1 or strides[0] != strides[1]):
        shape = ops.shape(x)[1:3] if last else ops.shape(x)[2:4]
        padding = explicit_pads(padding, shape, sizes, rate, strides)
    elif strides == (1, 1) and padding == explicit_pads("same", (None, None), sizes, rate, strides):
        padding = "same"  # By name the zeros cost no copy of the map.
    if not isinstance(padding, str):
        x = pad_map(x, *padding) if last else ops.pad(x, ((0, 0), (0, 0), *padding))
        padding = "valid"
    divisors = tuple(math.gcd(r, s) for r, s in zip(rate, strides, strict=True))
    if divisors != (1, 1):
        # Only every d-th cell is ever read where d divides stride and rate.
        x = _every(x, divisors, last)
        strides = tuple(s // d for s, d in zip(strides, divisors, strict=True))
        rate = tuple(r // d for r, d in zip(rate, divisors, strict=True))
    return _convolve(x, kernel, rate, strides, padding, data_format, depthwise)


def _every(x, steps, last):
    if last:
        return x[:, :: steps[0], :: steps[1]]
    return x[:, :, :: steps[0], :: steps[1]]


def _on_cpu() -> bool:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return all(device.device_type == "CPU" for device in tf.config.list_logical_devices())
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() == "cpu"
    return False


def _lacks_gradient(x, rate, depthwise):
    """Whether PyTorch's gradient is wrong.

    That of oneDNN for the weights of a dilated convolution in bfloat16 reads beyond its memory
    unless 16 divides the channels: it is NaN, or the process dies (PyTorch 2.13).
    """
    half = keras.backend.standardize_dtype(x.dtype) == "bfloat16" and x.device.type == "cpu"
    return half and max(_pair(rate)) > 1 and not depthwise


def _convolve(x, kernel, rate, strides, padding, data_format, depthwise):
    """`keras.ops`, except where the backend refuses or has something faster.

    Ratios are measured by benchmarks/atrous.py, on two cores.
    """
    backend, last = keras.backend.backend(), data_format == "channels_last"
    if backend == "torch" and _lacks_gradient(x, rate, depthwise):
        x, kernel = ops.cast(x, "float32"), ops.cast(kernel, "float32")
        y = _convolve(x, kernel, rate, strides, padding, data_format, depthwise)
        return ops.cast(y, "bfloat16")
    if backend == "tensorflow":
        refused = max(rate) > 1 and max(strides) > 1
        if refused or (depthwise and strides[0] != strides[1]):
            y = _convolve(x, kernel, rate, (1, 1), padding, data_format, depthwise)
            return _every(y, strides, last)
    if backend != "torch" and _on_cpu():
        if not depthwise and kernel.shape[2] != x.shape[-1 if last else 1]:
            return _group_by_group(x, kernel, rate, strides, padding, data_format)
        if backend == "tensorflow" and not depthwise and max(rate) > 1:
            return _tensorflow_conv(x, kernel, rate, padding)
        if backend == "jax" and depthwise and math.prod(kernel.shape[:2]) <= 25:
            return _sum_of_taps(x, kernel, rate, strides, padding, last)
    return (ops.depthwise_conv if depthwise else ops.conv)(
        x,
        kernel,
        strides=strides,
        padding=padding,
        data_format=data_format,
        dilation_rate=rate,
    )


def _group_by_group(x, kernel, rate, strides, padding, data_format):
    """Grouped convolution as one convolution per group.

    On the CPU the gradient of the grouped convolutions of TensorFlow and JAX takes 20 to 150
    times as long as this, and TensorFlow's cannot be exported to ONNX.
    """
    axis = -1 if data_format == "channels_last" else 1
    groups = x.shape[axis] // kernel.shape[2]
    parts = zip(ops.split(x, groups, axis=axis), ops.split(kernel, groups, axis=-1), strict=True)
    convolved = [_convolve(a, b, rate, strides, padding, data_format, False) for a, b in parts]
    return ops.concatenate(convolved, axis=axis)


def _tensorflow_conv(x, kernel, rate, padding):
    """TensorFlow's dilated kernel for the CPU, channels last, with a gradient of its own.

    `tf.nn.convolution` goes through space-to-batch, which pads the map on all sides to a multiple
    of the rate: 1.3 to 2.6 times the undilated convolution at rates 12 and 18, more on small maps.
    The dilated kernel costs what the undilated one does, but has a gradient only with oneDNN, which
    may be off or absent. With respect to the map the gradient is such a convolution again; with
    respect to the weights it is one matrix product for each tap.
    """
    import tensorflow as tf

    pads = ((0, 0), (0, 0))
    if padding == "same":
        pads = explicit_pads(padding, (None, None), kernel.shape[:2], rate, (1, 1))
    return _padded_tensorflow_conv(tf, x, kernel, rate, pads)


def _padded_tensorflow_conv(tf, x, kernel, rate, pads):
    k_h, k_w = kernel.shape[:2]

    @tf.custom_gradient
    def convolve(x, kernel):
        def gradient(g):
            turned = tf.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
            rest = [
                tuple(r * (k - 1) - pad for pad in pair)
                for r, k, pair in zip(rate, (k_h, k_w), pads, strict=True)
            ]
            d_x = _padded_tensorflow_conv(tf, g, turned, rate, rest)
            wide = tf.float64 if x.dtype == tf.float64 else tf.float32
            size, columns = tf.shape(g)[1:3], tf.reshape(tf.cast(g, wide), (-1, g.shape[-1]))
            padded = tf.pad(tf.cast(x, wide), ((0, 0), *pads, (0, 0)))
            taps = []
            for a, b in itertools.product(range(k_h), range(k_w)):
                top, left = a * rate[0], b * rate[1]
                seen = padded[:, top : top + size[0], left : left + size[1]]
                seen = tf.reshape(seen, (-1, x.shape[-1]))
                taps.append(tf.matmul(seen, columns, transpose_a=True))
            return d_x, tf.cast(tf.reshape(tf.stack(taps), kernel.shape), kernel.dtype)

        pad_all = ((0, 0), *pads, (0, 0))
        return tf.nn.conv2d(x, kernel, strides=1, padding=pad_all, dilations=rate), gradient

    return convolve(x, kernel)


def _sum_of_taps(x, kernel, rate, strides, padding, last):
    """Depthwise convolution as a sum of shifted maps times weights.

    For XLA on the CPU a depthwise convolution is a loop over channels; this is one loop over the
    map: 20 times as fast, 3 to 10 times with the gradient. Larger kernels compile too long.
    """
    if not last:
        x = ops.transpose(x, (0, 2, 3, 1))
    sizes, dtype = kernel.shape[:2], x.dtype
    if padding == "same":
        shape = ops.shape(x)[1:3]
        x = pad_map(x, *explicit_pads(padding, shape, sizes, rate, strides))
    if keras.backend.standardize_dtype(dtype) in ("float16", "bfloat16"):
        x, kernel = ops.cast(x, "float32"), ops.cast(kernel, "float32")
    if kernel.shape[3] > 1:
        x = ops.repeat(x, kernel.shape[3], axis=-1)
    kernel = ops.reshape(kernel, (*sizes, -1))
    total = 0.0
    for tap in itertools.product(*map(range, sizes)):
        rows, columns = (
            slice(r * a, r * (a - k + 1) or None, s)
            for a, r, k, s in zip(tap, rate, sizes, strides, strict=True)
        )
        total = total + x[:, rows, columns] * kernel[tap]
    total = ops.cast(total, dtype)
    return total if last else ops.transpose(total, (0, 3, 1, 2))

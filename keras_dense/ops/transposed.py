"""Transposed convolutions: maps that grow."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.atrous import atrous_depthwise_conv
from keras_dense.ops.image import as_float
from keras_dense.ops.torch_maps import convolve_transposed


def conv_transpose(
    x: ArrayLike, kernel: Tensor, strides: Sequence[int], bias: Tensor | None = None
) -> Tensor:
    """Transposed convolution with "same" padding, by the fastest operation of the backend.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(k_h, k_w, filters, C)`.
        strides: pair of ints ≥ 1.
        bias: `(filters,)`, added to the result.

    Returns:
        `(B, s_h H, s_w W, filters)`.

    >>> import numpy as np
    >>> kernel = np.ones((2, 2, 1, 3), "float32")
    >>> y = conv_transpose(np.ones((1, 1, 1, 3), "float32"), kernel, (2, 2))
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    x = as_float(x)
    kernel = ops.cast(kernel, x.dtype)
    bias = None if bias is None else ops.cast(bias, x.dtype)
    cropped = [size - stride for size, stride in zip(kernel.shape[:2], strides, strict=True)]
    symmetric = all(cells >= 0 and cells % 2 == 0 for cells in cropped)
    if symmetric and keras.backend.backend() == "torch" and not isinstance(x, keras.KerasTensor):
        return convolve_transposed(x, kernel, bias, strides, [cells // 2 for cells in cropped])
    y = ops.conv_transpose(
        x, kernel, strides=tuple(strides), padding="same", data_format="channels_last"
    )
    return y if bias is None else ops.add(y, ops.reshape(bias, (1, 1, 1, -1)))


def depthwise_conv_transpose(x: ArrayLike, kernel: Tensor, factor: Sequence[int]) -> Tensor:
    """Depthwise transposed convolution with "same" padding.

    `keras.ops` has no grouped transposed convolution. Seen from the output, each of the
    `f_h f_w` phases is an ordinary convolution with every f-th tap of the kernel: one depthwise
    convolution of the small map computes them all, and a reshape interleaves them.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(k_h, k_w, C)` with `f <= k <= 3 f` and `k - f` even on either axis.
        factor: pair of ints, the strides `(f_h, f_w)`.

    Returns:
        `(B, f_h H, f_w W, C)`.

    >>> import numpy as np
    >>> y = depthwise_conv_transpose(np.ones((1, 2, 2, 3), "float32"), np.ones((4, 4, 3)), (2, 2))
    >>> tuple(y.shape), float(y[0, 1, 1, 0])
    ((1, 4, 4, 3), 4.0)
    """
    x = as_float(x)
    channels = x.shape[-1]
    pads = []
    for size, stride in zip(kernel.shape[:2], factor, strict=True):
        if not stride <= size <= 3 * stride or (size - stride) % 2:
            raise ValueError(
                "`kernel` must be between one and three strides long and differ from the stride "
                f"by an even number. Received: kernel.shape={kernel.shape}, factor={factor}"
            )
        # Tap a of the kernel adds x[i] to y[f i + a - lead]; the taps are laid out so that
        # (block d, phase p) of three blocks of f holds tap a = p + lead + f (d - 1).
        lead = (size - stride) // 2
        pads.append((stride - lead, 3 * stride - size - (stride - lead)))
    f_h, f_w = factor
    kernel = ops.reshape(ops.pad(kernel, (*pads, (0, 0))), (3, f_h, 3, f_w, channels))
    # y[f i + p] sums x[i - d]: the blocks run against the direction of a correlation.
    kernel = ops.transpose(ops.flip(ops.flip(kernel, 0), 2), (0, 2, 4, 1, 3))
    kernel = ops.reshape(kernel, (3, 3, channels, f_h * f_w))
    kernel = ops.cast(kernel, x.dtype)
    y = atrous_depthwise_conv(x, kernel)
    height, width = ops.shape(x)[1:3]
    y = ops.reshape(y, (-1, height, width, channels, f_h, f_w))
    y = ops.transpose(y, (0, 1, 4, 2, 5, 3))
    return ops.reshape(y, (-1, height * f_h, width * f_w, channels))

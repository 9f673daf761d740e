"""Convolution, pooling and normalization on PyTorch without copies of maps and kernels.

A channels-last map whose axes are permuted to channels first is what PyTorch calls the memory
format "channels last": its operations take it as it is, and return one. Keras 3.15 makes the
permuted map contiguous before each convolution and pooling, which copies it, and copies it back;
and it copies the kernel. In a profile of a DeepLabv3 these copies take 40 % of a prediction.

The portable forms are those of `keras.ops`.
"""

from collections.abc import Sequence
from typing import Any

from keras_dense._types import Tensor


def convolve(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    *,
    rate: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[Sequence[int]],
) -> Tensor:
    """Convolution with zeros `((top, bottom), (left, right))`; the kernel's shape gives the groups.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(k_h, k_w, C / groups, filters)`; not copied if `lay_out` was called for it.
        bias: `(filters,)` or `None`.
    """
    import torch
    from torch.nn import functional

    weight = kernel.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    x, sides = _padded(x.permute(0, 3, 1, 2), pads)
    groups = x.shape[1] // weight.shape[1]
    y = functional.conv2d(x, weight, bias, tuple(strides), sides, tuple(rate), groups)
    return y.permute(0, 2, 3, 1)


def convolve_transposed(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    strides: Sequence[int],
    crop: Sequence[int],
) -> Tensor:
    """Transposed convolution, cropped by so many rows and columns on both sides.

    Args:
        x: `(B, H, W, C)`.
        kernel: `(k_h, k_w, filters, C)`.
        bias: `(filters,)` or `None`.
    """
    from torch.nn import functional

    weight, channels_first = kernel.permute(3, 2, 0, 1), x.permute(0, 3, 1, 2)
    y = functional.conv_transpose2d(channels_first, weight, bias, tuple(strides), tuple(crop))
    return y.permute(0, 2, 3, 1)


def pool(x: Tensor, size: Sequence[int], strides: Sequence[int], kind: str) -> Tensor:
    """The maximum ("max") or the mean ("average") of windows that lie inside the map."""
    from torch.nn import functional

    function = functional.max_pool2d if kind == "max" else functional.avg_pool2d
    return function(x.permute(0, 3, 1, 2), tuple(size), tuple(strides)).permute(0, 2, 3, 1)


def normalize(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    epsilon: float,
) -> Tensor:
    """Batch normalization by given statistics `(C,)`."""
    from torch.nn import functional

    channels_first = x.permute(0, 3, 1, 2)
    y = functional.batch_norm(channels_first, mean, variance, gamma, beta, False, 0.0, epsilon)
    return y.permute(0, 2, 3, 1)


def lay_out(variable: Any) -> None:
    """Store a kernel `(k_h, k_w, C, filters)` in the order in which convolutions read it.

    Shape and values stay the same, and later assignments keep the order.
    """
    import torch

    value = variable.value
    stored = value.data.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    value.data = stored.permute(2, 3, 1, 0)


def _padded(x: Tensor, pads: Sequence[Sequence[int]]) -> tuple[Tensor, tuple[int, ...]]:
    """A map, padded if its sides differ, and the zeros that are left to the convolution."""
    from torch.nn import functional

    (top, bottom), (left, right) = pads
    if top == bottom and left == right:
        return x, (top, left)
    return functional.pad(x, (left, right, top, bottom)), (0, 0)

"""Quotients, sums and medians over the known pixels of each image."""

from keras import ops

from keras_dense._types import Tensor

_TINY = 1e-12  # stands for "no weight at all": smaller than any sensible sample weight


def safe_divide(total: Tensor, weight: Tensor) -> Tensor:
    """`total / weight`, and 0 (with zero gradient) where `weight` is 0.

    >>> float(safe_divide(ops.convert_to_tensor(3.0), ops.convert_to_tensor(0.0)))
    0.0
    """
    empty = weight <= _TINY
    return ops.where(empty, 0.0, total / ops.where(empty, 1.0, weight))


def image_sums(x: Tensor) -> Tensor:
    """Sums over the pixels of each image: `(B, H, W, C)` → `(B, 1, 1, C)`."""
    return ops.sum(x, axis=(1, 2), keepdims=True)


def image_median(x: Tensor, known: Tensor) -> Tensor:
    """The median of the known pixels of each image, `(B, 1, 1, 1)`; 0 if there are none.

    >>> x = ops.convert_to_tensor([[[[4.0], [1.0], [9.0], [2.0]]]])
    >>> float(image_median(x, x < 9)[0, 0, 0, 0])
    2.0
    """
    rows = (ops.shape(x)[0], -1)
    values = ops.sort(ops.reshape(ops.where(known, x, 1e30), rows), axis=1)
    n = ops.sum(ops.cast(ops.reshape(known, rows), "int32"), axis=1, keepdims=True)
    last = ops.maximum(n - 1, 0)
    middle = [ops.take_along_axis(values, place, axis=1) for place in (last // 2, (last + 1) // 2)]
    median = ops.where(n > 0, 0.5 * (middle[0] + middle[1]), 0.0)
    return ops.reshape(median, (-1, 1, 1, 1))

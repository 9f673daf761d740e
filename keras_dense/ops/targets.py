"""Targets and weights as losses and metrics are called with them, and where a map is known."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from keras_dense._arrays import as_array
from keras_dense._types import ArrayLike, Shape, Tensor


def as_input(value: ArrayLike, name: str) -> Tensor:
    """A tensor as it is, everything else as a NumPy array.

    Args:
        value: a tensor of this backend or a symbolic one, or what `as_array` takes.
        name: str, the argument, for the message.

    Raises:
        TypeError: if it is not an array of numbers.

    >>> as_input([[0, 255]], "y_true").shape
    (1, 2)
    """
    if isinstance(value, keras.Variable):
        return value.value
    if ops.is_tensor(value) or isinstance(value, keras.KerasTensor):
        return value
    return as_array(value, name)


def as_sample_weight(value: ArrayLike | None) -> Tensor | None:
    """`sample_weight` by `as_input`, or `None`; a NumPy one must be finite and not negative.

    >>> as_sample_weight([1.0, -2.0])
    Traceback (most recent call last):
    ValueError: `sample_weight` must be finite and not negative. Received: -2.0
    """
    if value is None:
        return None
    value = as_input(value, "sample_weight")
    if isinstance(value, np.ndarray):
        wrong = value[~(np.isfinite(value) & (value >= 0))]
        if wrong.size:
            raise ValueError(
                f"`sample_weight` must be finite and not negative. Received: {wrong.flat[0]}"
            )
    return value


def expand_weight(sample_weight: Tensor, pred_shape: Shape, last: Sequence[int] = (1,)) -> Tensor:
    """A sample weight in the rank of the prediction.

    Args:
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, n)`, n one of `last`.
        pred_shape: shape of the prediction, `(B, H, W, C)`.
        last: ints.

    Raises:
        ValueError: for other shapes.

    >>> tuple(expand_weight(np.ones(2), (2, 5, 7, 3)).shape)
    (2, 1, 1, 1)
    """
    shape = tuple(sample_weight.shape)
    expanded = shape + (1,) * (len(pred_shape) - len(shape))
    fits = len(expanded) == len(pred_shape) and expanded[-1] in last
    fits = fits and all(
        s is None or p is None or s in (1, p)
        for s, p in zip(expanded[:-1], pred_shape[:-1], strict=True)
    )
    if not fits:
        raise ValueError(
            "`sample_weight` must have shape (B,), (B, H, W) or (B, H, W, 1) for y_pred of shape "
            f"{tuple(pred_shape)}. Received: sample_weight of shape {shape}"
        )
    for _ in range(len(pred_shape) - len(shape)):
        sample_weight = ops.expand_dims(sample_weight, -1)
    return sample_weight


def read_weight(
    sample_weight: Tensor, pred_shape: Shape, last: Sequence[int] = (1,)
) -> tuple[Tensor, Tensor]:
    """A sample weight in the rank of the prediction, without values that cannot be weights.

    Args:
        sample_weight, pred_shape, last: see `expand_weight`.

    Returns:
        `(weight, wrong)`: float32, 0 where the weight was negative or not finite; and bool, true
        at these places.
    """
    weight = ops.cast(expand_weight(sample_weight, pred_shape, last), "float32")
    right = ops.logical_and(weight >= 0.0, weight < float("inf"))
    return ops.where(right, weight, 0.0), ops.logical_not(right)


def read_map(
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor | None,
    channels: int,
    known: Callable[[Tensor], Tensor],
    stride: int = 1,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A map as target, and the weight of each of its pixels.

    Args:
        y_true: the target, `(B, H, W, channels)`; with one channel also `(B, H, W)`.
        y_pred: the prediction, `(B, ceil(H / stride), ceil(W / stride), C)`.
        sample_weight: `None`, `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.
        channels: int, of the target.
        known: a function from the target to a bool mask `(B, H, W, 1)`.
        stride: int >= 1.

    Returns:
        `(y_true, weight, wrong)`: the target, float32 `(B, H, W, channels)`; float32
        `(B, H, W, 1)`, 0 where unknown; and bool `(B, H, W, 1)`, true where the weight of a known
        pixel was negative or not finite, or `None` without `sample_weight`.

    Raises:
        ValueError: if the shapes do not fit together.
    """
    y_true = ops.cast(y_true, "float32")
    if channels == 1 and len(y_true.shape) == len(y_pred.shape) - 1:
        y_true = ops.expand_dims(y_true, -1)
    shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    same = len(shape) == len(pred_shape) == 4 and all(
        None in (a, b) or -(-a // s) == b
        for a, b, s in zip(shape[:3], pred_shape[:3], (1, stride, stride), strict=True)
    )
    if not same or shape[-1] != channels:
        size = "the same size" if stride == 1 else f"1/{stride} of the size (rounded up)"
        raise ValueError(
            f"`y_true` must be (B, H, W, {channels}) and `y_pred` (B, H, W, C) of {size}. "
            f"Received: y_true of shape {shape}, y_pred of shape {pred_shape}"
        )
    mask = known(y_true)
    if sample_weight is None:
        return y_true, ops.cast(mask, "float32"), None
    given, wrong = read_weight(sample_weight, pred_shape if stride == 1 else shape)
    return y_true, ops.cast(mask, "float32") * given, ops.logical_and(mask, wrong)


def known_depth(depth: Tensor) -> Tensor:
    """The pixels of a depth map that are finite and positive: bool of the same shape."""
    return ops.logical_and(depth > 0, ops.isfinite(depth))


def known_normals(normals: Tensor) -> Tensor:
    """The normals `(…, 3)` that are at least half as long as they should be: bool `(…, 1)`.

    >>> ops.convert_to_numpy(known_normals(ops.convert_to_tensor([[0.0, 0, -1], [0, 0, 0]])))[:, 0]
    array([ True, False])
    """
    return ops.sum(ops.square(normals), axis=-1, keepdims=True) >= 0.25


def known_colors(image: Tensor) -> Tensor:
    """The pixels of an image `(…, C)` whose channels are all finite: bool `(…, 1)`."""
    return ops.all(ops.isfinite(image), axis=-1, keepdims=True)


def two_or_more(logits: Tensor) -> Tensor:
    """Logits of at least two classes: of one channel, of "not there" and "there".

    >>> two_or_more(ops.convert_to_tensor([[2.0]])).shape[-1]
    2
    """
    if logits.shape[-1] > 1:
        return logits
    return ops.concatenate([ops.zeros_like(logits), logits], axis=-1)


def nan_where(value: Tensor, wrong: Tensor) -> Tensor:
    """A result, NaN where its input was wrong.

    A constant is added: it makes the number NaN and leaves the gradient alone.

    Args:
        value: a number, or `(B, …)`.
        wrong: bool, of the shape of `value` and perhaps more axes.

    >>> float(nan_where(ops.convert_to_tensor(1.0), ops.convert_to_tensor([True, False])))
    nan
    """
    beyond = tuple(range(len(value.shape), len(wrong.shape)))
    wrong = ops.any(wrong, axis=beyond) if beyond else wrong
    return value + ops.where(wrong, float("nan"), 0.0)

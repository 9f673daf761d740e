"""Losses of sets of pixels: weights go in, and what `reduction` asks for comes out."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_dense._arrays import as_array
from keras_dense.ops.image import sum_blocks

_TINY = 1e-12  # stands for "no weight at all": smaller than any sensible sample weight
SUM_OVER_BATCH_SIZE = "sum_over_batch_size"


class Costs(NamedTuple):
    """What a loss averages: pixels, or images.

    Attributes:
        total: `(B, …)`, what each costs times what it weighs; 0 where nothing is known.
        weight: of the same shape, what each adds to the divisor of the mean.
    """

    total: Any
    weight: Any


def safe_divide(total, weight):
    """`total / weight`, and 0 (with zero gradient) where `weight` is 0.

    >>> float(safe_divide(ops.convert_to_tensor(3.0), ops.convert_to_tensor(0.0)))
    0.0
    """
    empty = weight <= _TINY
    return ops.where(empty, 0.0, total / ops.where(empty, 1.0, weight))


def entered(value, name):
    """What a loss or metric was called with: a tensor as it is, all else as a NumPy array.

    Args:
        value: a tensor of this backend or a symbolic one, or what `as_array` takes.
        name: str, what it is called, for messages.

    Raises:
        TypeError: if it is no array of numbers.

    >>> entered([[0, 255]], "y_true").shape
    (1, 2)
    """
    if isinstance(value, keras.Variable):
        return value.value
    if ops.is_tensor(value) or isinstance(value, keras.KerasTensor):
        return value
    return as_array(value, name)


def entered_weight(value):
    """`sample_weight` as `entered`, or `None`; a NumPy one must be finite and not negative.

    >>> entered_weight([1.0, -2.0])
    Traceback (most recent call last):
    ValueError: `sample_weight` must be finite and not negative. Received: -2.0
    """
    if value is None:
        return None
    value = entered(value, "sample_weight")
    if isinstance(value, np.ndarray):
        wrong = value[~(np.isfinite(value) & (value >= 0))]
        if wrong.size:
            raise ValueError(
                f"`sample_weight` must be finite and not negative. Received: {wrong.flat[0]}"
            )
    return value


def flagged(value, wrong):
    """`value`, and NaN where something was wrong with what it is of.

    A constant is added: it makes the number NaN and leaves the gradient alone.

    Args:
        value: a number, or `(B, …)`.
        wrong: bool, of the shape of `value` and perhaps more axes.

    >>> float(flagged(ops.convert_to_tensor(1.0), ops.convert_to_tensor([True, False])))
    nan
    """
    beyond = tuple(range(len(value.shape), len(wrong.shape)))
    wrong = ops.any(wrong, axis=beyond) if beyond else wrong
    return value + ops.where(wrong, float("nan"), 0.0)


class WeightedLoss(keras.losses.Loss):
    """Base of losses that need the weights of pixels inside, as every loss here does.

    Keras multiplies a finished loss by the weights and divides by all pixels, known or not. Here
    the mean is over what is known, by its weight, and `reduction` means:

    | `reduction` | result |
    |---|---|
    | `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"` | the weighted mean of what is known, one number |
    | `"sum"` | the weighted sum, one number |
    | `"none"` or `None` | the terms of that sum, of each pixel or image; 0 where nothing is known |

    `"none"` is for calls of one's own: `fit` needs one number.

    Subclasses implement `weighted(y_true, y_pred, sample_weight)`, which returns what `reduced`
    made of the formula's result.

    Args:
        name: Name of the loss.
        reduction: See above.
        whole: `None` for a loss of pixels or images; else what gives one, for the message: the
            loss is one number for the batch, which has no `"sum"` and no `"none"`.

    Raises:
        ValueError: For an unknown reduction, or one that the loss cannot have.
    """  # noqa: E501

    def __init__(self, name=None, reduction=SUM_OVER_BATCH_SIZE, whole=None):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if whole is not None:
            self._refuse_terms(whole)

    def _refuse_terms(self, remedy):
        if self.reduction in ("sum", "none", None):
            raise ValueError(
                f"`reduction={self.reduction!r}` needs a loss of each pixel or image, and "
                f"{type(self).__name__} is one number for the batch. {remedy}"
            )

    def __call__(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = entered(y_true, "y_true"), entered(y_pred, "y_pred")
        self.check_inputs(y_true, y_pred)
        sample_weight = entered_weight(sample_weight)
        packed = (y_true,) if sample_weight is None else (y_true, sample_weight)
        return super().__call__(packed, y_pred)

    def check_inputs(self, y_true, y_pred):
        """Raise for what cannot be meant; values can be seen where they are NumPy arrays."""

    def call(self, y_true, y_pred):
        sample_weight = y_true[1] if len(y_true) == 2 else None
        value = self.weighted(y_true[0], y_pred, sample_weight)
        if self.reduction in ("none", None):
            return value
        # Keras reduces a vector of one (and scales it for tf.distribute), but not a scalar.
        return ops.reshape(value, (1,))

    def weighted(self, y_true, y_pred, sample_weight):
        """The loss of a batch, reduced; `sample_weight` may be `None`."""
        raise TypeError(f"{type(self).__name__} must implement weighted(y_true, y_pred, weight)")

    def reduced(self, found):
        """What `reduction` makes of `Costs`; one number, which has only a mean, stays as it is."""
        if not isinstance(found, Costs):
            self._refuse_terms("Let its formula return `Costs`.")
            return found
        if self.reduction in ("none", None):
            return found.total
        total = ops.sum(found.total)
        return total if self.reduction == "sum" else safe_divide(total, ops.sum(found.weight))

    def get_config(self):
        return {"name": self.name, "reduction": self.reduction}


class MapLoss(WeightedLoss):
    """Base of losses over maps whose targets say by themselves where nothing is known.

    The contract of every loss of depth, normals and color:

    - **Predictions** `y_pred` `(B, H, W, C)`, of any float dtype; computed in float32.
    - **Targets** `y_true` `(B, H, W, C')`; without the last axis where it is 1. A pixel that the
      target marks as unknown reaches neither value nor gradient, whatever stands there in target
      or prediction (NaN, too); a batch without a known pixel costs 0, with zero gradients.
    - **Weights** `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, multiplied onto the known pixels. NumPy
      weights that are negative or not finite raise `ValueError`; inside a graph they make the loss
      NaN, and their pixels stay out of the gradient.
    - **Result**: one float32 number for the batch, or what `reduction` asks for, see
      `WeightedLoss`.

    Subclasses set `channels`, the channels of a target, perhaps `stride` (predictions are then
    `(B, ceil(H / stride), ceil(W / stride), C)`), and implement `known(y_true)`, the mask
    `(B, H, W, 1)` (bool), and `compute(y_true, y_pred, weight)`. There `weight` `(B, H, W, 1)` is 0
    and the target `filler` where nothing is known; so is the prediction, if it has the same size.
    """

    channels = 1
    stride = 1
    filler = 1.0

    def weighted(self, y_true, y_pred, sample_weight):
        y_true, weight, wrong = read_map(
            y_true, y_pred, sample_weight, self.channels, self.known, self.stride
        )
        y_true = ops.where(weight > 0, y_true, self.filler)
        if self.stride == 1:
            y_pred = ops.where(weight > 0, y_pred, self.filler)
        value = self.reduced(self.compute(y_true, y_pred, weight))
        if wrong is None:
            return value
        if len(value.shape) == 3 and self.stride > 1:
            wrong = sum_blocks(ops.cast(wrong, "float32"), self.stride) > 0
        return flagged(value, wrong[..., 0])

    def known(self, y_true):
        """Where a target `(B, H, W, channels)` is known: bool `(B, H, W, 1)`."""
        raise TypeError(f"{type(self).__name__} must implement known(y_true)")

    def compute(self, y_true, y_pred, weight):
        """The loss: `Costs` of pixels `(B, H, W)` or images `(B,)`, or one number."""
        raise TypeError(f"{type(self).__name__} must implement compute(y_true, y_pred, weight)")


def pixel_costs(cost, weight):
    """`Costs` of maps `(B, H, W, 1)`."""
    return Costs((weight * cost)[..., 0], weight[..., 0])


def read_map(y_true, y_pred, sample_weight, channels, known, stride=1):
    """A target as `(B, H, W, channels)` and what each pixel weighs, `(B, H, W, 1)`, 0 where
    unknown; both float32. And where the weight of a known pixel is none, see `read_weight`.

    Args:
        y_true: the target; with one channel `(B, H, W)` will do.
        y_pred: the prediction, `(B, H, W, C)`.
        sample_weight: `None`, `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.
        channels: int, of the target.
        known: a function from the target to a bool mask `(B, H, W, 1)`.
        stride: int ≥ 1; the prediction is `(B, ceil(H / stride), ceil(W / stride), C)`.

    Returns:
        `(y_true, weight, wrong)`, the last bool `(B, H, W, 1)`, or `None` without weights.

    Raises:
        ValueError: where shapes do not go together.
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
            f"y_true must be (B, H, W, {channels}) and y_pred (B, H, W, C) of {size}. "
            f"Received: y_true of shape {shape}, y_pred of shape {pred_shape}"
        )
    known = known(y_true)
    if sample_weight is None:
        return y_true, ops.cast(known, "float32"), None
    given, wrong = read_weight(sample_weight, pred_shape if stride == 1 else shape)
    return y_true, ops.cast(known, "float32") * given, ops.logical_and(known, wrong)


def read_weight(sample_weight, pred_shape, last=(1,)):
    """A sample weight in the rank of the prediction, see `expand_weight`, and where it is none.

    Returns:
        `(weight, wrong)`: float32, and bool: where it was negative or not finite, and now is 0.
    """
    weight = ops.cast(expand_weight(sample_weight, pred_shape, last), "float32")
    right = ops.logical_and(weight >= 0.0, weight < float("inf"))
    return ops.where(right, weight, 0.0), ops.logical_not(right)


def expand_weight(sample_weight, pred_shape, last=(1,)):
    """A sample weight in the rank of the prediction.

    Args:
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, n)`, n one of `last`.
        pred_shape: of the prediction, `(B, H, W, C)`.
        last: ints.

    Raises:
        ValueError: for other shapes.
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
            "sample_weight must have shape (B,), (B, H, W) or (B, H, W, 1) for y_pred "
            f"{tuple(pred_shape)}; received shape {shape}"
        )
    for _ in range(len(pred_shape) - len(shape)):
        sample_weight = ops.expand_dims(sample_weight, -1)
    return sample_weight

"""Losses of sets of pixels: weights go in, one number comes out."""

import keras
from keras import ops

_TINY = 1e-12  # stands for "no weight at all": smaller than any sensible sample weight


def safe_divide(total, weight):
    """`total / weight`, and 0 (with zero gradient) where `weight` is 0.

    >>> float(safe_divide(ops.convert_to_tensor(3.0), ops.convert_to_tensor(0.0)))
    0.0
    """
    empty = weight <= _TINY
    return ops.where(empty, 0.0, total / ops.where(empty, 1.0, weight))


class WeightedLoss(keras.losses.Loss):
    """Base of losses that need the weights of pixels inside, as every loss here does.

    Keras multiplies a finished loss by the weights and divides by all pixels, known or not.
    Subclasses implement `weighted(y_true, y_pred, sample_weight)`, which returns one number.
    """

    def __init__(self, name=None):
        super().__init__(name=name, dtype="float32")

    def __call__(self, y_true, y_pred, sample_weight=None):
        packed = (y_true,) if sample_weight is None else (y_true, sample_weight)
        return super().__call__(packed, y_pred)

    def call(self, y_true, y_pred):
        sample_weight = y_true[1] if len(y_true) == 2 else None
        value = self.weighted(y_true[0], y_pred, sample_weight)
        # Keras reduces a vector of one (and scales it for tf.distribute), but not a scalar.
        return ops.reshape(value, (1,))

    def weighted(self, y_true, y_pred, sample_weight):
        """The scalar loss of a batch; `sample_weight` may be `None`."""
        raise TypeError(f"{type(self).__name__} must implement weighted(y_true, y_pred, weight)")


class MapLoss(WeightedLoss):
    """Base of losses over maps whose targets say by themselves where nothing is known.

    The contract of every loss of depth, normals and colour:

    - **Predictions** `y_pred` `(B, H, W, C)`, of any float dtype; computed in float32.
    - **Targets** `y_true` `(B, H, W, C')`; without the last axis where it is 1. A pixel that the
      target marks as unknown reaches neither value nor gradient, whatever stands there (NaN, too);
      a batch without a known pixel costs 0, with zero gradients.
    - **Weights** `(B,)`, `(B, H, W)` or `(B, H, W, 1)`, multiplied onto the known pixels.
    - **Result**: one float32 number for the batch.

    Subclasses set `channels`, the channels of a target, perhaps `stride` (predictions are then
    `(B, ceil(H / stride), ceil(W / stride), C)`), and implement `known(y_true)`, the mask
    `(B, H, W, 1)` (bool), and `compute(y_true, y_pred, weight)`, where unknown targets have
    become `filler` and `weight` `(B, H, W, 1)` is 0 there.
    """

    channels = 1
    stride = 1
    filler = 1.0

    def weighted(self, y_true, y_pred, sample_weight):
        y_true, weight = read_map(
            y_true, y_pred, sample_weight, self.channels, self.known, self.stride
        )
        return self.compute(ops.where(weight > 0, y_true, self.filler), y_pred, weight)

    def known(self, y_true):
        """Where a target `(B, H, W, channels)` is known: bool `(B, H, W, 1)`."""
        raise TypeError(f"{type(self).__name__} must implement known(y_true)")

    def compute(self, y_true, y_pred, weight):
        """The scalar loss."""
        raise TypeError(f"{type(self).__name__} must implement compute(y_true, y_pred, weight)")

    def get_config(self):
        return {"name": self.name}


def read_map(y_true, y_pred, sample_weight, channels, known, stride=1):
    """A target as `(B, H, W, channels)` and what each pixel weighs, `(B, H, W, 1)`, 0 where
    unknown; both float32.

    Args:
        y_true: the target; with one channel `(B, H, W)` will do.
        y_pred: the prediction, `(B, H, W, C)`.
        sample_weight: `None`, `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.
        channels: int, of the target.
        known: a function from the target to a bool mask `(B, H, W, 1)`.
        stride: int ≥ 1; the prediction is `(B, ceil(H / stride), ceil(W / stride), C)`.

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
    weight = ops.cast(known(y_true), "float32")
    if sample_weight is not None:
        size = pred_shape if stride == 1 else shape
        weight = weight * expand_weight(ops.cast(sample_weight, "float32"), size)
    return y_true, weight


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

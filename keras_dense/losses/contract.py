"""What every segmentation loss agrees on: targets, void pixels, weights, errors.

A loss file holds one formula over `Pixels`; reading targets of every form, masking and
weighting happen here, once.
"""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dense.losses.weighted import (
    SUM_OVER_BATCH_SIZE,
    WeightedLoss,
    flagged,
    read_weight,
)

MODES = ("multiclass", "binary", "multilabel")


class Pixels(NamedTuple):
    """A batch in the one form all formulas use; every tensor is float32.

    Attributes:
        logits: `(B, N, C)`, N the pixels of an image.
        truth: `(B, N, C)`, one-hot (zeros where void), or 0/1 per label.
        weight: `(B, N, 1)` or `(B, N, C)`: 0 where void, else the sample weight (1 by default).
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
    """

    logits: Any
    truth: Any
    weight: Any
    mode: str


class Outcomes(NamedTuple):
    """Each pixel as one draw among K outcomes: what cross-entropy-like losses sum over.

    Multi-class pixels draw among C classes; a binary pixel among (background, foreground); with
    several labels every (pixel, label) draws among (absent, present).

    Attributes:
        log_p: `(B, M, K)` log-probabilities.
        truth: `(B, M, K)` target probabilities, zeros where void.
        weight: `(B, M)`: 0 where void.
        cost: `(K,)` weight of the outcomes (`class_weight`, or ones).
    """

    log_p: Any
    truth: Any
    weight: Any
    cost: Any


def check_mode(mode):
    """Return `mode`, or raise `ValueError` for an unknown one."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}; received: mode={mode!r}")
    return mode


def check_ignore_class(ignore_class, mode):
    """Return `ignore_class` as `int` or `None`, or raise for what cannot be a void label."""
    if ignore_class is None:
        return None
    if isinstance(ignore_class, bool) or not isinstance(ignore_class, (int, np.integer)):
        raise TypeError(
            "ignore_class must be an integer (the label of void pixels) or None; "
            f"received: ignore_class={ignore_class!r}"
        )
    if abs(int(ignore_class)) > 2**24:  # float32 holds integers exactly up to here
        raise ValueError(f"ignore_class must fit in 24 bits; received: {ignore_class}")
    if mode != "multiclass" and ignore_class in (0, 1):
        raise ValueError(
            f"ignore_class={ignore_class} is a label of its own with mode={mode!r}; "
            "use a value other than 0 and 1, e.g. 255"
        )
    return int(ignore_class)


def check_class_weight(class_weight):
    """Return `class_weight` as a tuple of floats or `None`; raise for negative or non-finite."""
    if class_weight is None:
        return None
    if isinstance(class_weight, dict):
        raise TypeError(
            "class_weight must be a sequence with one number per class, not a dict; "
            f"received: class_weight={class_weight!r}"
        )
    values = np.asarray(class_weight, dtype="float64")
    if values.ndim != 1 or values.size == 0:
        raise ValueError(
            "class_weight must be a sequence with one number per class; "
            f"received shape {values.shape}"
        )
    if not np.all(np.isfinite(values)) or np.any(values < 0) or not np.any(values > 0):
        raise ValueError(
            "class_weight must be finite, not negative, and not all zero; "
            f"received: class_weight={values.tolist()}"
        )
    return tuple(values.tolist())


def check_number(name, value, low, high=float("inf")):
    """Return `value` as float when it lies in `[low, high]`, or raise."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name} must be a number; received: {name}={value!r}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be in [{low}, {high}]; received: {name}={value!r}")
    return float(value)


def check_flag(name, value):
    """Return `value` as bool, or raise: the string "false" must not mean true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; received: {name}={value!r}")
    return bool(value)


def target_form(true_shape, pred_shape, mode):
    """Say how a target is written: `"labels"` (one number a pixel) or `"hot"` (one a channel).

    Args:
        true_shape: Shape of the target, `None` for sizes that are not known.
        pred_shape: Shape of the prediction, `(B, ..., C)`.
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.

    Returns:
        `"labels"` or `"hot"`.

    Raises:
        ValueError: When the shapes cannot belong together.
    """
    true_shape, pred_shape = tuple(true_shape), tuple(pred_shape)
    shapes = f"y_true has shape {true_shape}, y_pred has shape {pred_shape}"
    if len(pred_shape) < 2:
        raise ValueError(f"y_pred must be logits of shape (B, H, W, classes); {shapes}")
    channels = pred_shape[-1]
    if channels is None:
        raise ValueError(f"y_pred must have a known number of channels; {shapes}")
    if mode == "binary" and channels != 1:
        raise ValueError(
            f"mode='binary' takes one logit a pixel, y_pred of shape (B, H, W, 1); {shapes}. "
            "For two or more channels use mode='multiclass' or 'multilabel'"
        )
    if mode == "multiclass" and channels == 1:
        raise ValueError(
            "mode='multiclass' needs a logit for each of at least two classes; "
            f"{shapes}. For one channel use mode='binary'"
        )
    if len(true_shape) == len(pred_shape) - 1:
        form = "labels"
    elif len(true_shape) == len(pred_shape) and true_shape[-1] == 1:
        form = "labels"
    elif len(true_shape) == len(pred_shape) and true_shape[-1] in (channels, None):
        form = "hot"
    elif len(true_shape) == len(pred_shape):
        raise ValueError(
            f"y_true has {true_shape[-1]} classes but y_pred has {channels}; {shapes}. "
            "Give integer labels (B, H, W) or one-hot targets with as many channels as y_pred"
        )
    else:
        raise ValueError(
            f"y_true must be integer labels (B, H, W) or one-hot (B, H, W, {channels}); {shapes}"
        )
    for t, p in zip(true_shape[: len(pred_shape) - 1], pred_shape[:-1], strict=True):
        if t is not None and p is not None and t != p:
            raise ValueError(f"y_true and y_pred must have the same size; {shapes}")
    # One channel: 0/1 per pixel is both forms at once, and "hot" keeps soft values.
    return "hot" if channels == 1 else form


def check_labels(y_true, form, channels, mode, ignore_class):
    """Raise `ValueError` for a value in a NumPy target that no class has (see `DenseLoss`)."""
    values = np.asarray(y_true)
    if form == "labels":
        known = (values >= 0) & (values < channels) & (values == np.floor(values))
        allowed = f"{channels} classes have the labels 0..{channels - 1}"
    else:
        known = (values >= 0) & (values <= 1)
        allowed = f"mode={mode!r} targets with a channel a class lie in 0..1"
    if ignore_class is not None and (form == "labels" or mode != "multiclass"):
        known |= values == ignore_class
        allowed += f", void pixels {ignore_class} (ignore_class)"
    if not known.all():
        wrong = np.unique(values[~known])[:5].tolist()
        raise ValueError(f"y_true holds {wrong}, but {allowed}")


def read_target(y_true, form, channels, mode, ignore_class):
    """Bring a float32 target to one-hot form.

    Returns:
        `(truth, valid, wrong)`: `(B, ..., C)`; bool `(B, ..., 1)` or `(B, ..., C)`; bool of the
        same shape, where a value belongs to no class and is not void.
    """
    if form == "labels":
        hot = ops.equal(y_true, ops.arange(channels, dtype="float32"))
        valid = ops.any(hot, axis=-1, keepdims=True)
        wrong = ops.logical_not(valid)
        if ignore_class is not None:
            void = ops.equal(y_true, float(ignore_class))
            wrong = ops.logical_and(wrong, ops.logical_not(void))
            valid = ops.logical_and(valid, ops.logical_not(void))
        return ops.cast(ops.logical_and(hot, valid), "float32"), valid, wrong
    inside = ops.logical_and(y_true >= 0.0, y_true <= 1.0)
    if mode == "multiclass":
        total = ops.sum(y_true, axis=-1, keepdims=True)
        known = ops.logical_and(
            ops.all(inside, axis=-1, keepdims=True), ops.abs(total - 1.0) < 0.01
        )
        void = ops.all(ops.equal(y_true, 0.0), axis=-1, keepdims=True)
        valid = known
        if ignore_class is not None and 0 <= ignore_class < channels:
            valid = ops.logical_and(known, y_true[..., ignore_class : ignore_class + 1] < 0.5)
    else:
        void = ops.zeros_like(inside)
        if ignore_class is not None:
            void = ops.equal(y_true, float(ignore_class))
        known = valid = inside
    wrong = ops.logical_not(ops.logical_or(known, void))
    return ops.where(valid, y_true, 0.0), valid, wrong


def read_pixels(y_true, y_pred, sample_weight, mode, ignore_class):
    """Return `(Pixels, wrong)` for float32 tensors.

    Logits of pixels without weight become 0, whatever they are (NaN times 0 is not 0). `wrong` is
    bool `(B, ..., 1)` or `(B, ..., C)`: labels of no class, and weights that are none.
    """
    channels = y_pred.shape[-1]
    form = target_form(y_true.shape, y_pred.shape, mode)
    if len(y_true.shape) < len(y_pred.shape):
        y_true = ops.expand_dims(y_true, -1)
    truth, valid, wrong = read_target(y_true, form, channels, mode, ignore_class)
    weight = ops.cast(valid, "float32")
    if sample_weight is not None:
        last = (1, channels) if mode == "multilabel" else (1,)
        given, no_weight = read_weight(sample_weight, y_pred.shape, last)
        wrong = ops.logical_or(wrong, ops.logical_and(valid, no_weight))
        weight = weight * given
    y_pred = ops.where(weight > 0.0, y_pred, 0.0)
    pixels = Pixels(_flat(y_pred), _flat(truth), _flat(weight), mode)
    return pixels, wrong


def read_outcomes(pixels, class_weight=None):
    """Return the `Outcomes` of `pixels`; `class_weight` has one number per class."""
    truth, weight = pixels.truth, pixels.weight
    channels = pixels.logits.shape[-1]
    if pixels.mode == "multiclass":
        cost = ops.convert_to_tensor(class_weight or (1.0,) * channels, dtype="float32")
        return Outcomes(ops.log_softmax(pixels.logits), truth, weight[..., 0], cost)
    if pixels.mode == "multilabel" and class_weight is not None:
        weight = weight * ops.convert_to_tensor(class_weight, dtype="float32")
        class_weight = None
    weight = weight * ops.ones_like(truth)
    log_p = _pair(ops.log_sigmoid(-pixels.logits), ops.log_sigmoid(pixels.logits))
    cost = ops.convert_to_tensor(class_weight or (1.0, 1.0), dtype="float32")
    weight = ops.reshape(weight, (ops.shape(weight)[0], -1))
    return Outcomes(log_p, _pair(1.0 - truth, truth), weight, cost)


def expected_log(share, log_p):
    """`sum_k share[k] log p[k]`, where a share of nothing is 0 though the logarithm be infinite.

    Logits of minus infinity rule a class out.

    >>> float(expected_log(ops.convert_to_tensor([1.0, 0]), ops.log([0.5, 0.0])))
    -0.6931471824645996
    """
    return ops.sum(share * ops.where(share > 0.0, log_p, 0.0), axis=-1)


def _flat(x):
    return ops.reshape(x, (ops.shape(x)[0], -1, x.shape[-1]))


def _pair(absent, present):
    """`(B, N, C)` twice to `(B, N * C, 2)`."""
    both = ops.stack([absent, present], axis=-1)
    return ops.reshape(both, (ops.shape(both)[0], -1, 2))


class DenseLoss(WeightedLoss):
    """Base of the segmentation losses: reads targets, masks, weights, and guards.

    The contract of every loss of this package:

    - **Logits** `y_pred`: `(B, H, W, C)`, of any float dtype; computed in float32.
    - **Targets** `y_true`: with `mode="multiclass"` integers `(B, H, W)` or `(B, H, W, 1)`, or
      one-hot `(B, H, W, C)` where an all-zero row is a void pixel; with `"binary"` (C = 1) 0 and 1;
      with `"multilabel"` 0/1 per channel, or integers that name the one present label.
    - **Void**: labels equal to `ignore_class` reach neither the value nor the gradient, whatever is
      predicted there (NaN, too). A batch without a valid pixel costs 0, with zero gradients.
    - **Weights**: `sample_weight` `(B,)`, `(B, H, W)` or `(B, H, W, 1)` multiplies the weight of a
      pixel. Means are weighted means, so weight 0 is the same as void, and a weight of 2 everywhere
      changes nothing (Keras' own losses would divide by all pixels, void ones too).
    - **Result**: one number for the batch, or what `reduction` asks for, see `WeightedLoss`.
    - **Labels of no class** (37 of 21 classes): NumPy targets raise `ValueError`. Inside a graph
      nothing can raise on every backend: there the loss is NaN, so training visibly fails
      (`keras.callbacks.TerminateOnNaN` stops it), and such pixels stay out of the gradient, so the
      weights survive. Sample weights that are negative or not finite are treated alike.
    - **64 bits**: JAX cuts integers to 32 bits as they enter `fit`, before any loss can look: a
      label of 2**32 is 0 by then. `kd.datasets.Loader` refuses such labels on every backend.

    Subclasses implement `compute(pixels)` over `Pixels`, which returns `Costs` of pixels `(B, N)`
    (`(B, N * C)` with several labels) or images `(B,)`, or one number, which has only a mean.

    Args:
        mode: `"multiclass"` (softmax), `"binary"` (one sigmoid) or `"multilabel"` (C sigmoids).
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class (two, background and foreground, when binary), or `None`.
        name: Name of the loss.
        reduction: What is returned, see `WeightedLoss`. With `"none"` the loss of each pixel is
            `(B, H, W)`, with several labels that of each label `(B, H, W, C)`.
        whole: Of subclasses that are one number for the batch, see `WeightedLoss`.
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        name=None,
        reduction=SUM_OVER_BATCH_SIZE,
        whole=None,
    ):
        super().__init__(name, reduction, whole)
        self.mode = check_mode(mode)
        self.ignore_class = check_ignore_class(ignore_class, mode)
        self.class_weight = check_class_weight(class_weight)

    def check_inputs(self, y_true, y_pred):
        form = target_form(y_true.shape, y_pred.shape, self.mode)
        channels = y_pred.shape[-1]
        self._check_class_weight_length(channels)
        if isinstance(y_true, np.ndarray):
            check_labels(y_true, form, channels, self.mode, self.ignore_class)

    def weighted(self, y_true, y_pred, sample_weight):
        pixels, wrong = read_pixels(y_true, y_pred, sample_weight, self.mode, self.ignore_class)
        value = self.reduced(self.compute(pixels))
        if len(value.shape) == 2:
            last = y_pred.shape[-1] if self.mode == "multilabel" else 1
            value = ops.reshape(value, (*ops.shape(y_pred)[:-1], last))
            value = flagged(value, wrong)
            return value if self.mode == "multilabel" else value[..., 0]
        return flagged(value, wrong)

    def compute(self, pixels):
        """Return the loss of `Pixels`: `Costs`, or one number."""
        raise TypeError(f"{type(self).__name__} must implement compute(pixels)")

    def _check_class_weight_length(self, channels):
        expected = 2 if self.mode == "binary" else channels
        if self.class_weight is not None and len(self.class_weight) != expected:
            raise ValueError(
                f"class_weight has {len(self.class_weight)} numbers, but {expected} classes are "
                f"scored (mode={self.mode!r}, y_pred has {channels} channels)"
            )

    def get_config(self):
        return {
            **super().get_config(),
            "mode": self.mode,
            "ignore_class": self.ignore_class,
            "class_weight": None if self.class_weight is None else list(self.class_weight),
        }

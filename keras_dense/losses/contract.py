"""Base of the segmentation losses: targets, void pixels, weights and errors, handled in one place.

A file of losses holds formulas over `Pixels`; the forms of a target, masks and weights are read
here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, WeightedLoss
from keras_dense.ops.labels import (
    MODES,
    check_ignore_class,
    check_labels,
    read_target,
    target_form,
)
from keras_dense.ops.targets import nan_where, read_weight

# Advice for losses that are one number for the batch unless `per_image=True`.
USE_PER_IMAGE = "Use per_image=True: then there is a loss of each image."


class Pixels(NamedTuple):
    """A batch in the form that all formulas use; every tensor is float32.

    Attributes:
        logits: `(B, N, C)`, N the pixels of an image.
        truth: `(B, N, C)`, one-hot (zeros where void), or 0/1 per label.
        weight: `(B, N, 1)` or `(B, N, C)`: 0 where void, else the sample weight (1 by default).
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        size: `(H, W)`, for losses that know neighbors; N = H W.
    """

    logits: Tensor
    truth: Tensor
    weight: Tensor
    mode: str
    size: Sequence[Any]


class Outcomes(NamedTuple):
    """Each pixel as one draw among K outcomes, for losses like cross-entropy.

    Multi-class pixels draw among C classes; a binary pixel among (background, foreground); with
    several labels every (pixel, label) draws among (absent, present).

    Attributes:
        log_p: `(B, M, K)` log-probabilities.
        truth: `(B, M, K)` target probabilities, zeros where void.
        weight: `(B, M)`: 0 where void.
        cost: `(K,)` weight of the outcomes (`class_weight`, or ones).
    """

    log_p: Tensor
    truth: Tensor
    weight: Tensor
    cost: Tensor


def check_class_weight(class_weight: ArrayLike | None) -> tuple[float, ...] | None:
    """`class_weight` as a tuple of floats, or `None`.

    Raises:
        ValueError: if it is not a sequence of numbers, or if a number is negative or not finite,
            or all are 0.

    >>> check_class_weight(np.array([1, 2]))
    (1.0, 2.0)
    """
    if class_weight is None:
        return None
    wanted = "a sequence of numbers >= 0, one for each class, not all of them 0"
    if isinstance(class_weight, dict):
        raise _check.fail("class_weight", wanted + "; not a dict", class_weight)
    try:
        values = np.asarray(class_weight, dtype="float64")
    except (TypeError, ValueError):
        raise _check.fail("class_weight", wanted, class_weight) from None
    right = values.ndim == 1 and np.all(np.isfinite(values) & (values >= 0)) and np.any(values > 0)
    if not right:
        raise _check.fail("class_weight", wanted, class_weight)
    return tuple(values.tolist())


def refuse_binary_class_weight(loss: WeightedLoss, mode: str, class_weight: object) -> None:
    """Raise a ValueError for class weights where only the foreground is scored."""
    if mode == "binary" and class_weight is not None:
        raise ValueError(
            f"`class_weight` must be None for {type(loss).__name__} with mode='binary': only the "
            f"foreground is scored. Received: class_weight={class_weight!r}"
        )


def read_pixels(
    y_true: Tensor,
    y_pred: Tensor,
    sample_weight: Tensor | None,
    mode: str,
    ignore_class: int | None,
) -> tuple[Pixels, Tensor]:
    """`Pixels` of float32 tensors, and where their labels or weights are wrong.

    Logits of pixels without weight become 0, for NaN times 0 is not 0.

    Returns:
        `(pixels, wrong)`; `wrong` is bool `(B, …, 1)` or `(B, …, C)`, true for labels of no class
        and for weights that are negative or not finite.
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
    size = ops.shape(y_pred)[1:-1]
    pixels = Pixels(_flat(y_pred), _flat(truth), _flat(weight), mode, size)
    return pixels, wrong


def read_outcomes(pixels: Pixels, class_weight: Sequence[float] | None = None) -> Outcomes:
    """The `Outcomes` of `pixels`; `class_weight` has one number per class."""
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


def expected_log(share: Tensor, log_p: Tensor) -> Tensor:
    """`sum_k share[k] log p[k]`; a share of 0 adds 0, even if its logarithm is infinite.

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
    """Base of the segmentation losses: reads targets, masks, weights, and checks.

    The contract of every segmentation loss:

    - **Logits** `y_pred`: `(B, H, W, C)`, of any float dtype; computed in float32.
    - **Targets** `y_true`: with `mode="multiclass"` integers `(B, H, W)` or `(B, H, W, 1)`, or
      one-hot `(B, H, W, C)` where an all-zero row is a void pixel; with `"binary"` (C = 1) 0 and 1;
      with `"multilabel"` 0/1 per channel, or integers that name the one present label.
    - **Void**: labels equal to `ignore_class` reach neither the value nor the gradient, whether
      the prediction there is finite or NaN. In one-hot targets a pixel is void where no class has
      a larger share than `ignore_class`. A batch without a valid pixel costs 0, with zero
      gradients.
    - **Weights**: `sample_weight` `(B,)`, `(B, H, W)` or `(B, H, W, 1)` multiplies the weight of a
      pixel. Means are weighted means, so weight 0 is the same as void, and a weight of 2 everywhere
      changes nothing (Keras' own losses divide by all pixels, including void ones).
    - **Result**: one number for the batch, or what `reduction` asks for, see `WeightedLoss`.
    - **Labels of no class** (37 of 21 classes): NumPy targets raise `ValueError`. Inside a graph
      nothing can raise on every backend: there the loss is NaN, so training visibly fails
      (`keras.callbacks.TerminateOnNaN` stops it), and such pixels stay out of the gradient, so the
      weights survive. Sample weights that are negative or not finite are treated alike.
    - **64 bits**: JAX cuts integers to 32 bits when they enter `fit`, before any loss sees them: a
      label of 2**32 is 0 by then. `kd.datasets.Loader` refuses such labels on every backend.

    Subclasses implement `compute(pixels)` over `Pixels`, which returns `Costs` of pixels `(B, N)`
    (`(B, N * C)` with several labels) or images `(B,)`, or one number, which has only a mean.

    Args:
        mode: `"multiclass"` (softmax), `"binary"` (one sigmoid) or `"multilabel"` (C sigmoids).
        ignore_class: int, label of void pixels, or `None`.
        class_weight: one number per class (two, background and foreground, when binary), or `None`.
        reduction: see `WeightedLoss`. With `"none"` the loss of each pixel is `(B, H, W)`, with
            several labels the loss of each label `(B, H, W, C)`.
        name: name of the loss.
        whole: for subclasses that give one number for the batch, see `WeightedLoss`.
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str | None = None,
        whole: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name, whole=whole)
        self.mode = _check.choice(mode, "mode", MODES)
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
            value = nan_where(value, wrong)
            return value if self.mode == "multilabel" else value[..., 0]
        return nan_where(value, wrong)

    def compute(self, pixels: Pixels) -> Costs | Tensor:
        """The loss of `Pixels`: `Costs`, or one number."""
        raise TypeError(f"{type(self).__name__} must implement compute(pixels)")

    def _check_class_weight_length(self, channels):
        expected = 2 if self.mode == "binary" else channels
        if self.class_weight is not None and len(self.class_weight) != expected:
            raise ValueError(
                f"`class_weight` must have {expected} numbers, one for each class that is scored "
                f"(mode={self.mode!r}, y_pred has {channels} channels). "
                f"Received: {len(self.class_weight)} numbers"
            )

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "mode": self.mode,
            "ignore_class": self.ignore_class,
            "class_weight": None if self.class_weight is None else list(self.class_weight),
        }

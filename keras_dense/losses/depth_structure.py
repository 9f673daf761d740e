"""Losses of depth over whole images: slopes at several scales, alignment of scale and shift."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.depth import DepthLoss, image_costs, log_depth, steps
from keras_dense.losses.weighted import ONE_BY_ONE, SUM_OVER_BATCH_SIZE
from keras_dense.ops.masked import image_median, image_sums, safe_divide

ALIGNMENTS = ("least_squares", "median")


def gradient_matching(difference: Tensor, weight: Tensor, scales: int = 4) -> Tensor:
    """The sum over scales of the mean absolute slopes of a difference `(B, H, W, 1)`.

    Scale s takes every 2ˢ-th pixel. A slope counts where both pixels are known; the sum is divided
    by the sum of the weights of all pixels of the batch.

    >>> ramp = ops.reshape(ops.arange(4, dtype="float32"), (1, 1, 4, 1))
    >>> float(gradient_matching(ramp, ops.ones_like(ramp), scales=2))  # 3 / 4 + 2 / 2
    1.75
    """
    loss = 0.0
    for scale in range(scales):
        stride = 2**scale
        d, w = difference[:, ::stride, ::stride], weight[:, ::stride, ::stride]
        for axis in (1, 2):
            step, pair = steps(d, w, axis)
            loss = loss + safe_divide(ops.sum(pair * ops.absolute(step)), ops.sum(w))
    return loss


@keras.saving.register_keras_serializable("keras_dense")
class GradientMatching(DepthLoss):
    """Differences of the slopes of log depth at several scales, for edges like those in the truth.

    ```
    d = log y_pred - log y_true
    loss = sum_s (1 / n_s) sum |∂x d| + |∂y d|      over every 2ˢ-th pixel, s = 0 … scales - 1
    ```

    ∂ is the difference to the next known pixel, n_s the number of known pixels. A common factor
    does not change the loss: add it to another loss with `Sum`. Li and Snavely, "MegaDepth", CVPR
    2018, eq. 3.

    Args:
        scales: int >= 1, how many scales.
        log: bool; logarithms are compared, or meters.
        reduction: a mean (`"sum_over_batch_size"`, `"mean"` or `"mean_with_sample_weight"`, which
            are the same): there is no loss of each pixel to sum or return.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> meters = np.array([[[1.0, 2.0, 3.0]]])
    >>> round(float(GradientMatching()(meters, 2 * meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        *,
        scales: int = 4,
        log: bool = True,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "gradient_matching",
    ):
        super().__init__(reduction=reduction, name=name, whole=ONE_BY_ONE)
        self.scales = _check.integer(scales, "scales", 1)
        self.log = _check.flag(log, "log")

    def score(self, y_true, y_pred, weight):
        difference = log_depth(y_pred) - ops.log(y_true) if self.log else y_pred - y_true
        return gradient_matching(difference, weight, self.scales)

    def get_config(self) -> Config:
        return {**super().get_config(), "scales": self.scales, "log": self.log}


def fit_line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and shift, each `(B, 1, 1, 1)`, that fit x to y in each image.

    Least squares over maps `(B, H, W, 1)`; the scale is 0 where x is constant.
    """
    n = image_sums(weight)
    mean_x, mean_y = (safe_divide(image_sums(weight * v), n) for v in (x, y))
    centered = x - mean_x
    squares = image_sums(weight * ops.square(centered))
    # Rounding leaves differences of 1e-7 in a constant map.
    squares = ops.where(squares > 1e-10 * n * ops.square(mean_x), squares, 0.0)
    scale = safe_divide(image_sums(weight * centered * (y - mean_y)), squares)
    return scale, mean_y - scale * mean_x


def align_by_median(x: Tensor, weight: Tensor) -> Tensor:
    """`(x - median) / mean |x - median|` of each image."""
    offset = x - image_median(x, weight > 0)
    scale = safe_divide(image_sums(weight * ops.absolute(offset)), image_sums(weight))
    return safe_divide(offset, scale)


@keras.saving.register_keras_serializable("keras_dense")
class ScaleAndShiftInvariant(DepthLoss):
    """Absolute differences after the best scale and shift of each image.

    ```
    "least_squares":  s, b = argmin sum (s y_pred + b - y_true)²;   d = s y_pred + b - y_true
    "median":         a(y) = (y - median y) / mean |y - median y|;  d = a(y_pred) - a(y_true)
    loss = mean |d| + gradient_weight * gradient_matching(d, scales)
    ```

    over the known pixels of an image, and the mean over images with a known pixel. For training on
    data of unknown scale (pass both maps as inverse depths then, as in the paper). Ranftl et al.,
    "Towards Robust Monocular Depth Estimation", PAMI 2022, eq. 2 to 6 and 11 (there with a factor
    of 1/2, and for medians without the 20 % largest differences).

    Args:
        alignment: `"least_squares"` or `"median"`.
        gradient_weight: float >= 0, weight of the slopes of d, 0.5 in the paper.
        scales: int >= 1, of the slopes, see `GradientMatching`.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `gradient_weight=0`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> meters = np.array([[[1.0, 2.0, 5.0]]])
    >>> round(float(ScaleAndShiftInvariant()(meters, 3 * meters[..., None] + 1)), 6)
    0.0
    """

    def __init__(
        self,
        alignment: str = "least_squares",
        *,
        gradient_weight: float = 0.0,
        scales: int = 4,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "scale_and_shift_invariant",
    ):
        whole = "With gradient_weight=0 there is a loss of each image." if gradient_weight else None
        super().__init__(reduction=reduction, name=name, whole=whole)
        self.alignment = _check.choice(alignment, "alignment", ALIGNMENTS)
        self.gradient_weight = _check.number(gradient_weight, "gradient_weight", 0)
        self.scales = _check.integer(scales, "scales", 1)

    def score(self, y_true, y_pred, weight):
        if self.alignment == "median":
            difference = align_by_median(y_pred, weight) - align_by_median(y_true, weight)
        else:
            scale, shift = fit_line(y_pred, y_true, weight)
            difference = scale * y_pred + shift - y_true
        each = safe_divide(image_sums(weight * ops.absolute(difference)), image_sums(weight))
        costs = image_costs(each, weight)
        if not self.gradient_weight:
            return costs
        slopes = gradient_matching(difference, weight, self.scales)
        mean = safe_divide(ops.sum(costs.total), ops.sum(costs.weight))
        return mean + self.gradient_weight * slopes

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "alignment": self.alignment,
            "gradient_weight": self.gradient_weight,
            "scales": self.scales,
        }

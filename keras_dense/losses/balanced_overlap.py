"""Scores of regions that rare classes and true negatives enter: generalized Dice, correlation."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.contract import (
    USE_PER_IMAGE,
    DenseLoss,
    Pixels,
    refuse_binary_class_weight,
)
from keras_dense.losses.overlap import region_loss, region_sums
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs
from keras_dense.ops.masked import safe_divide

_SMALL = 1e-8  # a variance below this is none: the slope of a root at 0 is infinite


@keras.saving.register_keras_serializable("keras_dense")
class GeneralizedDice(DenseLoss):
    """Generalized Dice loss: one Dice of all classes, each weighted by its area to the power -2.

    ```
    loss = 1 - 2 sum_c v_c sum(p_c t_c) / sum_c v_c (sum(p_c) + sum(t_c))
    v_c = class_weight_c / sum(t_c)²
    ```

    over valid pixels, with p the probabilities. Classes absent from the truth have no area and stay
    out (their false positives are misses of other classes). When binary, background and foreground
    are the two classes. With several labels, the mean probability given to absent labels is added,
    as in `Dice`. Sudre et al., DLMIA 2017 (arXiv 1707.03237), section 2.1.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class (background and foreground when binary), or `None`.
        per_image: bool; each image is scored by itself, or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> value = GeneralizedDice()(labels, np.zeros((1, 1, 4, 2)))
    >>> round(float(value), 4)  # 1 - 2 (1 / 4 + 1 / 2) / (3.5 / 4 + 2.5)
    0.5556
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "generalized_dice",
    ):
        per_image = _check.flag(per_image, "per_image")
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
            whole=None if per_image else USE_PER_IMAGE,
        )
        self.per_image = per_image

    def compute(self, pixels: Pixels) -> Costs:
        hits, predicted, truth, area = region_sums(pixels, self.per_image)
        if self.mode == "binary":
            others = (area - predicted - truth + hits, area - predicted, area - truth, area)
            both = zip(others, (hits, predicted, truth, area), strict=True)
            hits, predicted, truth, area = (ops.concatenate(pair, axis=-1) for pair in both)
        present = truth > 0.0
        # Areas as shares: squares of pixels would leave few digits.
        share = safe_divide(truth, ops.max(area, axis=-1, keepdims=True))
        weight = safe_divide(ops.cast(present, "float32"), ops.square(share))
        given = ops.ones_like(weight)
        if self.class_weight is not None:
            given = given * ops.convert_to_tensor(self.class_weight, dtype="float32")
        weight = weight * given
        overlap = ops.sum(weight * hits, axis=-1)
        whole = ops.sum(weight * (predicted + truth), axis=-1)
        seen = ops.cast(ops.any(area > 0.0, axis=-1), "float32")
        loss = ops.cast(whole > 0.0, "float32") * (1.0 - safe_divide(2.0 * overlap, whole))
        if self.mode == "multilabel":
            absent = given * ops.cast(ops.logical_and(area > 0.0, truth <= 0.0), "float32")
            false = ops.sum(absent * safe_divide(predicted, area), axis=-1)
            loss = loss + safe_divide(false, ops.sum(absent, axis=-1))
        return Costs(seen * loss, seen)

    def get_config(self) -> Config:
        return {**super().get_config(), "per_image": self.per_image}


def correlation(hits: Tensor, predicted: Tensor, truth: Tensor, area: Tensor) -> Tensor:
    """Matthews' correlation of soft regions, from sums over their pixels; see `region_sums`.

    Where the truth fills the area there is none, and the result is the mean probability.

    >>> sums = [ops.convert_to_tensor(x) for x in (2.0, 3.0, 2.0, 8.0)]
    >>> round(float(correlation(*sums)), 4)  # (2 * 5 - 1 * 0) / sqrt(3 * 2 * 5 * 6)
    0.7454
    """
    both, p, t = (safe_divide(x, area) for x in (hits, predicted, truth))
    spread = ops.maximum(p * (1.0 - p), _SMALL) * ops.maximum(t * (1.0 - t), _SMALL)
    return ops.where(truth < area, (both - p * t) / ops.sqrt(spread), p)


@keras.saving.register_keras_serializable("keras_dense")
class MatthewsCorrelation(DenseLoss):
    """One minus Matthews' correlation coefficient of probabilities and truth.

    ```
    loss = mean_c 1 - (TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))
    ```

    with TP = sum(p t), FP = sum(p (1 - t)), FN = sum((1 - p) t), TN = sum((1 - p) (1 - t)) over
    valid pixels. Unlike Dice it counts true negatives, so predicting a class everywhere gains
    nothing. From 0 to 2; chance is 1. The mean is over the classes in the truth, absent classes as
    in `Dice`; a class that fills the truth, which has no correlation, costs one minus its mean
    probability. Abhishek and Hamarneh, "Matthews Correlation Coefficient Loss for Deep
    Convolutional Networks: Application to Skin Lesion Segmentation", ISBI 2021, equation 4.

    Args:
        mode: `"multiclass"` (each class against all others), `"binary"` or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        per_image: bool; each image is scored by itself, or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> round(float(MatthewsCorrelation()(labels, np.zeros((1, 1, 4, 2)))), 4)  # chance
    1.0
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "matthews_correlation",
    ):
        per_image = _check.flag(per_image, "per_image")
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
            whole=None if per_image else USE_PER_IMAGE,
        )
        refuse_binary_class_weight(self, mode, self.class_weight)
        self.per_image = per_image

    def compute(self, pixels: Pixels) -> Costs:
        sums = region_sums(pixels, self.per_image)
        return region_loss(1.0 - correlation(*sums), sums, self.mode, self.class_weight)

    def get_config(self) -> Config:
        return {**super().get_config(), "per_image": self.per_image}

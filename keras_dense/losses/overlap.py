"""Soft overlap of regions (over probabilities): Dice, Jaccard and Tversky."""

from collections.abc import Sequence

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
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.replicas import sums_of_whole_batch

_NEARLY_RIGHT = 1e-6  # a power below 1 has no finite slope at 0


def region_sums(pixels: Pixels, per_image: bool = False) -> list[Tensor]:
    """Sums over the pixels of each class.

    Args:
        pixels: `contract.Pixels`.
        per_image: bool; each image is a group of its own, or the batch is one.

    Returns:
        `[hits, predicted, truth, area]`, each `(groups, C)`: the weighted sums of p t, p, t and 1.
    """
    if pixels.mode == "multiclass":
        p = ops.softmax(pixels.logits)
    else:
        p = ops.sigmoid(pixels.logits)
    weight = pixels.weight * ops.ones_like(p)
    axis = 1 if per_image else (0, 1)
    sums = [ops.sum(weight * v, axis=axis) for v in (p * pixels.truth, p, pixels.truth)]
    sums.append(ops.sum(weight, axis=axis))
    return sums if per_image else [sums_of_whole_batch(s)[None] for s in sums]


def region_loss(
    cost: Tensor,
    sums: Sequence[Tensor],
    mode: str,
    class_weight: Sequence[float] | None = None,
) -> Costs:
    """Mean of the cost of the classes in the truth.

    A class absent from the truth has no overlap to score and stays out of that mean. With
    "multiclass", its false positives are misses of other classes. Otherwise nothing else would
    cost them, so the mean probability given to absent labels is added: then a false positive in an
    empty mask has a cost, with a gradient that does not vanish.

    Args:
        cost: `(groups, C)`, 0 where prediction and truth agree.
        sums: the result of `region_sums`.
        mode: see `contract.Pixels`.
        class_weight: one number per class, or `None`.

    Returns:
        `Costs` of the groups that have a valid pixel.
    """
    _, predicted, truth, area = sums
    weight = ops.ones_like(area)
    if class_weight is not None:
        weight = weight * ops.convert_to_tensor(class_weight, dtype="float32")
    present = weight * ops.cast(truth > 0.0, "float32")
    loss = safe_divide(ops.sum(present * cost, axis=-1), ops.sum(present, axis=-1))
    if mode != "multiclass":
        absent = (weight - present) * ops.cast(area > 0.0, "float32")
        false = absent * safe_divide(predicted, area)
        loss = loss + safe_divide(ops.sum(false, axis=-1), ops.sum(absent, axis=-1))
    seen = ops.cast(ops.any(area > 0.0, axis=-1), "float32")
    return Costs(seen * loss, seen)


def dice_index(hits: Tensor, predicted: Tensor, truth: Tensor, smooth: float = 0.0) -> Tensor:
    """`(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)`."""
    return safe_divide(2.0 * hits + smooth, predicted + truth + smooth)


def jaccard_index(hits: Tensor, predicted: Tensor, truth: Tensor, smooth: float = 0.0) -> Tensor:
    """`(sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth)`."""
    return safe_divide(hits + smooth, predicted + truth - hits + smooth)


def tversky_index(
    hits: Tensor,
    predicted: Tensor,
    truth: Tensor,
    alpha: float,
    beta: float,
    smooth: float = 0.0,
) -> Tensor:
    """`(TP + smooth) / (TP + alpha FP + beta FN + smooth)`."""
    false_positives, misses = predicted - hits, truth - hits
    return safe_divide(hits + smooth, hits + alpha * false_positives + beta * misses + smooth)


class _Overlap(DenseLoss):
    """Base of the three: their common arguments, and the mean over classes."""

    def __init__(self, mode, *, smooth, per_image, **common):
        per_image = _check.flag(per_image, "per_image")
        super().__init__(mode, **common, whole=None if per_image else USE_PER_IMAGE)
        refuse_binary_class_weight(self, mode, self.class_weight)
        self.smooth = _check.number(smooth, "smooth", 0)
        self.per_image = per_image

    def compute(self, pixels: Pixels) -> Costs:
        sums = region_sums(pixels, self.per_image)
        hits, predicted, truth, _ = sums
        cost = self.cost(self.index(hits, predicted, truth))
        return region_loss(cost, sums, self.mode, self.class_weight)

    def cost(self, index: Tensor) -> Tensor:
        """The loss of a class, 0 where its index is 1."""
        return 1.0 - index

    def get_config(self) -> Config:
        return {**super().get_config(), "smooth": self.smooth, "per_image": self.per_image}


@keras.saving.register_keras_serializable("keras_dense")
class Dice(_Overlap):
    """Soft Dice loss.

    ```
    loss = mean_c 1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)
    ```

    over valid pixels, with p the probabilities; the mean is over the classes in the truth
    (`class_weight` weights it). Classes absent from the truth are in no mean; with `"binary"` and
    `"multilabel"` the mean probability given to absent labels is added, so that false positives in
    an empty mask cost something. Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, section 3.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        smooth: float >= 0, pixels added to numerator and denominator; more than 0 softens the loss
            of small regions.
        per_image: bool; each image is scored by itself (and the mean is over those with a valid
            pixel), or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> round(float(Dice()(labels, np.zeros((1, 1, 4, 2)))), 4)  # 1 - (4/7 + 2/5) / 2
    0.5143
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        smooth: float = 0.0,
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "dice",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            smooth=smooth,
            per_image=per_image,
            reduction=reduction,
            name=name,
        )

    def index(self, hits: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        return dice_index(hits, predicted, truth, self.smooth)


@keras.saving.register_keras_serializable("keras_dense")
class Jaccard(_Overlap):
    """Soft Jaccard (intersection over union) loss.

    ```
    loss = mean_c 1 - (sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth)
    ```

    Classes, absent classes and arguments as in `Dice`. Rahman and Wang, "Optimizing
    Intersection-Over-Union in Deep Neural Networks for Image Segmentation", ISVC 2016.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        smooth: float >= 0, pixels added to numerator and denominator.
        per_image: bool; each image is scored by itself, or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> round(float(Jaccard()(labels, np.zeros((1, 1, 4, 2)))), 4)  # 1 - (1/2.5 + .5/2) / 2
    0.675
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        smooth: float = 0.0,
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "jaccard",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            smooth=smooth,
            per_image=per_image,
            reduction=reduction,
            name=name,
        )

    def index(self, hits: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        return jaccard_index(hits, predicted, truth, self.smooth)


@keras.saving.register_keras_serializable("keras_dense")
class Tversky(_Overlap):
    """Soft Tversky loss: false positives and misses have separate weights.

    ```
    loss = mean_c (1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth))^exponent
    ```

    with TP = sum(p t), FP = sum(p (1 - t)), FN = sum((1 - p) t). alpha = beta = 1/2 is Dice,
    alpha = beta = 1 Jaccard. Classes, absent classes and the other arguments as in `Dice`. Salehi,
    Erdogmus and Gholipour, "Tversky loss function for image segmentation using 3D fully
    convolutional deep networks", MLMI 2017. An exponent of 3/4 is the focal Tversky loss (its
    gamma is the reciprocal, 4/3): it keeps on with classes that are nearly right. Abraham and Khan,
    "A Novel Focal Tversky Loss Function with Improved Attention U-Net for Lesion Segmentation",
    ISBI 2019, equation 4.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        alpha: float >= 0, weight of false positives.
        beta: float >= 0, weight of misses.
        exponent: float > 0; below 1, classes that are nearly right count more, above 1 less.
        smooth: float >= 0, pixels added to numerator and denominator.
        per_image: bool; each image is scored by itself, or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> loss = Tversky(alpha=0.5, beta=0.5)
    >>> round(float(loss(labels, np.zeros((1, 1, 4, 2)))), 4)  # as Dice
    0.5143
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        alpha: float = 0.3,
        beta: float = 0.7,
        exponent: float = 1.0,
        smooth: float = 0.0,
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "tversky",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            smooth=smooth,
            per_image=per_image,
            reduction=reduction,
            name=name,
        )
        self.alpha = _check.number(alpha, "alpha", 0)
        self.beta = _check.number(beta, "beta", 0)
        self.exponent = _check.number(exponent, "exponent", above=0)

    def index(self, hits: Tensor, predicted: Tensor, truth: Tensor) -> Tensor:
        return tversky_index(hits, predicted, truth, self.alpha, self.beta, self.smooth)

    def cost(self, index: Tensor) -> Tensor:
        missing = 1.0 - index
        if self.exponent == 1.0:
            return missing
        return missing * ops.power(ops.maximum(missing, _NEARLY_RIGHT), self.exponent - 1.0)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "exponent": self.exponent,
        }

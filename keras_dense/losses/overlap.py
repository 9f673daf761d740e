"""Overlap of regions: Dice, Jaccard and Tversky, soft (over probabilities)."""

import keras
from keras import ops

from keras_dense.losses.contract import DenseLoss, check_flag, check_number
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, safe_divide

_WHOLE = "Use per_image=True: then there is a loss of each image."


def region_sums(pixels, per_image=False):
    """Sum a batch into regions.

    Args:
        pixels: `contract.Pixels`.
        per_image: Whether each image is a group of its own; otherwise the batch is one.

    Returns:
        `(hits, predicted, truth, area)`, each `(groups, C)`: the weighted sums of p t, p, t and 1.
    """
    if pixels.mode == "multiclass":
        p = ops.softmax(pixels.logits)
    else:
        p = ops.sigmoid(pixels.logits)
    weight = pixels.weight * ops.ones_like(p)
    axis = 1 if per_image else (0, 1)
    sums = [ops.sum(weight * v, axis=axis) for v in (p * pixels.truth, p, pixels.truth)]
    sums.append(ops.sum(weight, axis=axis))
    return sums if per_image else [s[None] for s in sums]


def region_loss(index, sums, mode, class_weight=None):
    """Mean over classes of `1 - index`, for the classes that the truth has.

    A class absent from the truth has no overlap to score and stays out of that mean. Multi-class,
    its false positives already are somebody else's misses. Otherwise nothing else would punish
    them, so the mean probability given to absent labels is added: an empty mask costs what is
    painted on it, with a gradient that does not vanish.

    Args:
        index: `(groups, C)`, 1 where prediction and truth agree.
        sums: What `region_sums` returned.
        mode: As in `contract.Pixels`.
        class_weight: One number per class, or `None`.

    Returns:
        `Costs` of the groups that have a valid pixel.
    """
    _, predicted, truth, area = sums
    weight = ops.ones_like(area)
    if class_weight is not None:
        weight = weight * ops.convert_to_tensor(class_weight, dtype="float32")
    present = weight * ops.cast(truth > 0.0, "float32")
    loss = safe_divide(ops.sum(present * (1.0 - index), axis=-1), ops.sum(present, axis=-1))
    if mode != "multiclass":
        absent = (weight - present) * ops.cast(area > 0.0, "float32")
        false = absent * safe_divide(predicted, area)
        loss = loss + safe_divide(ops.sum(false, axis=-1), ops.sum(absent, axis=-1))
    seen = ops.cast(ops.any(area > 0.0, axis=-1), "float32")
    return Costs(seen * loss, seen)


def dice_index(hits, predicted, truth, smooth=0.0):
    """`(2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)`."""
    return safe_divide(2.0 * hits + smooth, predicted + truth + smooth)


def jaccard_index(hits, predicted, truth, smooth=0.0):
    """`(sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth)`."""
    return safe_divide(hits + smooth, predicted + truth - hits + smooth)


def tversky_index(hits, predicted, truth, alpha, beta, smooth=0.0):
    """`(TP + smooth) / (TP + alpha FP + beta FN + smooth)`."""
    false_positives, misses = predicted - hits, truth - hits
    return safe_divide(hits + smooth, hits + alpha * false_positives + beta * misses + smooth)


class _Overlap(DenseLoss):
    """What the three share: knobs, and the mean over classes."""

    def __init__(self, mode, ignore_class, class_weight, smooth, per_image, name, reduction):
        per_image = check_flag("per_image", per_image)
        whole = None if per_image else _WHOLE
        super().__init__(mode, ignore_class, class_weight, name, reduction, whole)
        if mode == "binary" and class_weight is not None:
            raise ValueError(
                f"class_weight has no effect on {type(self).__name__} with mode='binary', "
                "where only the foreground is scored"
            )
        self.smooth = check_number("smooth", smooth, 0.0)
        self.per_image = per_image

    def compute(self, pixels):
        sums = region_sums(pixels, self.per_image)
        hits, predicted, truth, _ = sums
        index = self.index(hits, predicted, truth)
        return region_loss(index, sums, self.mode, self.class_weight)

    def get_config(self):
        return {**super().get_config(), "smooth": self.smooth, "per_image": self.per_image}


@keras.saving.register_keras_serializable("keras_dense")
class Dice(_Overlap):
    """Soft Dice loss.

    ```
    loss = mean_c 1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)
    ```

    over valid pixels, with p the probabilities; the mean is over the classes that the truth has
    (`class_weight` weights it). Classes absent from the truth are in no mean; with `"binary"` and
    `"multilabel"` the mean probability given to absent labels is added, so that an empty mask
    punishes what is painted on it. Milletari, Navab and Ahmadi, "V-Net", 3DV 2016, section 3.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class, or `None`; not when binary.
        smooth: Pixels added to numerator and denominator; 0 is the formula itself, more softens
            the loss of small regions.
        per_image: Whether each image is scored by itself (the mean of those with a valid pixel),
            or the batch as one.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the mean; so are `"mean"` and
            `"mean_with_sample_weight"`); with `per_image=True`, also `"sum"` over images, and
            `"none"`: the loss of each image, `(B,)`.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> round(float(Dice()(labels, np.zeros((1, 1, 4, 2)))), 4)  # 1 - (4/7 + 2/5) / 2
    0.5143
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        smooth=0.0,
        per_image=False,
        name="dice",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(mode, ignore_class, class_weight, smooth, per_image, name, reduction)

    def index(self, hits, predicted, truth):
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
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class, or `None`; not when binary.
        smooth: Pixels added to numerator and denominator.
        per_image: Whether each image is scored by itself, or the batch as one.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the mean; so are `"mean"` and
            `"mean_with_sample_weight"`); with `per_image=True`, also `"sum"` over images, and
            `"none"`: the loss of each image, `(B,)`.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> round(float(Jaccard()(labels, np.zeros((1, 1, 4, 2)))), 4)  # 1 - (1/2.5 + .5/2) / 2
    0.675
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        smooth=0.0,
        per_image=False,
        name="jaccard",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(mode, ignore_class, class_weight, smooth, per_image, name, reduction)

    def index(self, hits, predicted, truth):
        return jaccard_index(hits, predicted, truth, self.smooth)


@keras.saving.register_keras_serializable("keras_dense")
class Tversky(_Overlap):
    """Soft Tversky loss: false positives and misses have prices of their own.

    ```
    loss = mean_c 1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth)
    ```

    with TP = sum(p t), FP = sum(p (1 - t)), FN = sum((1 - p) t). alpha = beta = 1/2 is Dice,
    alpha = beta = 1 Jaccard. Classes, absent classes and the other arguments as in `Dice`. Salehi,
    Erdogmus and Gholipour, "Tversky loss function for image segmentation using 3D fully
    convolutional deep networks", MLMI 2017.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class, or `None`; not when binary.
        alpha: Price of a false positive.
        beta: Price of a miss.
        smooth: Pixels added to numerator and denominator.
        per_image: Whether each image is scored by itself, or the batch as one.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the mean; so are `"mean"` and
            `"mean_with_sample_weight"`); with `per_image=True`, also `"sum"` over images, and
            `"none"`: the loss of each image, `(B,)`.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 0, 1, 255]]])
    >>> loss = Tversky(alpha=0.5, beta=0.5)
    >>> round(float(loss(labels, np.zeros((1, 1, 4, 2)))), 4)  # as Dice
    0.5143
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        alpha=0.3,
        beta=0.7,
        smooth=0.0,
        per_image=False,
        name="tversky",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(mode, ignore_class, class_weight, smooth, per_image, name, reduction)
        self.alpha = check_number("alpha", alpha, 0.0)
        self.beta = check_number("beta", beta, 0.0)

    def index(self, hits, predicted, truth):
        return tversky_index(hits, predicted, truth, self.alpha, self.beta, self.smooth)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "beta": self.beta}

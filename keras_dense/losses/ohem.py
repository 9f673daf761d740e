"""Cross-entropy over the hardest pixels: online hard example mining, and bootstrapping."""

import math

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.contract import (
    DenseLoss,
    Outcomes,
    Pixels,
    expected_log,
    read_outcomes,
)
from keras_dense.losses.cross_entropy import cross_entropy
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs


def hardest(difficulty: Tensor, valid: Tensor, number: Tensor) -> Tensor:
    """The difficulty of the `number`-th hardest valid pixel; of the easiest if there are fewer.

    Args:
        difficulty: `(M,)`.
        valid: `(M,)`, bool.
        number: int or integer scalar, at least 1.

    Returns:
        Scalar.
    """
    # Void pixels sort behind everything, and the last valid place bounds the number.
    ranked = ops.sort(ops.where(valid, -difficulty, float("inf")))
    number = ops.minimum(number, ops.sum(ops.cast(valid, "int32")))
    return -ops.take(ranked, ops.maximum(number - 1, 0))


def keep_hard(
    outcomes: Outcomes, threshold: float, min_pixels: int, ratio: float | None = None
) -> Outcomes:
    """Give weight 0 to all but the hardest pixels of the batch.

    Args:
        outcomes: `contract.Outcomes`.
        threshold: float from 0 to 1; pixels whose true class is less probable are kept.
        min_pixels: int >= 0, how many pixels per image are kept at least.
        ratio: float, the share of the valid pixels that is kept, instead of both; or `None`.

    Returns:
        `contract.Outcomes`.
    """
    truth = outcomes.truth
    difficulty = ops.reshape(-expected_log(truth, outcomes.log_p), (-1,))
    difficulty = ops.stop_gradient(difficulty)
    valid = ops.reshape(outcomes.weight > 0.0, (-1,))
    if ratio is None:
        images = ops.cast(ops.shape(truth)[0], "int32")
        limit = -math.log(threshold) if threshold > 0.0 else math.inf
        if min_pixels:
            limit = ops.minimum(limit, hardest(difficulty, valid, images * min_pixels))
        kept = difficulty >= limit
    else:
        share = ratio * ops.cast(ops.sum(ops.cast(valid, "int32")), "float32")
        number = ops.maximum(ops.cast(ops.ceil(share), "int32"), 1)
        kept = difficulty >= hardest(difficulty, valid, number)
    kept = ops.reshape(kept, ops.shape(outcomes.weight))
    return outcomes._replace(weight=outcomes.weight * ops.cast(kept, "float32"))


@keras.saving.register_keras_serializable("keras_dense")
class OhemCrossEntropy(DenseLoss):
    """Cross-entropy averaged over the hardest valid pixels of the batch.

    With `threshold` and `min_pixels` (online hard example mining): the pixels whose true class has
    a probability below `threshold`, and at least the `min_pixels * images` hardest. Wu, Shen and
    van den Hengel, "High-performance semantic segmentation using very deep fully convolutional
    networks", 2016 (their next paper, "Wider or deeper", uses `threshold=0.6, min_pixels=256`).
    With `ratio` (bootstrapping): this share of the valid pixels, the hardest first. Pixels as hard
    as the last one kept are kept too. On several devices or processes, the hardest are those of
    each part of the batch; `threshold` alone (`min_pixels=0`) keeps the same ones everywhere.
    Difficulty is the unweighted cross-entropy; the mean over the kept pixels is weighted as in
    `CrossEntropy`.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"` (then every label of a pixel counts).
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class (background and foreground when binary), or `None`.
        threshold: float from 0 to 1, probability of the true class below which a pixel is hard.
        min_pixels: int >= 0, how many pixels per image are kept at least.
        ratio: float > 0 and <= 1, share of the valid pixels that is kept, instead of `threshold`
            and `min_pixels`; or `None`.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`, 0 where it is not kept.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> logits = np.array([[[[4.0, 0.0], [3.0, 0.0], [0.0, 0.0], [-9.0, 0.0]]]])
    >>> labels = np.array([[[0, 0, 0, 255]]])
    >>> round(float(OhemCrossEntropy(ratio=0.3)(labels, logits)), 4)  # the third pixel: log(2)
    0.6931
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        threshold: float = 0.7,
        min_pixels: int = 256,
        ratio: float | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "ohem_cross_entropy",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
        )
        self.threshold = _check.number(threshold, "threshold", 0, 1)
        self.min_pixels = _check.integer(min_pixels, "min_pixels", 0)
        self.ratio = ratio
        if ratio is not None:
            self.ratio = _check.number(ratio, "ratio", high=1, above=0)

    def compute(self, pixels: Pixels) -> Costs:
        outcomes = read_outcomes(pixels, self.class_weight)
        return cross_entropy(keep_hard(outcomes, self.threshold, self.min_pixels, self.ratio))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "min_pixels": self.min_pixels,
            "ratio": self.ratio,
        }

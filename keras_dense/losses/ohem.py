"""Cross-entropy over the hardest pixels: online hard example mining, and bootstrapping."""

import math

import keras
from keras import ops

from keras_dense import _check
from keras_dense.losses.contract import DenseLoss, check_number, expected_log, read_outcomes
from keras_dense.losses.cross_entropy import cross_entropy
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE


def hardest(difficulty, valid, number):
    """The difficulty of the `number`-th hardest valid pixel; of the easiest if there are fewer.

    Args:
        difficulty: `(M,)`.
        valid: `(M,)`, bool.
        number: Integer scalar, at least 1.

    Returns:
        Scalar.
    """
    # Void pixels sort behind everything, and the last valid place bounds the number.
    ranked = ops.sort(ops.where(valid, -difficulty, float("inf")))
    number = ops.minimum(number, ops.sum(ops.cast(valid, "int32")))
    return -ops.take(ranked, ops.maximum(number - 1, 0))


def keep_hard(outcomes, thresh=None, min_kept=None, ratio=None):
    """Give weight 0 to all but the hardest pixels of the batch.

    Args:
        outcomes: `contract.Outcomes`.
        thresh: Pixels whose true class has less than this probability are kept ...
        min_kept: ... and so many per image at least.
        ratio: Instead of both, the share of the valid pixels that is kept.

    Returns:
        `contract.Outcomes`.
    """
    truth = outcomes.truth
    difficulty = ops.reshape(-expected_log(truth, outcomes.log_p), (-1,))
    difficulty = ops.stop_gradient(difficulty)
    valid = ops.reshape(outcomes.weight > 0.0, (-1,))
    if ratio is None:
        images = ops.cast(ops.shape(truth)[0], "int32")
        limit = -math.log(thresh) if thresh > 0.0 else math.inf
        if min_kept:
            limit = ops.minimum(limit, hardest(difficulty, valid, images * min_kept))
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

    With `thresh` and `min_kept` (online hard example mining): the pixels whose true class has a
    probability below `thresh`, and at least the `min_kept * images` hardest. Wu, Shen and van den
    Hengel, "High-performance semantic segmentation using very deep fully convolutional networks",
    2016 (their next paper, "Wider or deeper", uses `thresh=0.6, min_kept=256`). With `ratio`
    (bootstrapping): that share of the valid pixels, the hardest first. Pixels as hard as the last
    one kept are kept too. Difficulty is the unweighted cross-entropy; the mean over the kept pixels
    is weighted as in `CrossEntropy`.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"` (then every label of a pixel counts).
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class (background and foreground when binary), or `None`.
        thresh: Probability of the true class below which a pixel is hard, in `[0, 1]`.
        min_kept: Pixels kept per image at least.
        ratio: Share of the valid pixels kept, in `(0, 1]`, instead of `thresh` and `min_kept`.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`, 0 where it is not kept.

    Example:

    >>> import numpy as np
    >>> logits = np.array([[[[4.0, 0.0], [3.0, 0.0], [0.0, 0.0], [-9.0, 0.0]]]])
    >>> labels = np.array([[[0, 0, 0, 255]]])
    >>> round(float(OhemCrossEntropy(ratio=0.3)(labels, logits)), 4)  # the third pixel: log(2)
    0.6931
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        thresh=0.7,
        min_kept=256,
        ratio=None,
        name="ohem_cross_entropy",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(mode, ignore_class, class_weight, name, reduction)
        self.thresh = check_number("thresh", thresh, 0.0, 1.0)
        self.min_kept = _check.integer(min_kept, "min_kept", 0)
        self.ratio = None if ratio is None else check_number("ratio", ratio, 0.0, 1.0)
        if self.ratio == 0.0:
            raise ValueError("ratio must be more than 0: it is the share of the pixels kept")

    def compute(self, pixels):
        outcomes = read_outcomes(pixels, self.class_weight)
        return cross_entropy(keep_hard(outcomes, self.thresh, self.min_kept, self.ratio))

    def get_config(self):
        return {
            **super().get_config(),
            "thresh": self.thresh,
            "min_kept": self.min_kept,
            "ratio": self.ratio,
        }

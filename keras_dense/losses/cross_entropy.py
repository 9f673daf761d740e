"""Cross-entropy over valid pixels."""

import keras
from keras import ops

from keras_dense.losses.contract import DenseLoss, check_number, expected_log, read_outcomes
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs


def cross_entropy(outcomes, label_smoothing=0.0):
    """`-sum_k cost_k t_k log p_k` of each pixel, and `sum_k cost_k t_k` for the divisor.

    Args:
        outcomes: `contract.Outcomes`.
        label_smoothing: Share of the target spread evenly over the outcomes, in `[0, 1]`.

    Returns:
        `Costs` `(B, M)`.
    """
    weight, cost, truth = outcomes.weight, outcomes.cost, outcomes.truth
    smooth = truth * (1.0 - label_smoothing) + label_smoothing / cost.shape[0]
    loss = -expected_log(cost * smooth, outcomes.log_p)
    return Costs(weight * loss, weight * ops.sum(cost * truth, axis=-1))


@keras.saving.register_keras_serializable("keras_dense")
class CrossEntropy(DenseLoss):
    """Cross-entropy, averaged over valid pixels.

    ```
    loss = sum_n w[n] * l[n] / sum_n w[n] * class_weight[y[n]]
    l[n] = -sum_c class_weight[c] * t[n, c] * log(softmax(logits[n])[c])
    ```

    with `w` the sample weight (0 where void) and `t` the (smoothed) target: the value of PyTorch's
    `CrossEntropyLoss(weight=, ignore_index=, label_smoothing=)`. So class weights only matter
    relative to each other. When binary, softmax is over (0, logit), which is the sigmoid, and
    `class_weight` is (background, foreground); with several labels each label is a binary question
    and `class_weight[c]` multiplies both answers to question c.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class, or `None`.
        label_smoothing: Share of the target spread evenly over all classes, in `[0, 1]`.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`; with several labels of each label, `(B, H, W, C)`.

    Example:

    >>> import numpy as np
    >>> logits = np.zeros((1, 2, 2, 4), "float32")
    >>> labels = np.array([[[0, 3], [2, 255]]])
    >>> round(float(CrossEntropy()(labels, logits)), 4)  # log(4)
    1.3863
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        label_smoothing=0.0,
        name="cross_entropy",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(mode, ignore_class, class_weight, name, reduction)
        self.label_smoothing = check_number("label_smoothing", label_smoothing, 0.0, 1.0)

    def compute(self, pixels):
        return cross_entropy(read_outcomes(pixels, self.class_weight), self.label_smoothing)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

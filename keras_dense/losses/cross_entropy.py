"""Cross-entropy over valid pixels."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config
from keras_dense.losses.contract import (
    DenseLoss,
    Outcomes,
    Pixels,
    expected_log,
    read_outcomes,
)
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs


def cross_entropy(outcomes: Outcomes, label_smoothing: float = 0.0) -> Costs:
    """`-sum_k cost_k t_k log p_k` of each pixel, and `sum_k cost_k t_k` for the divisor.

    Args:
        outcomes: `contract.Outcomes`.
        label_smoothing: float from 0 to 1, share of the target spread evenly over the outcomes.

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
    `CrossEntropyLoss(weight=, ignore_index=, label_smoothing=)`. So only the ratios of class
    weights matter. When binary, softmax is over (0, logit), which is the sigmoid, and
    `class_weight` is (background, foreground); with several labels each label is a binary question
    and `class_weight[c]` multiplies both answers to question c.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`.
        label_smoothing: float from 0 to 1, share of the target spread evenly over all classes.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`; with several labels of each label, `(B, H, W, C)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> logits = np.zeros((1, 2, 2, 4), "float32")
    >>> labels = np.array([[[0, 3], [2, 255]]])
    >>> round(float(CrossEntropy()(labels, logits)), 4)  # log(4)
    1.3863
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "cross_entropy",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
        )
        self.label_smoothing = _check.number(label_smoothing, "label_smoothing", 0, 1)

    def compute(self, pixels: Pixels) -> Costs:
        return cross_entropy(read_outcomes(pixels, self.class_weight), self.label_smoothing)

    def get_config(self) -> Config:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}

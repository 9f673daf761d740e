"""Focal loss: cross-entropy with less weight on easy pixels."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config
from keras_dense.losses.contract import DenseLoss, Outcomes, Pixels, read_outcomes
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs

_HARDLY_WRONG = 1e-7  # a power below 1 has no finite slope at 0; about the precision of float32


def focal(outcomes: Outcomes, gamma: float) -> Costs:
    """`-sum_k cost_k t_k (1 - p_k)^gamma log p_k` of each pixel; the divisor of cross-entropy.

    Args:
        outcomes: `contract.Outcomes`.
        gamma: float >= 0, how much easy pixels are discounted; 0 is cross-entropy.

    Returns:
        `Costs` `(B, M)`.
    """
    weight, target = outcomes.weight, outcomes.cost * outcomes.truth
    # Classes other than the target cost nothing, even if their logarithm is infinite.
    log_p = ops.where(target > 0.0, outcomes.log_p, 0.0)
    loss = -target * log_p
    if gamma:
        wrong = ops.maximum(1.0 - ops.exp(log_p), _HARDLY_WRONG)
        loss = loss * ops.power(wrong, gamma)
    return Costs(weight * ops.sum(loss, axis=-1), weight * ops.sum(target, axis=-1))


@keras.saving.register_keras_serializable("keras_dense")
class Focal(DenseLoss):
    """Focal loss over the softmax (over the sigmoid unless multi-class).

    ```
    loss = sum_n w[n] * l[n] / sum_n w[n] * class_weight[y[n]]
    l[n] = -sum_c class_weight[c] * t[n, c] * (1 - p[n, c])^gamma * log(p[n, c])
    ```

    with `w` the sample weight, 0 where void. `gamma=0` is `CrossEntropy`, in every mode and with
    every weight; `class_weight` is the paper's alpha (0.25 is `(0.75, 0.25)` when binary). Lin,
    Goyal, Girshick, He and Dollár, "Focal loss for dense object detection", ICCV 2017, equation 5;
    here the softmax form, and the mean over valid pixels instead of over positives.

    Args:
        mode: `"multiclass"`, `"binary"` or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class (background and foreground when binary), or `None`.
        gamma: float >= 0, how much easy pixels are discounted.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`; with several labels of each label, `(B, H, W, C)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 1, 1, 255]]])
    >>> round(float(Focal(gamma=2.0)(labels, np.zeros((1, 1, 4, 2)))), 4)  # log(2) / 4
    0.1733
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        gamma: float = 2.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "focal",
    ):
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
        )
        self.gamma = _check.number(gamma, "gamma", 0)

    def compute(self, pixels: Pixels) -> Costs:
        return focal(read_outcomes(pixels, self.class_weight), self.gamma)

    def get_config(self) -> Config:
        return {**super().get_config(), "gamma": self.gamma}

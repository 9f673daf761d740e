"""Focal loss: cross-entropy that looks away from easy pixels."""

import keras
from keras import ops

from keras_dense.losses.contract import DenseLoss, check_number, read_outcomes
from keras_dense.losses.weighted import safe_divide

_HARDLY_WRONG = 1e-7  # a power below 1 has no finite slope at 0; float32 sees no less anyway


def focal(outcomes, gamma):
    """Weighted mean of `-sum_k cost_k t_k (1 - p_k)^gamma log p_k`; normalised as cross-entropy.

    Args:
        outcomes: `contract.Outcomes`.
        gamma: How much easy pixels are discounted; 0 is cross-entropy.

    Returns:
        Scalar.
    """
    weight, target = outcomes.weight, outcomes.cost * outcomes.truth
    loss = -target * outcomes.log_p
    if gamma:
        wrong = ops.maximum(1.0 - ops.exp(outcomes.log_p), _HARDLY_WRONG)
        loss = loss * ops.power(wrong, gamma)
    total = ops.sum(weight * ops.sum(loss, axis=-1))
    return safe_divide(total, ops.sum(weight * ops.sum(target, axis=-1)))


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
        ignore_class: Label of void pixels, or `None`.
        class_weight: One number per class (background and foreground when binary), or `None`.
        gamma: How much easy pixels are discounted, at least 0.
        name: Name of the loss.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[[0, 1, 1, 255]]])
    >>> round(float(Focal(gamma=2.0)(labels, np.zeros((1, 1, 4, 2)))), 4)  # log(2) / 4
    0.1733
    """

    def __init__(
        self,
        mode="multiclass",
        ignore_class=255,
        class_weight=None,
        gamma=2.0,
        name="focal",
    ):
        super().__init__(mode, ignore_class, class_weight, name)
        self.gamma = check_number("gamma", gamma, 0.0)

    def compute(self, pixels):
        return focal(read_outcomes(pixels, self.class_weight), self.gamma)

    def get_config(self):
        return {**super().get_config(), "gamma": self.gamma}

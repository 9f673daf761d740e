"""The loss of the maps from which numbered objects are decoded."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, MapLoss, pixel_costs
from keras_dense.ops.targets import known_colors


def soft_cross_entropy(truth: Tensor, logits: Tensor) -> Tensor:
    """`-t log p - (1 - t) log(1 - p)`, p the sigmoid of the logits, t from 0 to 1."""
    return ops.softplus(logits) - truth * logits


@keras.saving.register_keras_serializable("keras_dense")
class InstanceCrossEntropy(MapLoss):
    """Cross-entropy of the maps of objects: foreground, and relative distance to the border.

    ```
    loss = mean  ce(foreground) + distance_weight * ce(distance)
    ce(t, y) = -t log p - (1 - t) log(1 - p),  p = sigmoid(y)
    ```

    over known pixels. The distance is a number from 0 to 1, at which the second term is smallest
    for p = t (Schmidt, Weigert, Broaddus and Myers, "Cell Detection with Star-convex Polygons",
    MICCAI 2018, section 2.1, train their distances so).

    Call arguments:
        y_true: `(B, H, W, 2)`, as `kd.heads.Instances` encodes them; NaN is unknown.
        y_pred: logits `(B, H, W, 2)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Args:
        distance_weight: float >= 0, weight of the second term.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: for a negative weight; when called, for maps of another size or with other
            channels.

    Example:

    >>> import numpy as np
    >>> truth = np.array([[[[1.0, 0.5], [0, 0], [np.nan, np.nan]]]])  # the last is unknown
    >>> round(float(InstanceCrossEntropy()(truth, np.zeros((1, 1, 3, 2)))), 4)  # 2 log(2)
    1.3863
    """

    channels = 2

    def __init__(
        self,
        distance_weight: float = 1.0,
        *,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "instance_cross_entropy",
    ):
        super().__init__(reduction=reduction, name=name)
        self.distance_weight = _check.number(distance_weight, "distance_weight", 0)

    def known(self, y_true: Tensor) -> Tensor:
        return known_colors(y_true)

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs:
        if y_pred.shape[-1] != 2:
            raise ValueError(
                "`y_pred` must have 2 channels, foreground and distance. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        cost = soft_cross_entropy(y_true, ops.cast(y_pred, "float32"))
        return pixel_costs(cost[..., :1] + self.distance_weight * cost[..., 1:], weight)

    def get_config(self) -> Config:
        return {**super().get_config(), "distance_weight": self.distance_weight}

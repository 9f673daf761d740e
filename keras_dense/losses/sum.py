"""A weighted sum of losses."""

import keras

from keras_dense.losses.contract import check_number
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE

_KINDS = {None: "none", "none": "none", "sum": "sum"}  # all others are means


@keras.saving.register_keras_serializable("keras_dense")
class Sum(keras.losses.Loss):
    """Weighted sum of losses over the same target and prediction.

    ```
    loss = sum_i weights[i] * losses[i](y_true, y_pred, sample_weight)
    ```

    Args:
        losses: Losses, or what `keras.losses.get` understands.
        weights: One number per loss; 1 each by default.
        name: Name of the loss.
        reduction: As in Keras, and that of all `losses`, which reduce themselves: means by default;
            with `"sum"` or `"none"` give it to each of them, too.

    Raises:
        ValueError: For losses of another reduction; when called, if `reduction="none"` and the
            losses are of another shape each.

    Example:

    >>> import numpy as np
    >>> from keras_dense.losses import CrossEntropy, Dice
    >>> labels, logits = np.array([[[0, 0, 1, 255]]]), np.zeros((1, 1, 4, 2))
    >>> loss = Sum([CrossEntropy(), Dice()], weights=[1.0, 0.5])
    >>> round(float(loss(labels, logits)), 4)  # 0.6931 + 0.5143 / 2
    0.9503
    """

    def __init__(self, losses, weights=None, name="sum", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if isinstance(losses, (str, dict)) or not hasattr(losses, "__len__") or not len(losses):
            raise ValueError(f"losses must be a list of at least one loss; received: {losses!r}")
        self.losses = [keras.losses.get(loss) for loss in losses]
        for loss in self.losses:
            if not isinstance(loss, keras.losses.Loss):
                raise TypeError(f"losses must be keras.losses.Loss instances; received: {loss!r}")
            if _KINDS.get(loss.reduction) != _KINDS.get(reduction):
                raise ValueError(
                    f"All losses of a sum must be reduced as the sum is. Received: "
                    f"reduction={reduction!r}, and reduction={loss.reduction!r} of {loss.name}"
                )
        weights = [1.0] * len(self.losses) if weights is None else list(weights)
        if len(weights) != len(self.losses):
            raise ValueError(
                f"weights must have one number per loss; received {len(weights)} weights "
                f"for {len(self.losses)} losses"
            )
        self.weights = [check_number("weights", w, -float("inf")) for w in weights]

    def __call__(self, y_true, y_pred, sample_weight=None):
        values = [loss(y_true, y_pred, sample_weight=sample_weight) for loss in self.losses]
        shapes = {tuple(value.shape) for value in values}
        if len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                "With reduction='none' all losses of a sum must be of pixels, or all of images. "
                f"Received: losses of the shapes {sorted(shapes, key=len)}"
            )
        return sum(w * value for w, value in zip(self.weights, values, strict=True))

    def get_config(self):
        return {
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses],
            "weights": list(self.weights),
            "name": self.name,
            "reduction": self.reduction,
        }

    @classmethod
    def from_config(cls, config):
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})

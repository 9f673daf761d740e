"""A weighted sum of losses."""

import keras

from keras_dense.losses.contract import check_number


@keras.saving.register_keras_serializable("keras_dense")
class Sum(keras.losses.Loss):
    """Weighted sum of losses over the same target and prediction.

    ```
    loss = sum_i weights[i] * losses[i](y_true, y_pred, sample_weight)
    ```

    Args:
        losses: Losses (or what `keras.losses.get` understands) that return one number.
        weights: One number per loss; 1 each by default.
        name: Name of the loss.

    Example:

    >>> import numpy as np
    >>> from keras_dense.losses import CrossEntropy, Dice
    >>> labels, logits = np.array([[[0, 0, 1, 255]]]), np.zeros((1, 1, 4, 2))
    >>> loss = Sum([CrossEntropy(), Dice()], weights=[1.0, 0.5])
    >>> round(float(loss(labels, logits)), 4)  # 0.6931 + 0.5143 / 2
    0.9503
    """

    def __init__(self, losses, weights=None, name="sum"):
        super().__init__(name=name, dtype="float32")
        if isinstance(losses, (str, dict)) or not hasattr(losses, "__len__") or not len(losses):
            raise ValueError(f"losses must be a list of at least one loss; received: {losses!r}")
        self.losses = [keras.losses.get(loss) for loss in losses]
        for loss in self.losses:
            if not isinstance(loss, keras.losses.Loss):
                raise TypeError(f"losses must be keras.losses.Loss instances; received: {loss!r}")
        weights = [1.0] * len(self.losses) if weights is None else list(weights)
        if len(weights) != len(self.losses):
            raise ValueError(
                f"weights must have one number per loss; received {len(weights)} weights "
                f"for {len(self.losses)} losses"
            )
        self.weights = [check_number("weights", w, -float("inf")) for w in weights]

    def __call__(self, y_true, y_pred, sample_weight=None):
        return sum(
            weight * loss(y_true, y_pred, sample_weight=sample_weight)
            for weight, loss in zip(self.weights, self.losses, strict=True)
        )

    def get_config(self):
        return {
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses],
            "weights": list(self.weights),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})

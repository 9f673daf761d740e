"""A weighted sum of losses."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE

_KINDS = {None: "none", "none": "none", "sum": "sum"}  # all others are means


@keras.saving.register_keras_serializable("keras_dense")
class Sum(keras.losses.Loss):
    """Weighted sum of losses over the same target and prediction.

    ```
    loss = sum_i weights[i] * losses[i](y_true, y_pred, sample_weight)
    ```

    Args:
        losses: list of losses, or of what `keras.losses.get` takes.
        weights: one number per loss; 1 each by default.
        reduction: as in Keras. The losses reduce themselves, so each of them must have the same
            kind of reduction: a mean (the default), `"sum"` or `"none"`.
        name: name of the loss.

    Raises:
        ValueError: for losses of another reduction; when called, if `reduction="none"` and some
            losses are of pixels and others of images.

    Example:

    >>> import numpy as np
    >>> from keras_dense.losses import CrossEntropy, Dice
    >>> labels, logits = np.array([[[0, 0, 1, 255]]]), np.zeros((1, 1, 4, 2))
    >>> loss = Sum([CrossEntropy(), Dice()], weights=[1.0, 0.5])
    >>> round(float(loss(labels, logits)), 4)  # 0.6931 + 0.5143 / 2
    0.9503
    """

    def __init__(
        self,
        losses: Sequence[Any],
        weights: Sequence[float] | None = None,
        *,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "sum",
    ):
        super().__init__(name=name, reduction=reduction, dtype="float32")
        if isinstance(losses, (str, dict)) or not hasattr(losses, "__len__") or not len(losses):
            raise _check.fail("losses", "a list of at least one loss", losses)
        self.losses = [keras.losses.get(loss) for loss in losses]
        for loss in self.losses:
            if not isinstance(loss, keras.losses.Loss):
                raise _check.fail("losses", "keras.losses.Loss instances", loss)
            if _KINDS.get(loss.reduction) != _KINDS.get(reduction):
                raise ValueError(
                    "`reduction` of a sum must be the one of all its losses. Received: "
                    f"reduction={reduction!r}, and reduction={loss.reduction!r} of {loss.name}"
                )
        weights = [1.0] * len(self.losses) if weights is None else list(weights)
        if len(weights) != len(self.losses):
            wanted = f"one number for each of {len(self.losses)} losses"
            raise _check.fail("weights", wanted, weights)
        self.weights = [_check.number(weight, "weights") for weight in weights]

    def __call__(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Tensor:
        values = [loss(y_true, y_pred, sample_weight=sample_weight) for loss in self.losses]
        shapes = {tuple(value.shape) for value in values}
        if len({len(shape) for shape in shapes}) > 1:
            raise ValueError(
                "`losses` must be all of pixels or all of images with reduction='none'. "
                f"Received: losses of the shapes {sorted(shapes, key=len)}"
            )
        return sum(w * value for w, value in zip(self.weights, values, strict=True))

    def get_config(self) -> Config:
        return {
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses],
            "weights": list(self.weights),
            "name": self.name,
            "reduction": self.reduction,
        }

    @classmethod
    def from_config(cls, config: Config) -> "Sum":
        losses = [keras.saving.deserialize_keras_object(loss) for loss in config["losses"]]
        return cls(**{**config, "losses": losses})

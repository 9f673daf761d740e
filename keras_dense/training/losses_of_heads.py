"""The compiled losses of heads, each of which can be called by itself."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_dense._types import Tensor
from keras_dense.heads import Heads
from keras_dense.training.balanced_model import as_loss


class HeadLosses:
    """Losses and their weights, by the keys of heads.

    Args:
        heads: `Heads`.
        loss: a loss for a single head, otherwise a dict with one for each.
        loss_weights: weights of the same structure (of a single head, also a list of one), or
            `None`.

    Raises:
        ValueError: for another structure.

    >>> from keras_dense.heads import Segmentation
    >>> HeadLosses(Heads(Segmentation(2)), "mse", [2.0]).weights
    {'': 2.0}
    """

    def __init__(self, heads: Heads, loss: Any, loss_weights: Any) -> None:
        if heads.single and isinstance(loss_weights, (list, tuple)) and len(loss_weights) == 1:
            loss_weights = loss_weights[0]
        for name, value in (("loss", loss), ("loss_weights", loss_weights)):
            fits = isinstance(value, Mapping) != heads.single
            fits = fits and (heads.single or set(value) == set(heads))
            if not (fits or (name == "loss_weights" and value is None)) or (
                name == "loss" and value is None
            ):
                wanted = "one loss" if heads.single else f"a dict with the keys {', '.join(heads)}"
                raise ValueError(
                    f"`{name}` must be {wanted}, as kd.objectives(model) makes it. Received: "
                    f"{name}={value!r}"
                )
        self._losses = {key: as_loss(value) for key, value in heads.unpack(loss).items()}
        given = {} if loss_weights is None else heads.unpack(loss_weights)
        self.weights = {key: float(given.get(key, 1.0)) for key in heads}

    def one(self, key: str, target: Tensor, prediction: Tensor, weight: Tensor | None) -> Tensor:
        """The weighted loss of one head, float32."""
        value = self._losses[key](target, prediction, sample_weight=weight)
        return self.weights[key] * ops.cast(value, "float32")

    def __call__(
        self,
        targets: Mapping[str, Tensor],
        predictions: Mapping[str, Tensor],
        weights: Mapping[str, Tensor | None],
    ) -> Tensor:
        """The sum over all heads."""
        keys = list(self._losses)
        values = [self.one(k, targets[k], predictions[k], weights[k]) for k in keys]
        return keras.ops.sum(keras.ops.stack(values))

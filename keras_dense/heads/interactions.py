"""Interactions: what the objects of an image do to each other."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array, Config, Features, Sample, Tensor
from keras_dense.heads.head import Head
from keras_dense.heads.tags import UNKNOWN, written_by
from keras_dense.losses import CrossEntropy
from keras_dense.metrics import MeanAveragePrecision


@keras.saving.register_keras_serializable("keras_dense")
class Interactions(Head):
    """The interactions of every pair of classes, one prediction for the whole image.

    An interaction is "subject, action, object", such as "person, rides, horse". Predictions are
    float32 logits `(B, num_classes² · actions)`, of `(subject, object, action)` in this order;
    targets are 1 (there), 0 (not there) and 255 (unknown), of the same shape. A sample holds them
    as `(num_classes, num_classes, actions)`. `kd.idw_cnn` predicts them; `kd.decoded` leaves them
    out, and `read_off` names those of a prediction.

    Args:
        num_classes: int >= 2, of subjects and objects.
        actions: names of the actions.
        class_names: names, one for each class.
        loss: a Keras loss of logits; default: the cross-entropy of each known interaction.
        weight: float >= 0, weight of this head's loss among those of all heads.
        target: str, key of a sample that holds the interactions.

    Raises:
        ValueError: for fewer than two classes, no actions, or another number of names.

    Reference: Wang et al., "Learning Object Interactions and Descriptions for Semantic Image
        Segmentation", CVPR 2017.

    >>> head = Interactions(3, ["rides"], class_names=["ground", "person", "horse"])
    >>> logits = np.full(9, -5.0)
    >>> logits[1 * 3 + 2] = 2.0
    >>> head.read_off(logits)
    [('person', 'rides', 'horse', 0.8807970779778823)]
    """

    final = False
    per_image = True
    suffix = ".npy"

    def __init__(
        self,
        num_classes: int,
        actions: Sequence[str],
        *,
        class_names: Sequence[str] | None = None,
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "interactions",
    ) -> None:
        self.num_classes = _check.integer(num_classes, "num_classes", low=2)
        self.actions = [actions] if isinstance(actions, str) else [str(name) for name in actions]
        if not self.actions:
            raise _check.fail("actions", "one or more names", actions)
        names = range(num_classes) if class_names is None else class_names
        self.class_names = [str(name) for name in names]
        if len(self.class_names) != num_classes:
            raise ValueError(
                f"`class_names` must have one name for each of {num_classes} classes. Received: "
                f"{len(self.class_names)} names"
            )
        self.channels = num_classes**2 * len(self.actions)
        super().__init__(loss=loss, weight=weight, target=target)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the interactions of an image: subjects, objects, actions."""
        return (self.num_classes, self.num_classes, len(self.actions))

    def default_loss(self) -> keras.losses.Loss:
        """Cross-entropy of each known interaction."""
        return CrossEntropy(mode="multilabel", ignore_class=UNKNOWN)

    def metrics(self) -> list:
        """Fresh metrics: mean average precision over interactions."""
        return [MeanAveragePrecision(self.channels)]

    def read(self, key: str, features: Features, predictions: dict, heads: Any) -> Tensor:
        """Logits that the network makes."""
        logits = written_by(predictions, "interactions", type(self).__name__)
        if logits.shape[-1] != self.channels:
            raise ValueError(
                f"`heads` must fit the network, which predicts {logits.shape[-1]} interactions. "
                f"Received: Interactions with {self.num_classes}² · {len(self.actions)}"
            )
        return logits

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: uint8 `(num_classes² · actions,)` of 1, 0 and 255.

        Raises:
            KeyError: if the sample has no interactions.
            ValueError: if they are of another shape, or have other values.
        """
        if self.target not in sample:
            raise KeyError(
                f"The sample has no {self.target!r} to train this head on. It has: "
                f"{', '.join(map(repr, sample))}."
            )
        values = as_labels(sample[self.target], self.target)
        if values.shape != self.shape:
            raise ValueError(
                f"`{self.target}` must have shape {self.shape}: subjects, objects, actions. "
                f"Received: shape {values.shape}"
            )
        self.check_targets(values)
        return values.reshape(-1).astype("uint8")

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of an image of which no interaction is known."""
        return np.full(self.channels, UNKNOWN, "uint8")

    def check_targets(self, targets: Array) -> None:
        """Raise a `ValueError` for interactions other than 1, 0 and 255."""
        if not np.isin(targets, (0, 1, UNKNOWN)).all():
            found = np.setdiff1d(targets, (0, 1, UNKNOWN))[:5].tolist()
            raise ValueError(
                f"`{self.target}` must be 1, 0 or {UNKNOWN} (unknown). Received: {found}"
            )

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of random interactions, or of unknown ones."""
        values = rng.integers(0, 2, self.shape).astype("uint8")
        return {self.target: values if known else np.full(self.shape, UNKNOWN, "uint8")}

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Interactions from logits: int32 `(B, channels)` of 0 and 1."""
        return ops.cast(prediction > 0, "int32")

    def flipped(self, prediction: Tensor) -> Tensor:
        """Prediction of the image itself: the same."""
        return prediction

    def read_off(
        self, prediction: Array, threshold: float = 0.5
    ) -> list[tuple[str, str, str, float]]:
        """Name the interactions of an image, the surest first.

        Args:
            prediction: logits `(channels,)`.
            threshold: float from 0 to 1, the least probability.

        Returns:
            Tuples of subject, action, object and probability.
        """
        logits = np.asarray(prediction, "float64").reshape(self.shape)
        p = 1 / (1 + np.exp(-logits))
        order = np.argsort(-p, axis=None, kind="stable")
        places = np.stack(np.unravel_index(order, self.shape), -1)
        names = self.class_names
        return [
            (names[s], self.actions[a], names[o], float(p[s, o, a]))
            for s, o, a in places
            if p[s, o, a] >= threshold
        ]

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`interactions`, the probability of each, float32 `(B, channels)`."""
        return {"interactions": ops.sigmoid(prediction)}

    def about(self) -> dict[str, dict]:
        """Names of classes and actions."""
        names = {"classes": self.class_names, "actions": self.actions}
        return {"interactions": {"range": [0, 1], **names}}

    def draw(self, result: Array) -> Array:
        """Grid of subjects (down) and objects (across), uint8 RGB: a square for each action.

        What is there is dark blue, what is not there white, unknown is gray.
        """
        values = np.asarray(result).reshape(self.shape)
        tiles = values.reshape(self.num_classes, -1)
        colors = np.where((tiles == 1)[..., None], (30, 60, 150), 255)
        colors = np.where((tiles == UNKNOWN)[..., None], 128, colors).astype("uint8")
        return np.repeat(np.repeat(colors, 8, axis=0), 8, axis=1)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Such a grid, right interactions in green, wrong ones in red, unknown in gray."""
        truth, prediction = (
            np.asarray(x).reshape(self.num_classes, -1) for x in (truth, prediction)
        )
        colors = np.where((truth == prediction)[..., None], (60, 170, 80), (220, 50, 50))
        colors = np.where((truth == UNKNOWN)[..., None], 128, colors).astype("uint8")
        return np.repeat(np.repeat(colors, 8, axis=0), 8, axis=1)

    def overlay(self, result: Array, image: Array) -> Array:
        """Image, as it is: interactions have no place in it."""
        return np.asarray(image, "uint8")

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "actions": self.actions,
            "class_names": self.class_names,
            **super().get_config(),
        }

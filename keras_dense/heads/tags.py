"""Tags: classes that an image contains."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array, ArrayLike, Config, Features, Sample, Tensor
from keras_dense.heads.head import Head
from keras_dense.heads.palette import as_palette, legend_of, voc_palette
from keras_dense.layers.presence import ClassPresence
from keras_dense.losses import CrossEntropy
from keras_dense.metrics import MeanAveragePrecision
from keras_dense.ops.tags import tags_of_labels
from keras_dense.surgery.feature_pyramid import feature

UNKNOWN = 255


@keras.saving.register_keras_serializable("keras_dense")
class Tags(Head):
    """The classes that an image contains, one prediction for the whole image.

    Predictions are float32 logits `(B, num_classes)`; targets `(B, num_classes)` of 1 (there), 0
    (not there) and 255 (unknown). It helps to train a segmentation with images that have no mask:
    `kd.decoded` leaves it out, and `kd.with_tags` filters labels by it.

    The target of a sample is read off its mask where it has one, so it is right after any crop;
    otherwise it is its `"tags"`. A sample that has both, and whose mask is partial, has the tags of
    both.

    Args:
        num_classes: int >= 2.
        source: `"features"`: the mean of a feature over the image, and a dense layer; `"scores"`: a
            soft maximum of the scores of a segmentation head over the image, without weights, see
            `kd.layers.ClassPresence`; `"network"`: what a network such as `kd.idw_cnn` predicts.
        level: str, the feature that is read with `source="features"`.
        sharpness: float > 0, of the soft maximum with `source="scores"`.
        partial: bool, whether masks mark only part of the objects (scribbles, points), so that a
            class that a mask does not contain is unknown.
        mask: str, the key of a sample that holds its mask.
        class_names: names, one for each class.
        palette: `(num_classes, 3)` uint8 RGB colors; default: the VOC color map.
        loss: a Keras loss of logits; default: the cross-entropy of each known tag.
        weight: float >= 0, weight of this head's loss among those of all heads.
        target: str, key of a sample that holds the tags.

    Raises:
        ValueError: for fewer than two classes, another source, names or colors of another number.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = {"segmentation": kd.heads.Segmentation(5), "tags": Tags(5)}
    >>> kd.fcn32s(backbone, heads=heads).output["tags"].shape
    (None, 5)
    """

    final = False
    per_image = True
    suffix = ".npy"

    def __init__(
        self,
        num_classes: int = 21,
        *,
        source: str = "features",
        level: str = "P5",
        sharpness: float = 3.0,
        partial: bool = False,
        mask: str = "segmentation",
        class_names: Sequence[str] | None = None,
        palette: ArrayLike | None = None,
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "tags",
    ) -> None:
        self.num_classes = self.channels = _check.integer(num_classes, "num_classes", low=2)
        self.source = _check.choice(source, "source", ("features", "scores", "network"))
        self.level = level
        self.levels = (level,) if source == "features" else ()
        self.sharpness = _check.number(sharpness, "sharpness", above=0)
        self.partial = _check.flag(partial, "partial")
        self.mask = mask
        self.class_names = [
            str(n) for n in (range(num_classes) if class_names is None else class_names)
        ]
        self.palette: Array = voc_palette(num_classes) if palette is None else as_palette(palette)
        if len(self.class_names) != num_classes or self.palette.shape != (num_classes, 3):
            raise ValueError(
                f"`class_names` and `palette` must have one entry for each of {num_classes} "
                f"classes. Received: {len(self.class_names)} names, palette of shape "
                f"{self.palette.shape}"
            )
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """Cross-entropy of each known tag."""
        return CrossEntropy(mode="multilabel", ignore_class=UNKNOWN)

    def metrics(self) -> list:
        """Fresh metrics: mean average precision."""
        return [MeanAveragePrecision(self.num_classes)]

    def read(self, key: str, features: Features, predictions: dict, heads: Any) -> Tensor:
        """Logits from a feature or from the scores of the segmentation."""
        prefix = f"{key}_" if key else ""
        if self.source == "network":
            return written_by(predictions, "presence", "Tags(source='network')")
        if self.source == "scores":
            scores = predictions[self._segmentation(heads)].scores
            return ClassPresence(sharpness=self.sharpness, name=f"{prefix}presence")(scores)
        x = feature(features, self.level, "tags")
        x = layers.GlobalAveragePooling2D(data_format="channels_last", name=f"{prefix}mean")(x)
        return layers.Dense(self.num_classes, name=f"{prefix}presence")(x)

    def _segmentation(self, heads: Any) -> str:
        found = [
            key
            for key, head in heads.items()
            if head.final and head.mode == "multiclass" and head.channels == self.num_classes
        ]
        if len(found) != 1:
            raise ValueError(
                f"Tags({self.num_classes}, source='scores') reads the scores of a segmentation of "
                f"{self.num_classes} classes, of which there must be one. Received: "
                f"{', '.join(found) or 'none'} among the heads {', '.join(heads)}"
            )
        return found[0]

    def annotated(self, sample: Sample) -> bool:
        """Return whether a sample has tags or a mask."""
        return self.target in sample or self.mask in sample

    def encode(self, sample: Sample) -> Array:
        """Target of a sample: uint8 `(num_classes,)` of 1, 0 and 255.

        Raises:
            KeyError: if the sample has neither a mask nor tags.
            ValueError: if they are of another length, or have other values.
        """
        given = self._given(sample) if self.target in sample else None
        if self.mask not in sample:
            if given is None:
                raise KeyError(
                    f"The sample has neither {self.target!r} nor {self.mask!r} to train this head "
                    f"on. It has: {', '.join(map(repr, sample))}."
                )
            return given
        labels = as_labels(sample[self.mask], self.mask)
        seen = tags_of_labels(labels, self.num_classes, UNKNOWN, self.partial)
        if given is None:
            return seen
        if self.partial or (seen == UNKNOWN).all():
            return np.where(seen == 1, seen, given)
        # A class that was tagged, and that the mask does not show, may be under void.
        return np.where((seen == 0) & (given == 1), UNKNOWN, seen).astype("uint8")

    def _given(self, sample):
        tags = as_labels(sample[self.target], self.target)
        if tags.shape != (self.num_classes,):
            raise ValueError(
                f"`{self.target}` must have one entry for each of {self.num_classes} classes. "
                f"Received: shape {tags.shape}"
            )
        if not np.isin(tags, (0, 1, UNKNOWN)).all():
            raise ValueError(
                f"`{self.target}` must be 1, 0 or {UNKNOWN} (unknown). Received: "
                f"{np.setdiff1d(tags, (0, 1, UNKNOWN))[:5].tolist()}"
            )
        return tags.astype("uint8")

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of an image without a known tag."""
        return np.full(self.num_classes, UNKNOWN, "uint8")

    def check_targets(self, targets: Array) -> None:
        """Raise a `ValueError` for tags `(B, classes)` other than 1, 0 and 255."""
        if not np.isin(targets, (0, 1, UNKNOWN)).all():
            found = np.setdiff1d(targets, (0, 1, UNKNOWN))[:5].tolist()
            raise ValueError(f"`targets` must be 1, 0 or {UNKNOWN} (unknown). Received: {found}")

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of random tags, or of unknown ones."""
        tags = rng.integers(0, 2, self.num_classes).astype("uint8")
        return {self.target: tags if known else self.unknown(size)}

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """Tags from logits: int32 `(B, num_classes)` of 0 and 1."""
        return ops.cast(prediction > 0, "int32")

    def flipped(self, prediction: Tensor) -> Tensor:
        """Prediction of the image itself: the same."""
        return prediction

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`presence`, the probability of each class, float32 `(B, num_classes)`."""
        return {"presence": ops.sigmoid(prediction)}

    def about(self) -> dict[str, dict]:
        """Names and colors of the classes."""
        classes = {"classes": self.class_names, "palette": self.palette.tolist()}
        return {"presence": {"range": [0, 1], **classes}}

    def draw(self, result: Array) -> Array:
        """Row of squares, uint8 RGB: the color of a class that is there, white if not.

        Classes that are unknown are gray.
        """
        tags = np.asarray(result)
        colors = np.where((tags == 1)[:, None], self.palette, 255)
        colors = np.where((tags == UNKNOWN)[:, None], 128, colors).astype("uint8")
        return np.repeat(np.repeat(colors[None], 16, axis=0), 16, axis=1)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Row of squares, uint8 RGB: right tags in green, wrong ones in red, unknown in gray."""
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        colors = np.where((truth == prediction)[:, None], (60, 170, 80), (220, 50, 50))
        colors = np.where((truth == UNKNOWN)[:, None], 128, colors).astype("uint8")
        return np.repeat(np.repeat(colors[None], 16, axis=0), 16, axis=1)

    def overlay(self, result: Array, image: Array) -> Array:
        """Image, as it is: tags have no place in it."""
        return np.asarray(image, "uint8")

    def legend(self) -> list[tuple[str, tuple]]:
        """Pairs of class name and RGB color."""
        return legend_of(self.class_names, self.palette)

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "source": self.source,
            "level": self.level,
            "sharpness": self.sharpness,
            "partial": self.partial,
            "mask": self.mask,
            "class_names": self.class_names,
            "palette": self.palette.tolist(),
            **super().get_config(),
        }


def written_by(predictions: dict, name: str, head: str) -> Tensor:
    """Prediction of the decoder for the whole image, beside its maps."""
    for prediction in predictions.values():
        if name in prediction.early:
            return prediction.early[name]
    raise ValueError(
        f"{head} needs a network that predicts {name}, such as kd.idw_cnn. This one does not."
    )

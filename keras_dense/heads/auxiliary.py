"""Heads that only help training: of an earlier feature, or an earlier prediction."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_dense import _check
from keras_dense._types import Array, Config, Features, Sample, Tensor
from keras_dense.heads.head import Head, Stored
from keras_dense.surgery.feature_pyramid import feature


class Assisting(Head):
    """Base of heads that predict the same as another head, and are left out after training.

    Loss, targets, decoding and drawing are those of the other head; there are no metrics.

    Args:
        head: the other head.
        weight: float >= 0, weight of this loss among those of all heads.

    Raises:
        TypeError: if `head` is no head, or an assisting one itself.
        ValueError: for a negative weight.
    """

    final = False

    def __init__(self, head: Head, weight: float) -> None:
        if not isinstance(head, Head) or not head.final:
            raise TypeError(f"`head` must be a head such as Segmentation(21). Received: {head!r}")
        self.head = head
        self.weight = _check.number(weight, "weight", 0)
        self.channels, self.loss, self.target = head.channels, head.loss, head.target
        self.stride, self.suffix = head.stride, head.suffix
        self.lightness_only, self.needs_image = head.lightness_only, head.needs_image
        self.mode, self.ignore_class = head.mode, head.ignore_class
        self.class_names, self.palette = head.class_names, head.palette
        self.coarse_labels, self.annotation = head.coarse_labels, head.annotation
        self.min_size = head.min_size

    def finish(self, scores: Tensor, name: str) -> Tensor:
        return self.head.finish(scores, name)

    def annotated(self, sample: Sample) -> bool:
        return self.head.annotated(sample)

    def encode(self, sample: Sample) -> Array:
        return self.head.encode(sample)

    def unknown(self, size: tuple[int, int]) -> Array:
        return self.head.unknown(size)

    def check_targets(self, targets: Array) -> None:
        self.head.check_targets(targets)

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        return self.head.example(size, rng, known)

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        return self.head.decode(prediction, image)

    def flipped(self, prediction: Tensor) -> Tensor:
        return self.head.flipped(prediction)

    def rescaled(self, prediction: Tensor, scale: float) -> Tensor:
        return self.head.rescaled(prediction, scale)

    def blended(self, mean: Tensor) -> Tensor:
        return self.head.blended(mean)

    def to_mean(self, prediction: Tensor) -> Tensor:
        return self.head.to_mean(prediction)

    def from_mean(self, mean: Tensor) -> Tensor:
        return self.head.from_mean(mean)

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        return self.head.outputs(prediction, image)

    def about(self) -> dict[str, dict]:
        return self.head.about()

    def stored(self, result: Array) -> Stored:
        return self.head.stored(result)

    def objects(self, result: Array, *, min_size: int | None = None) -> Array:
        return self.head.objects(result, min_size=min_size)

    def draw(self, result: Array) -> Array:
        return self.head.draw(result)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        return self.head.error(truth, prediction, image)

    def overlay(self, result: Array, image: Array) -> Array:
        return self.head.overlay(result, image)

    def legend(self) -> list[tuple[str, tuple]]:
        return self.head.legend()

    def get_config(self) -> Config:
        return {"head": keras.saving.serialize_keras_object(self.head), "weight": self.weight}

    @classmethod
    def from_config(cls, config: Config) -> "Assisting":
        return cls(**{**config, "head": keras.saving.deserialize_keras_object(config["head"])})


@keras.saving.register_keras_serializable("keras_dense")
class Auxiliary(Assisting):
    """A head that reads an earlier feature of the backbone instead of the decoder's scores.

    Deep supervision: its loss reaches the middle of the backbone directly. It predicts what `head`
    predicts, through a 3×3 convolution, batch norm, ReLU and dropout of its own;
    `kd.decoded(model)` leaves it out. Every builder takes it among its `heads`.

    Args:
        head: the head whose loss, target and drawing it shares.
        level: str, the feature that is read.
        weight: float >= 0, weight of this loss among those of all heads.
        filters: int >= 1, channels of the 3×3 convolution.
        dropout: float from 0 to below 1, rate of the dropout before the scores.

    Raises:
        TypeError: if `head` is no head, or an auxiliary one itself.
        ValueError: for a weight, number of filters or dropout out of range.

    Reference: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.3.

    >>> from keras_dense.heads import Segmentation
    >>> aux = Auxiliary(Segmentation(21), level="P4")
    >>> aux.channels, aux.weight
    (21, 0.4)
    """

    def __init__(
        self,
        head: Head,
        level: str = "P4",
        *,
        weight: float = 0.4,
        filters: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__(head, weight)
        self.level = level
        self.levels = (level,)
        self.filters = _check.integer(filters, "filters", low=1)
        self.dropout = _check.number(dropout, "dropout", 0, below=1)

    def read(self, key: str, features: Features, predictions: dict, heads: Any) -> Tensor:
        """Scores from the feature, through layers of its own."""
        prefix = f"{key}_" if key else ""
        x = layers.Conv2D(
            self.filters,
            3,
            padding="same",
            use_bias=False,
            name=f"{prefix}convolution",
            data_format="channels_last",
        )(feature(features, self.level, "auxiliary head"))
        x = layers.BatchNormalization(epsilon=1e-5, name=f"{prefix}normalization")(x)
        x = layers.ReLU(name=f"{prefix}relu")(x)
        x = layers.Dropout(self.dropout, name=f"{prefix}dropout")(x)
        return layers.Conv2D(self.channels, 1, name=f"{prefix}scores", data_format="channels_last")(
            x
        )

    def get_config(self) -> Config:
        own = {"level": self.level, "filters": self.filters, "dropout": self.dropout}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("keras_dense")
class Intermediate(Assisting):
    """A head for one of the predictions that a network makes before its final one.

    Unlike `Auxiliary` it adds no layers: it hands out scores of an earlier stage
    (`kd.layer_cascade`) or unit (`kd.stacked_deconvolutional_network`), which the network computes
    in any case. Its loss is that of `head`; `kd.decoded(model)` leaves it out.

    Args:
        head: the final head; with several final heads of a model it must be one of them.
        stage: str, the network's name for the earlier prediction; an error lists them.
        weight: float >= 0, weight of this loss among those of all heads.

    Raises:
        TypeError: if `head` is no head, or an auxiliary one.
        ValueError: for a negative weight.

    >>> from keras_dense.heads import Segmentation
    >>> early = Intermediate(Segmentation(21), "stage1")
    >>> early.channels, early.weight
    (21, 1.0)
    """

    def __init__(self, head: Head, stage: str, *, weight: float = 1.0) -> None:
        super().__init__(head, weight)
        self.stage = stage

    def read(self, key: str, features: Features, predictions: dict, heads: Any) -> Tensor:
        """Scores of the earlier prediction."""
        early = predictions[self._final_key(heads)].early
        if self.stage not in early:
            known = f"It makes: {', '.join(early)}." if early else "It makes none."
            raise ValueError(
                f"The decoder makes no prediction {self.stage!r} before its final one. {known} For "
                "an auxiliary loss on a feature see kd.heads.with_auxiliary."
            )
        return early[self.stage]

    def _final_key(self, heads: Mapping[str, Head]) -> str:
        final = {key: head for key, head in heads.items() if head.final}
        same = [key for key, head in final.items() if head is self.head]
        if not same and len(final) > 1:
            raise ValueError(
                f"Intermediate(…, {self.stage!r}) must be made with one of the other heads: with "
                f"several ({', '.join(final)}) it is not clear whose earlier prediction it is."
            )
        return (same or list(final))[0]

    def get_config(self) -> Config:
        return {**super().get_config(), "stage": self.stage}


def with_auxiliary(
    head: Head, level: str = "P4", *, weight: float = 0.4, name: str = "segmentation"
) -> dict[str, Head]:
    """A head and an auxiliary one for the same target, as heads for any builder.

    Args:
        head: the head to train.
        level, weight: of the auxiliary head, see `Auxiliary`.
        name: str, the key of `head` among the outputs; the other's is "auxiliary".

    Raises:
        TypeError: if `head` is no head.
        ValueError: for the name "auxiliary".

    >>> from keras_dense.heads import Segmentation
    >>> sorted(with_auxiliary(Segmentation(21)))
    ['auxiliary', 'segmentation']
    """
    if name == "auxiliary":
        raise ValueError("`name` must be another than that of the auxiliary head, 'auxiliary'.")
    return {name: head, "auxiliary": Auxiliary(head, level, weight=weight)}


def with_intermediate(
    head: Head,
    stages: str | Sequence[str],
    *,
    weight: float | Sequence[float] = 1.0,
    name: str = "segmentation",
) -> dict[str, Head]:
    """A head, and one for each earlier prediction of the network, as heads for a builder.

    Args:
        head: the head to train.
        stages: names of the earlier predictions, which become keys of the output.
        weight: float >= 0, weight of each of their losses, or a list with one for each.
        name: str, the key of the final prediction.

    Raises:
        TypeError: if `head` is no head.
        ValueError: for a stage named like the final prediction, or another number of weights than
            of stages.

    >>> from keras_dense.heads import Segmentation
    >>> list(with_intermediate(Segmentation(21), ["stage1", "stage2"]))
    ['segmentation', 'stage1', 'stage2']
    """
    stages = [stages] if isinstance(stages, str) else list(stages)
    weights: list = list(weight) if isinstance(weight, Sequence) else [weight] * len(stages)
    if name in stages:
        raise ValueError(f"`name` must be another than those of the stages. Received: {name!r}")
    if len(weights) != len(stages):
        raise ValueError(
            f"`weight` must be a number, or one for each stage. Received: {len(weights)} weights "
            f"for {len(stages)} stages"
        )
    early = {
        stage: Intermediate(head, stage, weight=w) for stage, w in zip(stages, weights, strict=True)
    }
    return {name: head, **early}

"""Deep Layer Cascade.

Li, Liu, Luo, Loy, Tang, "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
Deep Layer Cascade", CVPR 2017.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers.cascade import Certainty, KeepCells, Settled, Unsure
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.surgery import dilate, rebuild
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.region import masked


def layer_cascade_decoder(
    stages: Sequence[keras.Model] = (),
    thresholds: float | Sequence[float] = (),
    *,
    level: str = "P3",
    filters: int = 256,
    dropout: float = 0.1,
    mode: str = "multiclass",
) -> Decoder:
    """A classifier of two convolutions at a feature, and one after every further stage (figure 2).

    Predictions of stages before the last one are available to `kd.heads.Intermediate` as "stage1",
    "stage2", …. Each prediction keeps those of earlier stages at cells that left there.

    Args:
        stages: models from a map and a mask, 1 for the remaining cells, to the map that the next
            stage reads. They become part of the model and are trained with it.
        thresholds: float or a tuple with one for each stage, the certainty above which a cell
            leaves before the stage.
        level: str, the feature that the first classifier reads.
        filters: int >= 1, channels of the 3×3 convolutions before the scores.
        dropout: float from 0 to 1, dropout rate before the scores.
        mode: str, mode of the head, see `kd.layers.Certainty`.

    Returns:
        A decoder for `kd.assemble`.

    Example: a decoder without further stages, which is the paper's baseline.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.layer_cascade(level="P5", filters=16)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters = _check.integer(filters, "filters", low=1)
    thresholds = check_thresholds(thresholds, len(stages) + 1)

    def classify(x: Tensor, channels: int, name: str) -> Tensor:
        x = conv_bn_relu(x, filters, 3, name=name)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
        return layers.Conv2D(channels, 1, name=f"{name}_scores", data_format="channels_last")(x)

    def predict(features: Features, wanted: Wanted) -> Prediction:
        channels, prefix = wanted.channels, wanted.prefix
        x, mask, early = feature(features, level), None, {}
        settled = last = classify(x, channels, f"{prefix}stage1")
        for n, (stage, threshold) in enumerate(zip(stages, thresholds, strict=True), 1):
            early[f"stage{n}"] = settled
            certainty = Certainty(mode, name=f"{prefix}stage{n}_certainty")(last)
            before = () if mask is None else (mask,)
            mask = Unsure(threshold, name=f"{prefix}stage{n}_unsure")(certainty, *before)
            x, name = stage([x, mask]), f"{prefix}stage{n + 1}"
            last = classify(KeepCells(name=f"{name}_keep")(x, mask), channels, name)
            settled = Settled(name=f"{name}_settled")(last, settled, mask)
        return Prediction(settled, early)

    @Decoder
    def decode(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        return {key: predict(features, head) for key, head in wanted.items()}

    return decode


def split(backbone: keras.Model, levels: Sequence[str]) -> list[keras.Model]:
    """Split a backbone at features: a first part with all features up to there, and further parts.

    The parts have the name of the backbone, numbered from 2 on: "backbone", "backbone_2", ….
    """
    ends = [feature(backbone.output, level) for level in levels]
    passed = list(backbone.output)[: list(backbone.output).index(levels[0]) + 1]
    first = keras.Model(backbone.input, {level: backbone.output[level] for level in passed})
    parts = [rebuild(first, name=backbone.name)]
    for n, (before, end) in enumerate(zip(ends, ends[1:], strict=False), 2):
        try:
            part = keras.Model(before, end, name=f"{backbone.name}_{n}")
        except ValueError as error:
            raise ValueError(
                "`levels` must be features through which all later ones are computed, but "
                f"{levels[n - 1]} needs more than {levels[n - 2]}. Received: levels={levels}. "
                f"Keras says: {error}"
            ) from error
        parts.append(masked(part))
    return parts


def check_thresholds(thresholds: float | Sequence[float], stages: int) -> tuple[float, ...]:
    """`thresholds` as a tuple with one for each stage but the last, checked.

    >>> check_thresholds(0.985, 3)
    (0.985, 0.985)
    """
    several = isinstance(thresholds, (tuple, list))
    listed: Any = thresholds if several else [thresholds] * (stages - 1)
    if len(listed) != stages - 1:
        raise ValueError(
            f"`thresholds` must be a number, or one number for each of the {stages - 1} stages "
            f"that pixels can leave. Received: thresholds={thresholds!r}"
        )
    return tuple(_check.number(t, "thresholds", above=0) for t in listed)


def _mode(heads: Heads) -> str | None:
    """The mode of the head that stages predict, or `None` if no head is predicted by stages.

    Only one head can have stages, since a pixel that leaves a stage leaves it for all heads.
    """
    if all(head.stage is None for head in heads.values()):
        return None
    final = list(heads.final().values())
    if len(final) != 1 or final[0].mode is None:
        raise ValueError(
            "`heads` must hold one kd.heads.Segmentation besides the stages; its certainty decides "
            f"where a pixel leaves. Received: {', '.join(heads)}"
        )
    return final[0].mode


def layer_cascade(
    backbone: str | keras.Model = "inception_resnet_v2",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    levels: Sequence[str] = ("P3", "P4", "P5"),
    thresholds: float | Sequence[float] = (0.985, 0.985),
    filters: int = 256,
    dropout: float = 0.1,
) -> keras.Model:
    """Deep Layer Cascade: three stages of one backbone; early stages decide the easy pixels.

    The backbone, at stride 8 throughout, is split at its former strides: after Inception-ResNet-A,
    -B and -C. Each stage has its own classifier, and all are trained together:

        heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
        model = kd.layer_cascade(heads=heads)
        model.compile("sgd", **kd.objectives(heads))

    A pixel leaves where the certainty of a stage is above its threshold. Later stages get zeros
    there (the paper's region convolution) and learn nothing from it, and their predictions keep the
    earlier one. So training and `evaluate` see the cascade. The model itself computes all stages
    everywhere; `kd.inference.LayerCascade(model)` predicts the same, and computes later stages only
    where they are needed.

    The model has one layer for each stage of the backbone: "backbone", "backbone_2", "backbone_3".
    With a single head it has one layer "backbone" and the last classifier alone: the paper's
    baseline.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`.
        levels: tuple of str, the features at the ends of the stages.
        thresholds: float or a tuple, the certainty above which pixels leave the first and the
            second stage; above 1 no pixel leaves. `kd.inference.LayerCascade` takes others.
        filters: int >= 1, channels of the 3×3 convolutions before the scores.
        dropout: float from 0 to 1, dropout rate before the scores.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`, or a
        dict of them if `heads` include stages.

    Raises:
        ValueError, TypeError: for thresholds that are not above 0, another number of thresholds
            than of stages, or stages of several heads; see `kd.backbone`, `kd.surgery.dilate`,
            `kd.heads.Segmentation`.

    Reference: Li et al., CVPR 2017, sections 3.1 and 3.2.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
    >>> sorted(layer_cascade(backbone, heads=heads).output)
    ['segmentation', 'stage1', 'stage2']
    """
    heads, thresholds = Heads.of(heads, num_classes), check_thresholds(thresholds, len(levels))
    settings: dict[str, Any] = {"filters": filters, "dropout": dropout}
    layer_cascade_decoder(**settings)  # Raises errors before the backbone is built.
    mode, levels = _mode(heads), tuple(levels)
    backbone = dilate(make_backbone(backbone, weights, input_shape), 8)
    if mode is None:
        decoder = layer_cascade_decoder(level=levels[-1], **settings)
    else:
        backbone, *stages = split(backbone, levels)
        decoder = layer_cascade_decoder(stages, thresholds, level=levels[0], mode=mode, **settings)
    return build(
        backbone, decoder, heads, input_shape, name or "layer_cascade", initialize_from, grid
    )

"""Deep Layer Cascade.

Li, Liu, Luo, Loy, Tang, "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
Deep Layer Cascade", CVPR 2017.
"""

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features
from keras_dense.heads import Heads
from keras_dense.layers.cascade import Certainty, KeepCells, Settled, Unsure
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.models.parts import backbone_of, conv_bn_relu, finished
from keras_dense.surgery import dilate, rebuild
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.region import masked


def layer_cascade_decoder(
    stages=(), thresholds=(), *, level="P3", filters=256, dropout=0.1, mode="multiclass"
):
    """Classifiers, of two convolutions each, at a feature and after every further stage (figure 2).

    What stages predict before the last one is there for `kd.heads.Intermediate`, as "stage1",
    "stage2", …. Each prediction holds those of the stages before where cells left there.

    Args:
        stages: models of a map and a mask, 1 for the cells that are left, to the map that the next
            stage reads. They belong to the model that is built, and are trained with it.
        thresholds: for each of them, the certainty above which a cell leaves before.
        level: the feature that the first classifier reads.
        filters: channels of the 3×3 convolutions before the scores.
        dropout: rate of the dropout before the scores.
        mode: of the head, see `kd.layers.Certainty`.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """
    filters = _check.integer(filters, "filters", low=1)
    thresholds = check_thresholds(thresholds, len(stages) + 1)

    def classify(x, channels, name):
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


def split(backbone, levels):
    """A backbone cut at features: the first part with all features up to there, and the further ones.

    Names are those of the backbone with a number from 2 on: "backbone", "backbone_2", ….
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
                f"`levels` must be features through which everything later flows: {levels[n - 1]} "
                f"needs more than {levels[n - 2]}. Received: levels={levels}. Keras says: {error}"
            ) from error
        parts.append(masked(part))
    return parts


def check_thresholds(thresholds, stages):
    """`thresholds` as a tuple with one for each stage but the last, or an error.

    >>> check_thresholds(0.985, 3)
    (0.985, 0.985)
    """
    several = isinstance(thresholds, (tuple, list))
    listed = thresholds if several else [thresholds] * (stages - 1)
    if len(listed) != stages - 1:
        raise ValueError(
            f"`thresholds` must be a number, or one for each of the {stages - 1} stages that "
            f"pixels can leave. Received: thresholds={thresholds!r}"
        )
    return tuple(_check.number(t, "thresholds", above=0) for t in listed)


def _mode(heads):
    """The mode of the one head whose stages learn, `None` if there are no stages among the heads.

    What is sure must be one thing: the pixels that leave a stage leave it for all heads.
    """
    if all(head.stage is None for head in heads.values()):
        return None
    final = list(heads.final().values())
    if len(final) != 1 or final[0].mode is None:
        raise ValueError(
            "A cascade needs one kd.heads.Segmentation besides its stages, which says where a "
            f"prediction is sure. Received: {', '.join(heads)}"
        )
    return final[0].mode


def layer_cascade(
    backbone="inception_resnet_v2",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    levels=("P3", "P4", "P5"),
    thresholds=(0.985, 0.985),
    filters=256,
    dropout=0.1,
):
    """Deep Layer Cascade: three stages of one backbone, of which the early ones settle what is easy.

    The backbone, at stride 8 throughout, is cut where its strides were: after Inception-ResNet-A,
    -B and -C. Each stage has a classifier of its own, and all learn together:

        heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
        model = kd.layer_cascade(heads=heads)
        model.compile("sgd", **kd.objectives(heads))

    Where a stage is surer than its threshold, pixels leave: later stages see zeros there (the
    paper's region convolution) and learn nothing from them, and the predictions of later stages
    hold the earlier one's. So what is trained, and what `evaluate` measures, is the cascade. The
    model computes all stages everywhere all the same; `kd.inference.LayerCascade(model)` predicts
    the same, and computes later ones only where they are needed.

    The backbone is in as many layers as there are stages, "backbone", "backbone_2", "backbone_3". With
    a single head it is in one, with the last classifier alone: the paper's baseline.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`.
        levels: the features that stages end with.
        thresholds: the certainty above which pixels leave the first stage and the second; above 1
            nobody leaves. `kd.inference.LayerCascade` may be given others.
        filters: channels of the 3×3 convolutions before the scores.
        dropout: rate of the dropout before the scores.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`; with
        stages among the heads a dict of them.

    Raises:
        ValueError, TypeError: for thresholds that are not above 0, another number of them than of
            stages, stages of several heads; see `kd.backbone`, `kd.surgery.dilate`,
            `kd.heads.Segmentation`.

    Reference: Li et al., CVPR 2017, sections 3.1 and 3.2.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
    >>> sorted(layer_cascade(backbone, heads=heads).output)
    ['segmentation', 'stage1', 'stage2']
    """
    heads, thresholds = Heads.of(heads, num_classes), check_thresholds(thresholds, len(levels))
    settings = {"filters": filters, "dropout": dropout}
    layer_cascade_decoder(**settings)  # An error before the work.
    mode, levels = _mode(heads), tuple(levels)
    backbone = dilate(backbone_of(backbone, weights, input_shape), 8)
    if mode is None:
        decoder = layer_cascade_decoder(level=levels[-1], **settings)
    else:
        backbone, *stages = split(backbone, levels)
        decoder = layer_cascade_decoder(stages, thresholds, level=levels[0], mode=mode, **settings)
    return finished(backbone, decoder, heads, input_shape, name or "layer_cascade", initialize_from)

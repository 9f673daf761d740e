"""Deep Layer Cascade.

Li, Liu, Luo, Loy, Tang, "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
Deep Layer Cascade", CVPR 2017.
"""

from keras import layers

from keras_dense.heads import Auxiliary, Intermediate, as_heads
from keras_dense.layers import Certainty, LearnWhereUnsure
from keras_dense.layers.cascade import as_threshold
from keras_dense.models.assemble import scores
from keras_dense.models.parts import conv_bn_relu, counts, finished, trunk_of
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def layer_cascade_decoder(
    levels=("P3", "P4", "P5"), *, filters=256, dropout=0.1, thresholds=None, mode="multiclass"
):
    """A classifier at the end of every stage of a trunk (figure 2): two convolutions each.

    The scores of all but the last are there for `kd.heads.Intermediate`, as "stage1", "stage2", ….

    Args:
        levels: the features that stages end with. They must have one stride for
            `kd.inference.LayerCascade`.
        filters: channels of the 3×3 convolutions before the scores.
        dropout: rate of the dropout before the scores.
        thresholds: for each stage but the last, the certainty above which a pixel is left to it:
            later stages do not learn from it. `None`: all stages learn from all pixels.
        mode: of the head, see `kd.layers.Certainty`.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """
    levels = tuple(levels)
    (filters,) = counts((filters,), "filters")
    if thresholds is not None:
        thresholds = check_thresholds(thresholds, len(levels))

    @scores
    def decode(features, channels, prefix=""):
        scored, certain = {}, []
        for n, level in enumerate(levels, 1):
            name = f"{prefix}stage{n}"
            x = conv_bn_relu(feature(features, level), filters, 3, name=name)
            x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
            x = layers.Conv2D(channels, 1, name=f"{name}_scores")(x)
            if thresholds is None:
                scored[f"stage{n}"] = x
                continue
            certainty = Certainty(mode, name=f"{name}_certainty")(x) if n < len(levels) else None
            if n > 1:
                learn = LearnWhereUnsure(thresholds[: n - 1], name=f"{name}_learn")
                x = learn(x, list(certain))
            certain.append(certainty)
            scored[f"stage{n}"] = x
        return scored.pop(f"stage{len(levels)}"), scored

    return decode


def check_thresholds(thresholds, stages):
    """`thresholds` as a tuple with one for each stage but the last, or an error.

    >>> check_thresholds(0.985, 3)
    (0.985, 0.985)
    """
    listed = thresholds if isinstance(thresholds, (tuple, list)) else [thresholds] * (stages - 1)
    if len(listed) != stages - 1:
        raise ValueError(
            f"`thresholds` must be one number for each of the {stages - 1} stages that pixels can "
            f"leave. Received: thresholds={thresholds!r}"
        )
    return tuple(as_threshold(t, "thresholds") for t in listed)


def _mode(heads):
    """The mode of the one head whose stages learn, `None` if there are no stages among the heads.

    What is sure must be one thing: the pixels that leave a stage leave it for all heads.
    """
    if not isinstance(heads, dict):
        return None
    final = [head for head in heads.values() if not isinstance(head, Auxiliary)]
    if not any(isinstance(head, Intermediate) for head in heads.values()):
        return None
    if len(final) != 1 or not hasattr(final[0], "mode"):
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
    """Deep Layer Cascade: three stages of one trunk, of which the early ones settle what is easy.

    The trunk, at stride 8 throughout, is cut where its strides were: after Inception-ResNet-A,
    -B and -C. Each stage has a classifier of its own, and all learn together:

        heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
        model = kd.layer_cascade(heads=heads)
        model.compile("sgd", **kd.objectives(heads))

    A later stage learns only from the pixels at which no stage before was surer than its threshold
    (`kd.layers.LearnWhereUnsure`). The model computes all stages everywhere;
    `kd.inference.LayerCascade(model)` computes later ones only where they are needed. With a single
    head it is the trunk with the last classifier alone, the paper's baseline.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`.
        levels: the features that stages end with.
        thresholds: the certainty above which pixels leave the first stage and the second, in
            training; the default for `kd.inference.LayerCascade`.
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
    >>> trunk = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = kd.heads.with_intermediate(kd.heads.Segmentation(11), ["stage1", "stage2"])
    >>> sorted(layer_cascade(trunk, heads=heads).output)
    ['segmentation', 'stage1', 'stage2']
    """
    heads, thresholds = as_heads(heads, num_classes), check_thresholds(thresholds, len(levels))
    mode = _mode(heads)
    decoder = layer_cascade_decoder(
        levels,
        filters=filters,
        dropout=dropout,
        thresholds=None if mode is None else thresholds,
        mode=mode or "multiclass",
    )
    trunk = dilate(trunk_of(backbone, weights, input_shape), 8)
    return finished(trunk, decoder, heads, input_shape, name or "layer_cascade", initialize_from)

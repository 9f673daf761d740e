"""Fully convolutional networks.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015 and
PAMI 2017.
"""

import keras
from keras import layers

from keras_dense._types import Features, Tensor
from keras_dense.backbones import application, check_shape, family_of
from keras_dense.heads import Heads
from keras_dense.models.decoder import Wanted, scores
from keras_dense.models.parts import backbone_of, finished, is_vgg
from keras_dense.models.upsampling import upsample
from keras_dense.surgery import convolutionalize, replace_input
from keras_dense.surgery.feature_pyramid import feature, last_features, stages
from keras_dense.surgery.graph import functional, source_of
from keras_dense.surgery.strides import stride_between
from keras_dense.surgery.top import fully_connected

# What the at-once training multiplies the skipped features by, since their scale grows with depth.
_AT_ONCE = {"P4": 0.01, "P3": 0.0001}


def fcn_decoder(skips=("P4", "P3"), *, learned=True, per_channel=False, at_once=False):
    """Scores of the coarsest feature, upsampled, plus the scores of finer ones.

    Args:
        skips: levels to add, coarsest first: `()` is FCN-32s, `("P4",)` FCN-16s, `("P4", "P3")`
            FCN-8s.
        learned: whether the upsampling, which starts as bilinear, is trained.
        per_channel: upsample each class by itself (no mixing, far fewer weights).
        at_once: scale the skipped features as in the authors' at-once training.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """

    def upscore(x, like, name):
        return upsample(
            x,
            stride_between(like, x),
            "transposed",
            per_channel=per_channel,
            learnable=learned,
            name=name,
        )

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix

        def score(level):
            # Zeros: the paper saw no gain from random scores, and a skip that starts with zero
            # leaves the predictions of the coarser network as they were.
            x = feature(features, level, "FCN")
            if at_once and level in _AT_ONCE:
                x = layers.Rescaling(_AT_ONCE[level], name=f"{prefix}scale_{level}")(x)
            return layers.Conv2D(
                channels,
                1,
                kernel_initializer="zeros",
                name=f"{prefix}score_{level}",
                data_format="channels_last",
            )(x)

        x, level = score("P5"), "P5"
        for skip in skips:
            x = upscore(x, feature(features, skip, "FCN"), f"{prefix}upscore_{level}")
            x = layers.Add(name=f"{prefix}fuse_{skip}")([x, score(skip)])
            level = skip
        image = source_of(x)
        factor = stride_between(image, x)[0]
        return upscore(x, image, f"{prefix}upscore{factor}")

    return decode


def _transplanted(classifier, channels):
    """The paper's backbone: hidden fully connected layers become convolutions with dropout, and the
    skips read the maps right after pooling."""
    dense = convolutionalize(classifier, padding="same", include_top=False, dropout=0.5)
    features = {level: maps[0].tensor for level, maps in stages(dense).items()}
    features["P5"] = last_features(dense)["P5"]
    backbone = keras.Model(dense.inputs[0], features, name="backbone")
    return backbone if channels == 3 else replace_input(backbone, channels)


def fcn_backbone(backbone, weights, input_shape):
    """A backbone in which hidden fully connected layers are convolutions, if there are any."""
    if is_vgg(backbone):
        name, _ = family_of(backbone)
        backbone = application(name, weights, standardize=True, include_top=True)
    classifier = not isinstance(backbone, str) and not isinstance(
        functional(backbone, "backbone").output, dict
    )
    if classifier and fully_connected(backbone):
        return _transplanted(backbone, check_shape(input_shape)[-1])
    return backbone_of(backbone, weights, input_shape)


def _fcn(
    skips, backbone, num_classes, heads, weights, input_shape, name, initialize_from, **decoder
):
    heads = Heads.of(heads, num_classes)
    backbone = fcn_backbone(backbone, weights, input_shape)
    return finished(
        backbone, fcn_decoder(skips, **decoder), heads, input_shape, name, initialize_from
    )


def fcn32s(
    backbone="vgg16",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    learned=True,
    per_channel=False,
):
    """FCN-32s: class scores at stride 32, upsampled by one learned transposed convolution.

    Args:
        backbone: name of a `keras.applications` network ("vgg16", "ResNet50", …), a backbone from
            `kd.backbone`, or a functional `keras.Model`. A classifier with hidden fully connected
            layers (VGG, your own) is taken as in the paper: they become convolutions with
            dropout .5, and skips read the maps right after pooling. Of other networks the last
            feature of each stride is read.
        num_classes: short for `heads=kd.heads.Segmentation(num_classes)`; default 21.
        heads: a head, or a dict of heads; not together with `num_classes`.
        weights: of the backbone, where it is a name: "imagenet", `None` for random ones, or the
            path of a weights file (for VGG one with its top).
        input_shape: `(height, width, channels)`, `None` for free sizes.
        name: name of the model.
        initialize_from: a model of the same layers to start from, or the path of its
            `.keras` file.
        learned: whether the upsampling, bilinear at first, is trained.
        per_channel: upsample each class by itself, with far fewer weights.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: see `kd.backbone`, `kd.heads.Segmentation`, `kd.assemble`.

    Reference: Long, Shelhamer, Darrell, CVPR 2015, section 4; PAMI 2017.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> fcn32s(backbone, 11).output_shape
    (None, None, None, 11)
    """
    return _fcn(
        (),
        backbone,
        num_classes,
        heads,
        weights,
        input_shape,
        name or "fcn32s",
        initialize_from,
        learned=learned,
        per_channel=per_channel,
    )


def fcn16s(
    backbone="vgg16",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    learned=True,
    per_channel=False,
    at_once=False,
):
    """FCN-16s: FCN-32s with the scores of stride 16 added before upsampling.

    Args:
        backbone: name of a `keras.applications` network ("vgg16", "ResNet50", …), a backbone from
            `kd.backbone`, or a functional `keras.Model`. A classifier with hidden fully connected
            layers (VGG, your own) is taken as in the paper: they become convolutions with
            dropout .5, and skips read the maps right after pooling. Of other networks the last
            feature of each stride is read.
        num_classes: short for `heads=kd.heads.Segmentation(num_classes)`; default 21.
        heads: a head, or a dict of heads; not together with `num_classes`.
        weights: of the backbone, where it is a name: "imagenet", `None` for random ones, or the
            path of a weights file (for VGG one with its top).
        input_shape: `(height, width, channels)`, `None` for free sizes.
        name: name of the model.
        initialize_from: a trained `fcn32s` to start from, or the path of its `.keras` file.
        learned: whether the upsampling, bilinear at first, is trained.
        per_channel: upsample each class by itself, with far fewer weights.
        at_once: scale the skipped features (pool4 by .01, pool3 by .0001) as the authors do to
            train all streams at once instead of in stages.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: see `kd.backbone`, `kd.heads.Segmentation`, `kd.assemble`.

    Reference: Long, Shelhamer, Darrell, CVPR 2015, section 4; PAMI 2017.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> fcn16s(backbone, 11).output_shape
    (None, None, None, 11)
    """
    return _fcn(
        ("P4",),
        backbone,
        num_classes,
        heads,
        weights,
        input_shape,
        name or "fcn16s",
        initialize_from,
        learned=learned,
        per_channel=per_channel,
        at_once=at_once,
    )


def fcn8s(
    backbone="vgg16",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    learned=True,
    per_channel=False,
    at_once=False,
):
    """FCN-8s: FCN-16s with the scores of stride 8 added before upsampling.

    Args:
        backbone: name of a `keras.applications` network ("vgg16", "ResNet50", …), a backbone from
            `kd.backbone`, or a functional `keras.Model`. A classifier with hidden fully connected
            layers (VGG, your own) is taken as in the paper: they become convolutions with
            dropout .5, and skips read the maps right after pooling. Of other networks the last
            feature of each stride is read.
        num_classes: short for `heads=kd.heads.Segmentation(num_classes)`; default 21.
        heads: a head, or a dict of heads; not together with `num_classes`.
        weights: of the backbone, where it is a name: "imagenet", `None` for random ones, or the
            path of a weights file (for VGG one with its top).
        input_shape: `(height, width, channels)`, `None` for free sizes.
        name: name of the model.
        initialize_from: a trained `fcn16s` (or `fcn32s`) to start from, or the path of its
            `.keras` file.
        learned: whether the upsampling, bilinear at first, is trained.
        per_channel: upsample each class by itself, with far fewer weights.
        at_once: scale the skipped features (pool4 by .01, pool3 by .0001) as the authors do to
            train all streams at once instead of in stages.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: see `kd.backbone`, `kd.heads.Segmentation`, `kd.assemble`.

    Reference: Long, Shelhamer, Darrell, CVPR 2015, section 4; PAMI 2017.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> fcn8s(backbone, 11).output_shape
    (None, None, None, 11)
    """
    return _fcn(
        ("P4", "P3"),
        backbone,
        num_classes,
        heads,
        weights,
        input_shape,
        name or "fcn8s",
        initialize_from,
        learned=learned,
        per_channel=per_channel,
        at_once=at_once,
    )

"""Fully convolutional networks.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015 and
PAMI 2017.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.build import HeadsLike, build
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.models.fcn_backbone import fcn_backbone, fcn_backbone_with_margin
from keras_dense.models.fcn_margin import (
    cropped,
    margin_grid,
    to_image,
    unpadded_upscore,
)
from keras_dense.models.upsampling import upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between

# Factors of the skipped features in at-once training, since their scale grows with depth.
_AT_ONCE = {"P4": 0.01, "P3": 0.0001}
# With more channels of scores each is upsampled alone, unless asked for otherwise.
_MIXED = 100


def fcn_decoder(
    skips: Sequence[str] = ("P4", "P3"),
    *,
    learned: bool = True,
    per_channel: bool | None = None,
    at_once: bool = False,
    use_bias: bool = False,
    offsets: Sequence[int] | None = None,
) -> Decoder:
    """Scores of the coarsest feature, upsampled, plus the scores of finer ones.

    Args:
        skips: tuple of str, features to add, coarsest first: `()` is FCN-32s, `("P4",)` FCN-16s,
            `("P4", "P3")` FCN-8s.
        learned: bool, whether the upsampling, which starts as bilinear, is trained.
        per_channel: bool, whether each class is upsampled alone (no mixing, far fewer weights);
            default: with more than 100 channels of scores.
        at_once: bool, whether skipped features are scaled as in the authors' at-once training.
        use_bias: bool, whether upsampled scores get a bias.
        offsets: ints, one for each skip and one for the image: rows and columns that are cut off at
            the top and the left of each map before it is added, and of the result, for a backbone
            with a margin, such as (5, 9, 31). Upsampled maps then keep their borders.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for another number of offsets.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.fcn(("P4", "P3", "P2"), per_channel=True)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    kernels = {"learnable": learned, "use_bias": use_bias}
    if offsets is not None:
        offsets = _check.integers(offsets, "offsets", low=0, length=len(skips) + 1)

    def upscore(x: Tensor, like: Tensor, name: str, last: bool = False) -> Tensor:
        factor = stride_between(like, x)
        if offsets is None:
            return upsample(x, factor, "transposed", like=like, name=name, **kernels)
        cut = offsets[-1] if last else 0
        x = unpadded_upscore(x, factor[0], cut, name=name, **kernels)
        return to_image(x, like, name=name) if last else x

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        kernels["per_channel"] = channels > _MIXED if per_channel is None else per_channel

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
        for n, skip in enumerate(skips):
            x = upscore(x, feature(features, skip, "FCN"), f"{prefix}upscore_{level}")
            y = score(skip)
            if offsets is not None:
                y = cropped(y, x, offsets[n], name=f"{prefix}score_{skip}")
            x = layers.Add(name=f"{prefix}fuse_{skip}")([x, y])
            level = skip
        image = source_of(x)
        factor = stride_between(image, x)[0]
        return upscore(x, image, f"{prefix}upscore{factor}", last=True)

    return decode


def _fcn(
    skips: Sequence[str],
    backbone: str | keras.Model,
    num_classes: int | None,
    heads: HeadsLike | None,
    weights: PathLike | None,
    input_shape: Shape,
    name: str,
    initialize_from: keras.Model | PathLike | None,
    grid: str | None,
    margin: bool,
    **settings: Any,
) -> keras.Model:
    heads = Heads.of(heads, num_classes)
    if _check.flag(margin, "margin"):
        grid = margin_grid(grid)
        backbone, settings["offsets"] = fcn_backbone_with_margin(
            backbone, weights, input_shape, skips
        )
    else:
        backbone = fcn_backbone(backbone, weights, input_shape)
    decoder = fcn_decoder(skips, **settings)
    return build(backbone, decoder, heads, input_shape, name, initialize_from, grid)


def fcn32s(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    learned: bool = True,
    per_channel: bool | None = None,
    margin: bool = False,
) -> keras.Model:
    """FCN-32s: class scores at stride 32, upsampled by one learned transposed convolution.

    For arguments, errors and the reference see `kd.fcn8s`, which adds scores of finer features.

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
        grid,
        margin,
        learned=learned,
        per_channel=per_channel,
    )


def fcn16s(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    learned: bool = True,
    per_channel: bool | None = None,
    at_once: bool = False,
    margin: bool = False,
) -> keras.Model:
    """FCN-16s: FCN-32s with the scores of stride 16 added before upsampling.

    For arguments, errors and the reference see `kd.fcn8s`. In the paper it starts from a trained
    FCN-32s, `initialize_from=fcn32s`.

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
        grid,
        margin,
        learned=learned,
        per_channel=per_channel,
        at_once=at_once,
    )


def fcn8s(
    backbone: str | keras.Model = "vgg16",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    learned: bool = True,
    per_channel: bool | None = None,
    at_once: bool = False,
    margin: bool = False,
) -> keras.Model:
    """FCN-8s: FCN-16s with the scores of stride 8 added before upsampling.

    A classifier with hidden fully connected layers (VGG by name, your own) is used as in the paper:
    they become convolutions with dropout .5, and skips read the maps right after pooling. For other
    networks, the last feature of each stride is read.

    The paper trains in stages, each starting from the one before: `kd.fcn32s`, `kd.fcn16s`, and
    this network with `initialize_from=` a trained FCN-16s (or FCN-32s).

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. For VGG, the weights file must include the top.
        learned: bool, whether the upsampling, which starts as bilinear, is trained.
        per_channel: bool, whether each class is upsampled alone, with far fewer weights. By
            default with more than 100 classes: the paper's kernels, from every class to every
            class, grow with the square of their number (FCN-8s: .1 million weights for 21 classes,
            288 million for 1,000; alone .3 million).
        at_once: bool, whether skipped features are scaled (pool4 by .01, pool3 by .0001), as the
            authors do to train all streams at once instead of in stages.
        margin: bool, whether the network has the authors' margin: 100 zeros on each side of the
            image, no padding later on, and maps that are cropped to fit. Their published weights
            need it. It costs the memory of `(H + 198)(W + 198)` pixels. For classifiers with
            fully connected layers.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a margin with a backbone that has no fully connected layers, or
            with a grid other than "image"; see `kd.backbone`, `kd.heads.Segmentation`,
            `kd.assemble`.

    Reference: Long, Shelhamer, Darrell, CVPR 2015, section 4; PAMI 2017.

    Example:

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
        grid,
        margin,
        learned=learned,
        per_channel=per_channel,
        at_once=at_once,
    )

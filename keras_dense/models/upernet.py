"""UPerNet.

Xiao, Liu, Zhou, Jiang, Sun, "Unified Perceptual Parsing for Scene Understanding", ECCV 2018.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import conv_bn_relu, pyramid_pooling
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.upsampling import check_upsampling, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")


def _normalized(normalize, levels):
    """The levels where layer norm comes first."""
    if isinstance(normalize, (bool, np.bool_)):
        return levels if normalize else ()
    if isinstance(normalize, str) or not set(normalize) <= set(levels):
        raise _check.fail("normalize", f"True, False, or some of {levels}", normalize)
    return tuple(normalize)


def upernet_decoder(
    filters: int = 512,
    *,
    bins: Sequence[int] = (1, 2, 3, 6),
    levels: Sequence[str] = LEVELS,
    normalize: bool | Sequence[str] = False,
    upsampling: str = "bilinear",
    dropout: float = 0.1,
) -> Decoder:
    """A feature pyramid below pyramid pooling, fused at the stride of its finest map (figure 4).

    The coarsest feature goes through the pyramid pooling of PSPNet. From there to the finest, the
    sum so far is upsampled and added to the next feature. All sums are convolved, brought to the
    size of the finest, concatenated and convolved.

    Args:
        filters: int >= 1, channels of all maps.
        bins: tuple of ints >= 1, parts along each side in pyramid pooling.
        levels: tuple of str, the features that are read, coarsest first.
        normalize: bool, whether layer norm over the channels comes first at each feature, for
            backbones whose stages do not end in a normalization (ConvNeXt, transformers); or the
            names of the features where it does: `("P4", "P3", "P2")` for Swin, which normalizes
            its last map itself.
        upsampling: str, the way between the levels, see `kd.decoders.upsample`.
        dropout: float from 0 to below 1, dropout rate of the result.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for widths or bins below 1, no levels, an unknown upsampling, or a name in
            `normalize` that is no level.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.upernet(32)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters = _check.integer(filters, "filters", low=1)
    bins, levels = _check.integers(bins, "bins"), tuple(levels)
    if not levels:
        raise _check.fail("levels", "one or more names of features, coarsest first", levels)
    normalized = _normalized(normalize, levels)
    upsampling = check_upsampling(upsampling)
    dropout = _check.number(dropout, "dropout", 0, below=1)

    def read(features: Features, level: str) -> Tensor:
        x = feature(features, level)
        if level in normalized:
            x = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{level}")(x)
        return x

    def bring(x: Tensor, like: Tensor, name: str) -> Tensor:
        return upsample(x, stride_between(like, x), upsampling, like=like, name=name)

    @read_through(1)
    def decode(features: Features) -> Tensor:
        top, *finer = levels
        x = pyramid_pooling(read(features, top), bins, filters)
        x = conv_bn_relu(x, filters, 3, name="pyramid_fuse")
        maps = {top: x}
        for level in finer:
            lateral = conv_bn_relu(read(features, level), filters, 1, name=f"lateral_{level}")
            x = bring(x, lateral, f"top_down_{level}")
            x = layers.Add(name=f"merge_{level}")([lateral, x])
            maps[level] = conv_bn_relu(x, filters, 3, name=f"fpn_{level}")
        finest = maps[levels[-1]]
        brought = [bring(maps[level], finest, f"upsample_{level}") for level in levels[:-1]]
        if brought:  # finest first
            x = layers.Concatenate(name="concatenate")([finest, *brought[::-1]])
        else:
            x = finest
        x = conv_bn_relu(x, filters, 3, name="fuse")
        return layers.Dropout(dropout, name="dropout")(x)

    return decode


def upernet(
    backbone: str | keras.Model = "resnet50",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: int = 512,
    bins: Sequence[int] = (1, 2, 3, 6),
    upsampling: str = "bilinear",
) -> keras.Model:
    """UPerNet: a feature pyramid below pyramid pooling, without dilation; 64 M on ResNet-50.

    MMSegmentation's trains with an auxiliary loss on P4:
    `heads=kd.heads.with_auxiliary(kd.heads.Segmentation(150))`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The features P2 to P5 are read.
        filters: int >= 1, channels of all maps of the decoder.
        bins: tuple of ints >= 1, parts along each side in pyramid pooling.
        upsampling: str, the way between the levels, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for widths or bins below 1, or an unknown upsampling; see
            `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Xiao et al., ECCV 2018, section 3.1 and figure 4.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> upernet(backbone, 11, filters=16).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = upernet_decoder(filters, bins=bins, upsampling=upsampling)
    backbone = make_backbone(backbone, weights, input_shape)
    return build(backbone, decoder, heads, input_shape, name or "upernet", initialize_from, grid)

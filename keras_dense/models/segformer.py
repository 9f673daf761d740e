"""SegFormer.

Xie, Wang, Yu, Anandkumar, Alvarez, Luo, "SegFormer: Simple and Efficient Design for Semantic
Segmentation with Transformers", NeurIPS 2021.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import add, conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.upsampling import check_upsampling, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")


def segformer_decoder(
    filters: int = 256,
    *,
    levels: Sequence[str] = LEVELS,
    normalize: bool = False,
    upsampling: str = "bilinear",
    dropout: float = 0.1,
) -> Decoder:
    """The head of linear layers only (figure 2, equation 4): no window larger than a cell.

    Each feature is projected to the same number of channels, and all are fused at the stride of the
    finest. The paper upsamples, concatenates and then fuses. A linear layer of a concatenation is a
    sum of linear layers, and they commute with upsampling: here each feature goes through its part
    of the fusion at its own size, and the sum is the same.

    Args:
        filters: int >= 1, channels of all maps: 256 for MiT-B0 and B1, 768 for the others.
        levels: tuple of str, the features that are read, coarsest first.
        normalize: bool, whether batch norm and ReLU follow each projection, as in MMSegmentation.
        upsampling: str, the way to the finest feature, see `kd.decoders.upsample`.
        dropout: float from 0 to below 1, dropout rate of the result.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for a width below 1, no levels, or an unknown upsampling.

    Reference: Xie et al., NeurIPS 2021, section 3.2.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.segformer(32)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters, levels = _check.integer(filters, "filters", low=1), tuple(levels)
    if not levels:
        raise _check.fail("levels", "one or more names of features, coarsest first", levels)
    normalize = _check.flag(normalize, "normalize")
    upsampling = check_upsampling(upsampling)
    dropout = _check.number(dropout, "dropout", 0, below=1)

    def project(x: Tensor, level: str) -> Tensor:
        if normalize:
            return conv_bn_relu(x, filters, 1, name=f"project_{level}")
        return layers.Dense(filters, name=f"project_{level}")(x)

    @read_through(1)
    def decode(features: Features) -> Tensor:
        finest, maps = feature(features, levels[-1], "SegFormer"), []
        for level in levels:
            x = project(feature(features, level, "SegFormer"), level)
            x = layers.Dense(filters, use_bias=False, name=f"fuse_{level}")(x)
            factor, name = stride_between(finest, x), f"upsample_{level}"
            maps.append(upsample(x, factor, upsampling, like=finest, name=name))
        x = add(maps, "fuse")
        x = layers.BatchNormalization(epsilon=1e-5, name="fuse_bn")(x)
        x = layers.ReLU(name="fuse_relu")(x)
        return layers.Dropout(dropout, name="dropout")(x)

    return decode


def segformer(
    backbone: str | keras.Model = "mit_b0",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = None,
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: int = 256,
    upsampling: str = "bilinear",
    dropout: float = 0.1,
) -> keras.Model:
    """SegFormer: a hierarchical transformer and a head of linear layers; 3.7 M on MiT-B0.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The features P2 to P5 are read. `weights` is None by
            default: no ImageNet weights of "mit_b0" to "mit_b5" are published for Keras.
        filters: int >= 1, channels of all maps of the head: 256 for MiT-B0 and B1, else 768.
        upsampling: str, the way to the finest feature, see `kd.decoders.upsample`.
        dropout: float from 0 to below 1, dropout rate of the map that heads read.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a width below 1 or an unknown upsampling; see `kd.backbone`,
            `kd.heads.Segmentation`.

    Reference: Xie et al., NeurIPS 2021, figure 2 and table 1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> segformer(backbone, 11, filters=32).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = segformer_decoder(filters, upsampling=upsampling, dropout=dropout)
    backbone = make_backbone(backbone, weights, input_shape)
    return build(backbone, decoder, heads, input_shape, name or "segformer", initialize_from, grid)

"""DeepLabv3+.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import aspp, conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.deeplabv3 import RATES, rates_at
from keras_dense.models.upsampling import check_upsampling, upsample
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between


def deeplabv3plus_decoder(
    rates: Sequence[int] = RATES,
    *,
    filters: int = 256,
    low_filters: int = 48,
    convolutions: int = 2,
    separable: bool | str = False,
    image_pooling: bool = True,
    depthwise_bn: bool = True,
    projection_size: int = 1,
    refine: bool = False,
    dropout: float = 0.1,
    low_level: str = "P2",
    level: str = "P5",
    upsampling: str = "bilinear",
) -> Decoder:
    """The pyramid of DeepLabv3, upsampled and refined with a feature of stride 4 (figure 2).

    Args:
        rates: tuple of ints >= 1, dilation rates of the pyramid's 3×3 convolutions, in cells of the
            last feature; `()` for none of them.
        filters: int >= 1, channels of the pyramid and of the convolutions behind it.
        low_filters: int >= 1, channels that the finer feature is reduced to.
        convolutions: int >= 1, number of 3×3 convolutions after the finer feature is joined.
        separable: bool, whether the 3×3 convolutions are depthwise separable, as in the paper's
            fast variant; "decoder": all but those of the pyramid.
        image_pooling, depthwise_bn, projection_size, dropout: see `kd.decoders.aspp`.
        refine: bool, whether one more 3×3 convolution follows the pyramid before it is upsampled.
        low_level, level: str, the features that are read.
        upsampling: str, the way from the pyramid to the finer feature, see `kd.decoders.upsample`.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.deeplabv3plus((2, 4), separable=True)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    rates = _check.integers(rates, "rates", empty=True)
    filters = _check.integer(filters, "filters", low=1)
    low_filters = _check.integer(low_filters, "low_filters", low=1)
    convolutions = _check.integer(convolutions, "convolutions", low=1)
    projection_size = _check.integer(projection_size, "projection_size", low=1)
    separable = _check.choice(separable, "separable", (True, False, "decoder"))
    upsampling = check_upsampling(upsampling)

    def convolve(x: Tensor, name: str) -> Tensor:
        halves = {"separable": bool(separable), "depthwise_bn": depthwise_bn}
        return conv_bn_relu(x, filters, 3, **halves, name=name)

    @read_through(1)
    def decode(features: Features) -> Tensor:
        low = conv_bn_relu(feature(features, low_level), low_filters, 1, name="low_level")
        x = aspp(
            feature(features, level),
            rates,
            filters=filters,
            image_pooling=image_pooling,
            separable=separable is True,
            depthwise_bn=depthwise_bn,
            projection_size=projection_size,
            dropout=dropout,
        )
        x = convolve(x, "refine") if refine else x
        factor = stride_between(low, x)
        x = upsample(x, factor, upsampling, like=low, name="upsample_encoder")
        x = layers.Concatenate(name="decoder_concatenate")([x, low])
        for n in range(1, convolutions + 1):
            x = convolve(x, f"decoder_{n}")
        return x

    return decode


def deeplabv3plus(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    output_stride: int = 16,
    rates: Sequence[int] | None = None,
    separable: bool | None = None,
    image_pooling: bool = True,
    upsampling: str = "bilinear",
) -> keras.Model:
    """DeepLabv3+: DeepLabv3 as encoder, and a small decoder that recovers edges.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The paper's backbones are "resnet101" and the aligned
            "xception65" and "xception71".
        output_stride: int, stride of the dilated backbone: 32, 16, 8, …
        rates: tuple of ints >= 1, dilation rates of the pyramid; default (6, 12, 18) at output
            stride 16, scaled for others.
        separable: bool, whether the 3×3 convolutions of pyramid and decoder are depthwise
            separable; default: with the Xception backbones, as in the paper.
        image_pooling: bool, whether the mean of the whole map is part of the pyramid; the authors
            leave it out on Cityscapes.
        upsampling: str, the way from the pyramid to the finer feature, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for rates below 1, or an unknown upsampling; see `kd.backbone`,
            `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., ECCV 2018, section 3; tables 1 to 3 for the decoder's widths.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplabv3plus(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads, rates = Heads.of(heads, num_classes), rates_at(output_stride, rates)
    if separable is None:
        separable = isinstance(backbone, str) and "xception" in backbone.lower()
    backbone = dilate(make_backbone(backbone, weights, input_shape), output_stride)
    decoder = deeplabv3plus_decoder(
        rates, separable=separable, image_pooling=image_pooling, upsampling=upsampling
    )
    return build(
        backbone, decoder, heads, input_shape, name or "deeplabv3plus", initialize_from, grid
    )

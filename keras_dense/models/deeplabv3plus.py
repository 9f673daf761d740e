"""DeepLabv3+.

Chen, Zhu, Papandreou, Schroff, Adam, "Encoder-Decoder with Atrous Separable Convolution for
Semantic Image Segmentation", ECCV 2018.
"""

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.models.deeplabv3 import RATES, rates_at
from keras_dense.models.parts import aspp, backbone_of, conv_bn_relu, finished
from keras_dense.models.upsampling import check_upsampling, upsample
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between


def deeplabv3plus_decoder(
    rates=RATES,
    *,
    separable=False,
    image_pooling=True,
    low_level="P2",
    level="P5",
    upsampling="bilinear",
):
    """The pyramid of DeepLabv3, upsampled and refined with a feature of stride 4 (figure 2).

    Args:
        rates: of the pyramid's 3×3 convolutions, in cells of the last feature.
        separable: depthwise separable 3×3 convolutions, as in the paper's fast variant.
        image_pooling: whether the mean of the whole map is a part of the pyramid.
        low_level, level: the features that are read.
        upsampling: of the pyramid to the finer feature, see `kd.decoders.upsample`.

    Returns:
        A decoder for `kd.assemble`.
    """

    rates, upsampling = _check.integers(rates, "rates"), check_upsampling(upsampling)

    def decode(features: Features) -> Tensor:
        low = conv_bn_relu(feature(features, low_level), 48, 1, name="low_level")
        pyramid = {"image_pooling": image_pooling, "separable": separable}
        x = aspp(feature(features, level), rates, **pyramid)
        factor = stride_between(low, x)
        x = upsample(x, factor, upsampling, name="upsample_encoder")
        x = layers.Concatenate(name="decoder_concatenate")([x, low])
        x = conv_bn_relu(x, 256, 3, separable=separable, name="decoder_1")
        return conv_bn_relu(x, 256, 3, separable=separable, name="decoder_2")

    return decode


def deeplabv3plus(
    backbone="resnet101",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    output_stride=16,
    rates=None,
    separable=None,
    image_pooling=True,
    upsampling="bilinear",
):
    """DeepLabv3+: DeepLabv3 as encoder, and a small decoder that brings edges back.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. The paper's backbones are "resnet101" and the aligned
            "xception65" and "xception71".
        output_stride: of the dilated backbone: 32, 16, 8, …
        rates: of the pyramid; default (6, 12, 18) at output stride 16, scaled for others.
        separable: whether the 3×3 convolutions of pyramid and decoder are depthwise separable;
            default: with the Xception backbones, as in the paper.
        image_pooling: whether the mean of the whole map is a part of the pyramid; the authors
            leave it out on Cityscapes.
        upsampling: of the pyramid to the finer feature, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for rates below 1, an unknown upsampling; see `kd.backbone`,
            `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., ECCV 2018, section 3 and table 1 to 3 for the decoder's widths.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplabv3plus(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads, rates = Heads.of(heads, num_classes), rates_at(output_stride, rates)
    if separable is None:
        separable = isinstance(backbone, str) and "xception" in backbone.lower()
    backbone = dilate(backbone_of(backbone, weights, input_shape), output_stride)
    decoder = deeplabv3plus_decoder(
        rates, separable=separable, image_pooling=image_pooling, upsampling=upsampling
    )
    return finished(backbone, decoder, heads, input_shape, name or "deeplabv3plus", initialize_from)

"""SegNet, and SegNet-Basic.

Badrinarayanan, Kendall, Cipolla, "SegNet: A Deep Convolutional Encoder-Decoder Architecture for
Image Segmentation", PAMI 2017.
"""

import keras

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.backbones import check_shape
from keras_dense.heads import Heads
from keras_dense.layers import LocalResponseNormalization, MaxPoolWithArgmax2D
from keras_dense.models.decoder import read_through
from keras_dense.models.mirror import (
    backbone_with_indices,
    conv_bn,
    mirror_of,
    mirrored,
    unpooled,
    way_down,
)
from keras_dense.models.parts import finished
from keras_dense.surgery.feature_pyramid import feature


def segnet_decoder(depths=(2, 2, 3, 3, 3), pools=None):
    """The decoder of figure 2: unpooled by the encoder's indices, then its convolutions reversed.

    Args:
        depths: 3×3 convolutions at each level, finest first; the last one of the finest is that
            of the heads.
        pools: `{"I1": {"pool_size": …, "strides": …, "padding": …}, …}`, where the poolings of the
            backbone are not 2×2.

    Returns:
        A decoder for `kd.assemble`, above a backbone with indices (`kd.surgery.pool_with_indices`).
    """

    @read_through(3)
    def decode(features: Features) -> Tensor:
        x = feature(features, f"P{len(way_down(features, 'SegNet'))}", "SegNet")
        return mirrored(x, features, depths, pools, leave_last=True, reader="SegNet")

    return decode


def segnet(
    backbone="vgg16",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    depths=None,
):
    """SegNet: the convolutions of VGG-16, and their mirror image that unpools by stored indices.

    Nothing but the places of the maxima goes from the encoder to the decoder. 29.5 M weights, all
    convolutions with batch norm. The authors weight classes by `kd.training.median_frequency`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. The backbone must halve its maps by max pooling alone: VGG,
            or a network of your own. It gets batch norms where it has none; its weights stay.
        depths: convolutions of the decoder at each level, finest first; default: as many as the
            backbone has there, (2, 2, 3, 3, 3) of VGG-16.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a backbone that halves a map otherwise; see `kd.backbone`,
            `kd.heads.Segmentation`.

    Reference: Badrinarayanan et al., PAMI 2017, section 3 and figure 2.

    >>> x = image = keras.Input((None, None, 3))
    >>> for filters in (4, 8):
    ...     x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    ...     x = keras.layers.MaxPooling2D()(x)
    >>> segnet(keras.Model(image, x), 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    backbone = backbone_with_indices(backbone, weights, input_shape)
    mirror, pools = mirror_of(backbone, "SegNet")
    decoder = segnet_decoder(mirror if depths is None else depths, pools)
    return finished(backbone, decoder, heads, input_shape, name or "segnet", initialize_from)


def segnet_basic_backbone(filters=64, kernel_size=7, channels=3):
    """Four times a 7×7 convolution of 64, batch norm, ReLU and 2×2 pooling.

    As in the authors' network file, the image is not centered: local response normalization across
    its channels evens out bright and dark.
    """
    image = keras.Input((None, None, channels), name="image")
    x = LocalResponseNormalization(5, alpha=1e-4, beta=0.75, name="normalize")(image)
    features, indices = {}, {}
    for n in range(1, 5):
        x = conv_bn(x, filters, kernel_size, f"down{n}_conv")
        features[f"P{n - 1}"] = x
        pool = MaxPoolWithArgmax2D(data_format="channels_last", name=f"down{n}_pool")
        x, indices[f"I{n}"] = pool(x)
    return keras.Model(image, {**features, "P4": x, **indices}, name="backbone")


def segnet_basic_decoder(filters=64, kernel_size=7, pools=None):
    """Unpooled four times, each time followed by a 7×7 convolution and batch norm, without ReLU.

    Args:
        filters: of the convolutions; above another backbone the channels that its indices have.
        kernel_size: of the convolutions.
        pools: see `segnet_decoder`.

    Returns:
        A decoder for `kd.assemble`, above a backbone with indices.
    """

    def decode(features: Features) -> Tensor:
        levels = len(way_down(features, "SegNet-Basic"))
        x = feature(features, f"P{levels}", "SegNet-Basic")
        for n in range(levels, 0, -1):
            width = features[f"I{n - 1}"].shape[-1] if n > 1 else filters
            x = unpooled(x, features, n, pools)
            x = conv_bn(x, width, kernel_size, f"up{n}_conv", relu=False)
        return x

    return decode


def segnet_basic(
    backbone=None,
    num_classes=None,
    *,
    heads=None,
    weights=None,
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    filters=64,
    kernel_size=7,
):
    """SegNet-Basic: four poolings, one 7×7 convolution of 64 at each level; 1.4 M weights.

    The small network on which the paper compares decoders. Its decoder has no ReLU, and a 1×1
    convolution reads the scores. Trained from random weights.

    Args:
        backbone: `None` for the paper's encoder; otherwise as for `segnet`.
        num_classes, heads, weights, input_shape, name, initialize_from: as of every builder, see
            `kd.models`; `weights` are those of a backbone.
        filters: int ≥ 1, channels of all convolutions.
        kernel_size: int ≥ 1, of all convolutions.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for filters or a kernel below 1, weights without a backbone; see
            `segnet`.

    Reference: Badrinarayanan et al., PAMI 2017, section 3.1 (SegNet-Basic).

    >>> segnet_basic(num_classes=11, filters=4).output_shape
    (None, None, None, 11)
    """
    heads, channels = Heads.of(heads, num_classes), check_shape(input_shape)[-1]
    filters = _check.integer(filters, "filters", low=1)
    kernel_size = _check.integer(kernel_size, "kernel_size", low=1)
    pools = None
    if backbone is not None:
        backbone = backbone_with_indices(backbone, weights, input_shape)
        _, pools = mirror_of(backbone, "SegNet-Basic")
    elif weights is not None:
        raise ValueError(
            "`weights` are those of a backbone; start SegNet-Basic itself with `initialize_from=`. "
            f"Received: backbone=None, weights={weights!r}"
        )
    else:
        backbone = segnet_basic_backbone(filters, kernel_size, channels)
    decoder = segnet_basic_decoder(filters, kernel_size, pools)
    return finished(backbone, decoder, heads, input_shape, name or "segnet_basic", initialize_from)

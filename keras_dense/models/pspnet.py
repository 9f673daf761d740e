"""PSPNet.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import AdaptiveAveragePooling2D, ResizeLike
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def pspnet_decoder(bins: Sequence[int] = (1, 2, 3, 6), *, level: str = "P5") -> Decoder:
    """Pyramid pooling (figure 3c): the map and its means over 1, 4, 9 and 36 parts.

    Args:
        bins: tuple of ints >= 1, parts along each side.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> backbone = keras.Model(image, {"P3": layers.Conv2D(16, 8, strides=8)(image)})
    >>> decoder = kd.decoders.pspnet((1, 2), level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    bins = _check.integers(bins, "bins")

    @read_through(1)
    def decode(features: Features) -> Tensor:
        x = feature(features, level)
        width = x.shape[-1] // len(bins)
        maps = [x]
        for n in bins:
            part = AdaptiveAveragePooling2D(n, name=f"pool{n}")(x)
            part = conv_bn_relu(part, width, 1, name=f"pool{n}_conv")
            maps.append(ResizeLike(name=f"pool{n}_upsample")(part, x))
        x = layers.Concatenate(name="pyramid")(maps)
        x = conv_bn_relu(x, 512, 3, name="fuse")
        return layers.Dropout(0.1, name="dropout")(x)

    return decode


def pspnet(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    output_stride: int = 8,
    bins: Sequence[int] = (1, 2, 3, 6),
    strided_rate: str = "before",
) -> keras.Model:
    """PSPNet: a dilated backbone and pyramid pooling, which sees the whole scene.

    The published network is trained with an auxiliary loss on stage 4:
    `heads=kd.heads.with_auxiliary(kd.heads.Segmentation(21))`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: common to all
            builders, see `kd.models`. The authors' network files start with three 3×3 convolutions:
            "resnet50c", "resnet101c".
        output_stride: int, stride of the dilated backbone.
        bins: tuple of ints >= 1, parts along each side at the levels of the pyramid.
        strided_rate: str, the dilation rate of a convolution that lost its stride: "before", the
            rate before the stride (exact), or "after", the rate behind it (as published; the same
            where strides are in 1×1 convolutions).

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for bins below 1; see `kd.backbone`, `kd.surgery.dilate`,
            `kd.heads.Segmentation`.

    Reference: Zhao et al., CVPR 2017, section 3.2 and figure 3.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = kd.heads.with_auxiliary(kd.heads.Segmentation(11))
    >>> sorted(pspnet(backbone, heads=heads).output)
    ['auxiliary', 'segmentation']
    """
    heads, decoder = Heads.of(heads, num_classes), pspnet_decoder(bins)
    backbone = make_backbone(backbone, weights, input_shape)
    backbone = dilate(backbone, output_stride, strided_rate=strided_rate)
    return build(backbone, decoder, heads, input_shape, name or "pspnet", initialize_from)

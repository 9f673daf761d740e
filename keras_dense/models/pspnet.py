"""PSPNet.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017.
"""

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import AdaptiveAveragePooling2D, ResizeLike
from keras_dense.models.parts import backbone_of, conv_bn_relu, finished
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def pspnet_decoder(bins=(1, 2, 3, 6), *, level="P5"):
    """Pyramid pooling (figure 3c): means of 1, 4, 9 and 36 parts of the map beside the map.

    Args:
        bins: parts along each side.
        level: the feature that is read.

    Returns:
        A decoder for `kd.assemble`.
    """

    bins = _check.integers(bins, "bins")

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
    backbone="resnet101",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    output_stride=8,
    bins=(1, 2, 3, 6),
    strided_rate="before",
):
    """PSPNet: a dilated backbone and pyramid pooling, which sees the whole scene.

    The published network learns with an auxiliary loss on stage 4:
    `heads=kd.heads.with_auxiliary(kd.heads.Segmentation(21))`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. The authors' network files have three 3×3 convolutions
            as stem: "resnet50c", "resnet101c".
        output_stride: of the dilated backbone.
        bins: parts along each side of the pyramid's levels.
        strided_rate: the dilation of a convolution that lost its stride: that "before" the stride
            (exact), or that "after" (as published; the same where strides sit on 1×1
            convolutions).

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for bins below 1; see `kd.backbone`, `kd.surgery.dilate`,
            `kd.heads.Segmentation`.

    Reference: Zhao et al., CVPR 2017, section 3.2 and figure 3.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> heads = kd.heads.with_auxiliary(kd.heads.Segmentation(11))
    >>> sorted(pspnet(backbone, heads=heads).output)
    ['auxiliary', 'segmentation']
    """
    heads, decoder = Heads.of(heads, num_classes), pspnet_decoder(bins)
    backbone = backbone_of(backbone, weights, input_shape)
    backbone = dilate(backbone, output_stride, strided_rate=strided_rate)
    return finished(backbone, decoder, heads, input_shape, name or "pspnet", initialize_from)

"""PSPNet.

Zhao, Shi, Qi, Wang, Jia, "Pyramid Scene Parsing Network", CVPR 2017.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import conv_bn_relu, pyramid_pooling
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def pspnet_decoder(
    bins: Sequence[int] = (1, 2, 3, 6),
    *,
    filters: int = 512,
    bin_filters: int | None = None,
    mean_bn: bool = True,
    fuse_size: int = 3,
    scores_size: int = 1,
    dropout: float = 0.1,
    level: str = "P5",
) -> Decoder:
    """Pyramid pooling (figure 3c): the map and its means over 1, 4, 9 and 36 parts.

    Args:
        bins: tuple of ints >= 1, parts along each side.
        filters: int >= 1, channels of the result.
        bin_filters: int >= 1, channels of the means; default: those of the map, divided by their
            number.
        mean_bn: bool, batch norm of the mean of the whole map; without, its convolution has a bias.
        fuse_size: int >= 1, kernel size of the convolution that fuses all.
        scores_size: int >= 1, kernel size of the convolution that heads read the result through.
        dropout: float from 0 to below 1, dropout rate of the result.
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
    filters = _check.integer(filters, "filters", low=1)
    fuse_size = _check.integer(fuse_size, "fuse_size", low=1)
    scores_size = _check.integer(scores_size, "scores_size", low=1)
    if bin_filters is not None:
        bin_filters = _check.integer(bin_filters, "bin_filters", low=1)

    @read_through(scores_size)
    def decode(features: Features) -> Tensor:
        x = feature(features, level)
        width = x.shape[-1] // len(bins) if bin_filters is None else bin_filters
        x = pyramid_pooling(x, bins, width, mean_bn=mean_bn)
        x = conv_bn_relu(x, filters, fuse_size, name="fuse")
        return layers.Dropout(dropout, name="dropout")(x)

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
    grid: str | None = None,
    output_stride: int = 8,
    bins: Sequence[int] = (1, 2, 3, 6),
    strided_rate: str = "before",
) -> keras.Model:
    """PSPNet: a dilated backbone and pyramid pooling, which sees the whole scene.

    The published network is trained with an auxiliary loss on stage 4:
    `heads=kd.heads.with_auxiliary(kd.heads.Segmentation(21))`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The authors' network files start with three 3×3
            convolutions: "resnet50c", "resnet101c".
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
    return build(backbone, decoder, heads, input_shape, name or "pspnet", initialize_from, grid)

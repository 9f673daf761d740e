"""LR-ASPP.

Howard et al., "Searching for MobileNetV3", ICCV 2019.
"""

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.models.upsampling import upsample
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between


def lraspp_decoder(filters: int = 128, *, low_level: str = "P3", level: str = "P5") -> Decoder:
    """Lite reduced atrous spatial pyramid pooling (figure 10).

    The last feature, reduced to few channels, is weighted from 0 to 1 by channel, as the mean of
    the whole map decides. Its scores are upsampled, and those of a finer feature added.

    Args:
        filters: int >= 1, channels that the last feature is reduced to.
        low_level, level: str, the features that are read.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for a number of filters below 1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.lraspp(32)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters = _check.integer(filters, "filters", low=1)

    def weighted(x: Tensor) -> Tensor:
        mean = layers.GlobalAveragePooling2D(
            keepdims=True, name="mean_of_map", data_format="channels_last"
        )(x)
        weight = layers.Conv2D(
            filters,
            1,
            use_bias=False,
            activation="sigmoid",
            name="mean_weight",
            data_format="channels_last",
        )(mean)
        x = conv_bn_relu(x, filters, 1, name="reduce")
        return layers.Multiply(name="weighted")([x, weight])

    def decode(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        low, high = feature(features, low_level), weighted(feature(features, level))
        factor = stride_between(low, high)

        def sum_of_scores(head: Wanted) -> Tensor:
            fine, coarse = (
                layers.Conv2D(
                    head.channels,
                    1,
                    name=f"{head.prefix}scores_{which}",
                    data_format="channels_last",
                )(x)
                for which, x in (("low", low), ("high", high))
            )
            # Upsampled after the convolution, where there are fewer channels: both are linear.
            coarse = upsample(coarse, factor, like=fine, name=f"{head.prefix}upsample_high")
            return layers.Add(name=f"{head.prefix}scores")([fine, coarse])

        return {key: Prediction(sum_of_scores(head)) for key, head in wanted.items()}

    return Decoder(decode)


def lraspp(
    backbone: str | keras.Model = "mobilenet_v3_large",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    output_stride: int = 16,
    filters: int = 128,
) -> keras.Model:
    """LR-ASPP: a mobile network for real time; 3.2 M weights with MobileNetV3-Large.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The features P3 and P5 are read.
        output_stride: int, stride of the dilated backbone: 32, 16 or 8.
        filters: int >= 1, channels that the last feature is reduced to.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a number of filters below 1; see `kd.backbone`,
            `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Howard et al., ICCV 2019, section 6.4 and figure 10. The mean is taken over the whole
    map, as in torchvision, not over windows of 49×49 cells.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> lraspp(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads, decoder = Heads.of(heads, num_classes), lraspp_decoder(filters)
    backbone = dilate(make_backbone(backbone, weights, input_shape), output_stride)
    return build(backbone, decoder, heads, input_shape, name or "lraspp", initialize_from, grid)

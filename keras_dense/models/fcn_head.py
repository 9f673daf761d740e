"""The head of FCNs on dilated backbones, as in torchvision and MMSegmentation.

Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015, on
the backbones of Yu, Koltun, Funkhouser, "Dilated Residual Networks", CVPR 2017.
"""

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.surgery.feature_pyramid import feature


def fcn_head_decoder(
    filters: int | None = None,
    *,
    convolutions: int = 1,
    join: bool = False,
    dropout: float = 0.1,
    level: str = "P5",
) -> Decoder:
    """A 3×3 convolution, batch norm and ReLU on one feature, without skips.

    torchvision's has a quarter of the channels of the feature; MMSegmentation's 512, two
    convolutions, and a third one on their result beside the feature:
    `fcn_head(512, convolutions=2, join=True)`.

    Args:
        filters: int >= 1, channels of each convolution; default: a quarter of those of the feature.
        convolutions: int >= 1, number of 3×3 convolutions.
        join: bool, whether a further one reads the feature and the result, concatenated.
        dropout: float from 0 to below 1, dropout rate of the result.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for a number of filters or convolutions below 1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> backbone = kd.surgery.dilate(backbone, 8)
    >>> decoder = kd.decoders.fcn_head(64)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    if filters is not None:
        filters = _check.integer(filters, "filters", low=1)
    convolutions = _check.integer(convolutions, "convolutions", low=1)
    dropout = _check.number(dropout, "dropout", 0, below=1)

    @read_through(1)
    def decode(features: Features) -> Tensor:
        x = seen = feature(features, level)
        width = max(seen.shape[-1] // 4, 1) if filters is None else filters
        for n in range(1, convolutions + 1):
            x = conv_bn_relu(x, width, 3, name=f"head_{n}")
        if join:
            x = layers.Concatenate(name="head_join")([seen, x])
            x = conv_bn_relu(x, width, 3, name="head_fuse")
        return layers.Dropout(dropout, name="dropout")(x)

    return decode

"""ResNet-38.

Wu, Shen, van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition",
Pattern Recognition 2019 (arXiv:1611.10080).
"""

import keras

from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import AtrousConv2D
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def resnet38_decoder(rate: int = 12, *, level: str = "P5") -> Decoder:
    """Two 3×3 convolutions at a rate: 512 channels, then the scores.

    Args:
        rate: int >= 1, dilation rate of both.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> backbone = keras.Model(image, {"P3": keras.layers.Conv2D(16, 8, strides=8)(image)})
    >>> decoder = kd.decoders.resnet38(4, level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        x = conv_bn_relu(feature(features, level), 512, 3, rate=rate, name=f"{prefix}linear1")
        score = AtrousConv2D(
            channels, 3, rate=rate, data_format="channels_last", name=f"{prefix}linear2"
        )
        return score(x)

    return decode


def resnet38(
    backbone: str | keras.Model = "resnet38",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = None,
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    output_stride: int = 8,
    rate: int = 12,
) -> keras.Model:
    """ResNet-38 (model A1): a wide and shallow pre-activation backbone at stride 8, 124 M weights.

    The authors train it with `kd.losses.OhemCrossEntropy` (bootstrapping of hard pixels).

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. `weights` is `None` by default, since no ImageNet weights
            of this backbone are published for Keras.
        output_stride: int, stride of the dilated backbone.
        rate: int >= 1, dilation rate of the two convolutions that predict.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: see `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Wu et al., arXiv:1611.10080, section 5 and table 1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> resnet38(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    backbone = dilate(make_backbone(backbone, weights, input_shape), output_stride)
    return build(
        backbone,
        resnet38_decoder(rate),
        heads,
        input_shape,
        name or "resnet38",
        initialize_from,
        grid,
    )

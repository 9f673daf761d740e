"""ResNet-38.

Wu, Shen, van den Hengel, "Wider or Deeper: Revisiting the ResNet Model for Visual Recognition",
Pattern Recognition 2019 (arXiv:1611.10080).
"""

from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import AtrousConv2D
from keras_dense.models.decoder import Wanted, scores
from keras_dense.models.parts import backbone_of, conv_bn_relu, finished
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature


def resnet38_decoder(rate=12, *, level="P5"):
    """Two 3×3 convolutions at a rate: 512 channels, then the scores.

    Args:
        rate: of both.
        level: the feature that is read.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        x = conv_bn_relu(feature(features, level), 512, 3, rate, name=f"{prefix}linear1")
        score = AtrousConv2D(
            channels, 3, rate=rate, data_format="channels_last", name=f"{prefix}linear2"
        )
        return score(x)

    return decode


def resnet38(
    backbone="resnet38",
    num_classes=None,
    *,
    heads=None,
    weights=None,
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    output_stride=8,
    rate=12,
):
    """ResNet-38 (model A1): a wide and shallow pre-activation backbone at stride 8, 124 M weights.

    The authors train it with `kd.losses.OhemCrossEntropy` (bootstrapping of hard pixels).

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`. No ImageNet weights of this backbone are published for Keras,
            so here `weights` is `None` by default.
        output_stride: of the dilated backbone.
        rate: of the two convolutions that predict.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: see `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Wu et al., arXiv:1611.10080, section 5 and table 1.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> resnet38(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    backbone = dilate(backbone_of(backbone, weights, input_shape), output_stride)
    return finished(
        backbone, resnet38_decoder(rate), heads, input_shape, name or "resnet38", initialize_from
    )

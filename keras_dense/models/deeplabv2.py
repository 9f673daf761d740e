"""DeepLabv2.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", PAMI 2018.
"""

from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.heads import Heads
from keras_dense.models.decoder import Wanted, scores
from keras_dense.models.deeplab_largefov import fully_connected_branch, largefov_backbone
from keras_dense.models.parts import added, backbone_of, finished, is_vgg, summed_scores
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature

_SCORES = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}


def deeplabv2_decoder(rates=(6, 12, 18, 24), *, hidden=False, level="P5"):
    """Atrous spatial pyramid pooling by sum (figures 4 and 7): scores at four rates, added up.

    Args:
        rates: of the 3×3 convolutions, in cells of the feature.
        hidden: whether each branch has the fully connected layers of VGG, as convolutions of 1024
            channels with dropout, before its scores.
        level: the feature that is read.

    Returns:
        A decoder for `kd.assemble` that predicts the scores of a head.
    """
    rates = _check.integers(rates, "rates")

    @scores
    def decode(features: Features, wanted: Wanted) -> Tensor:
        channels, prefix = wanted.channels, wanted.prefix
        x = feature(features, level)
        if not hidden:
            return summed_scores(x, channels, rates, prefix=prefix, kernel_initializer=_SCORES)
        branches = []
        for n, rate in enumerate(rates, 1):
            y = fully_connected_branch(x, rate, suffix=f"_{n}", prefix=prefix)
            branches.append(
                layers.Conv2D(channels, 1, name=f"{prefix}fc8_{n}", data_format="channels_last")(y)
            )
        return added(branches, name=f"{prefix}aspp")

    return decode


def deeplabv2(
    backbone="resnet101",
    num_classes=None,
    *,
    heads=None,
    weights="imagenet",
    input_shape=(None, None, 3),
    name=None,
    initialize_from=None,
    output_stride=8,
    rates=(6, 12, 18, 24),
):
    """DeepLabv2 (ASPP-L): a dilated backbone, and the sum of scores seen at four rates.

    With "vgg16" or "vgg19" the backbone is that of DeepLab-LargeFOV, and each rate has its own fully
    connected layers; other backbones are dilated exactly and scored directly, as ResNet-101 is in
    the paper. The paper's dense CRF comes afterwards.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: as of every
            builder, see `kd.models`.
        output_stride: of the dilated backbone (8 with VGG).
        rates: of the four branches.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for rates below 1, or another output stride than 8 with VGG; see
            `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., PAMI 2018, sections 3.2 and 4.1.2.

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplabv2(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    vgg = is_vgg(backbone)
    if vgg and output_stride != 8:
        raise ValueError(
            "The VGG of DeepLab has output stride 8. For another pass a backbone, which is dilated "
            f"exactly: `kd.backbone({backbone!r})`. Received: output_stride={output_stride!r}"
        )
    decoder = deeplabv2_decoder(rates, hidden=vgg)
    backbone = backbone_of(backbone, weights, input_shape)
    backbone = largefov_backbone(backbone) if vgg else dilate(backbone, output_stride)
    return finished(backbone, decoder, heads, input_shape, name or "deeplabv2", initialize_from)

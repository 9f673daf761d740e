"""DeepLabv2.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep
Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", PAMI 2018.
"""

from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import add, summed_scores
from keras_dense.models.build import HeadsLike, build, is_vgg_name, make_backbone
from keras_dense.models.decoder import Decoder, Wanted, scores
from keras_dense.models.deeplab_largefov import fully_connected_branch, largefov_backbone
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature

_SCORES = {"class_name": "RandomNormal", "config": {"stddev": 0.01}}


def deeplabv2_decoder(
    rates: Sequence[int] = (6, 12, 18, 24), *, hidden: bool = False, level: str = "P5"
) -> Decoder:
    """Atrous spatial pyramid pooling by sum (figures 4 and 7): scores at four rates, added up.

    Args:
        rates: tuple of ints >= 1, dilation rates of the 3×3 convolutions, in cells of the feature.
        hidden: bool, whether each branch has the fully connected layers of VGG before its scores,
            as convolutions of 1024 channels with dropout.
        level: str, the feature that is read.

    Returns:
        A decoder for `kd.assemble`.

    Example:

    >>> import keras_dense as kd
    >>> image = keras.Input((None, None, 3))
    >>> backbone = keras.Model(image, {"P3": layers.Conv2D(16, 8, strides=8)(image)})
    >>> decoder = kd.decoders.deeplabv2((6, 12), level="P3")
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
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
        return add(branches, name=f"{prefix}aspp")

    return decode


def deeplabv2(
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
    rates: Sequence[int] = (6, 12, 18, 24),
) -> keras.Model:
    """DeepLabv2 (ASPP-L): a dilated backbone, and the sum of scores at four rates.

    With "vgg16" or "vgg19" the backbone is that of DeepLab-LargeFOV, and each rate has its own
    fully connected layers. Other backbones are dilated exactly and scored directly, like ResNet-101
    in the paper. The paper applies a dense CRF afterwards, see `kd.with_crf`.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`.
        output_stride: int, stride of the dilated backbone (with VGG always 8).
        rates: tuple of ints >= 1, dilation rates of the branches.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for rates below 1, or an output stride other than 8 with VGG; see
            `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Chen et al., PAMI 2018, sections 3.2 and 4.1.2.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> deeplabv2(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    vgg = is_vgg_name(backbone)
    if vgg and output_stride != 8:
        raise ValueError(
            "`output_stride` must be 8 for DeepLab's VGG. For another one pass a backbone, "
            f"`kd.backbone({backbone!r})`, which is dilated exactly. "
            f"Received: output_stride={output_stride!r}"
        )
    decoder = deeplabv2_decoder(rates, hidden=vgg)
    backbone = make_backbone(backbone, weights, input_shape)
    backbone = largefov_backbone(backbone) if vgg else dilate(backbone, output_stride)
    return build(backbone, decoder, heads, input_shape, name or "deeplabv2", initialize_from, grid)

"""LinkNet.

Chaurasia, Culurciello, "LinkNet: Exploiting Encoder Representations for Efficient Semantic
Segmentation", VCIP 2017.
"""

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.unet_blocks import steps_up
from keras_dense.models.upsampling import check_upsampling, upsample


def linknet_decoder(
    filters: int = 32, *, upsampling: str = "transposed", use_bias: bool = False
) -> Decoder:
    """Narrow blocks that upsample, each added to the feature of its size (figure 2).

    A block reduces the channels to a quarter (1×1), upsamples, and widens them to those of the next
    feature (1×1), each with batch norm and ReLU.

    Args:
        filters: int >= 1, channels at the size of the image, or wherever the backbone has no
            feature.
        upsampling: str, see `kd.decoders.upsample`; by default transposed convolutions of 4×4,
            which start as bilinear upsampling, instead of the paper's 3×3.
        use_bias: bool, whether the transposed convolutions have a bias. Batch norm after them makes
            it useless, but files of segmentation_models_pytorch have it.

    Returns:
        A decoder for `kd.assemble`. It adds those of the features P0, P1, … that the backbone has.

    Raises:
        ValueError: for a number of filters below 1, or an unknown upsampling.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.linknet(8)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters = _check.integer(filters, "filters", low=1)
    upsampling = check_upsampling(upsampling)
    bias = {} if upsampling in ("bilinear", "nearest") else {"use_bias": use_bias}

    @read_through(1)
    def decode(features: Features) -> Tensor:
        x, steps = steps_up(features, None)
        for step in steps:
            name, skip = f"up{step.level}", step.skip
            x = conv_bn_relu(x, max(x.shape[-1] // 4, 1), 1, name=f"{name}_reduce")
            x = upsample(x, step.factor, upsampling, like=step.like, name=name, **bias)
            x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
            width = filters if skip is None else skip.shape[-1]
            x = conv_bn_relu(x, width, 1, name=f"{name}_widen")
            if skip is not None:
                x = layers.Add(name=f"{name}_link")([x, skip])
        return x

    return decode


def linknet(
    backbone: str | keras.Model = "resnet50",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: int = 32,
    upsampling: str = "transposed",
) -> keras.Model:
    """LinkNet: a U-Net that adds instead of concatenating, with narrow blocks on the way up.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The paper's backbone is a ResNet-18. The features P4 to
            P1 are added on the way up from P5.
        filters: int >= 1, channels at the size of the image.
        upsampling: str, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a number of filters below 1, or an unknown upsampling; see
            `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Chaurasia, Culurciello, VCIP 2017, section III and figure 2. The last two blocks are
    like the others, as in segmentation_models_pytorch; the paper has other layers there.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> linknet(backbone, 11).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = linknet_decoder(filters, upsampling=upsampling)
    backbone = make_backbone(backbone, weights, input_shape)
    return build(backbone, decoder, heads, input_shape, name or "linknet", initialize_from, grid)

"""MA-Net.

Fan, Wang, Li, Li, Meng, Li, "MA-Net: A Multi-Scale Attention Network for Liver and Tumor
Segmentation", IEEE Access 2020.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Size, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import PositionAttention
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.unet_blocks import check_filters, double_conv, steps_up
from keras_dense.models.upsampling import check_upsampling, upsample

REDUCTION = 16


def _conv(x: Tensor, filters: int, size: int, name: str, **settings: Any) -> Tensor:
    return layers.Conv2D(
        filters, size, padding="same", name=name, data_format="channels_last", **settings
    )(x)


def _conv_relu(x: Tensor, filters: int, size: int, name: str, batch_norm: bool) -> Tensor:
    x = _conv(x, filters, size, name, use_bias=not batch_norm)
    if batch_norm:
        x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def position_attention(
    x: Tensor, filters: int = 64, *, joint: bool = False, name: str = "attention"
) -> Tensor:
    """A map, to which every cell adds what it attends to (PAB: position-wise attention block).

    Args:
        x: map `(B, H, W, C)`.
        filters: int >= 1, channels of queries and keys.
        joint: bool, see `kd.layers.PositionAttention`.
        name: str, start of the names of the layers.

    Returns:
        A map `(B, H, W, C)`.
    """
    width = x.shape[-1]
    query = _conv(x, filters, 1, f"{name}_query")
    # A bias of the keys adds the same to all products of a query, which a softmax does not see.
    key = _conv(x, filters, 1, f"{name}_key", use_bias=joint)
    value = _conv(x, width, 3, f"{name}_value")
    mean = PositionAttention(joint=joint, name=name)(query, key, value)
    return _conv(layers.Add(name=f"{name}_add")([x, mean]), width, 3, f"{name}_out")


def _channel_weights(x: Tensor, reduction: int, name: str) -> Tensor:
    """A number from 0 to 1 for each channel, from the mean of the map (squeeze and excitation)."""
    width = x.shape[-1]
    mean = layers.GlobalAveragePooling2D(
        keepdims=True, name=f"{name}_mean", data_format="channels_last"
    )(x)
    x = _conv(mean, max(1, width // reduction), 1, f"{name}_squeeze", activation="relu")
    return _conv(x, width, 1, f"{name}_excite", activation="sigmoid")


def multiscale_fusion(
    x: Tensor,
    skip: Tensor,
    factor: Size,
    *,
    reduction: int = REDUCTION,
    upsampling: str = "nearest",
    batch_norm: bool = True,
    name: str,
) -> Tensor:
    """A coarse map joined to a finer feature (MFAB: multi-scale fusion attention block).

    The coarse map is brought to the channels and the size of the feature. Its channels are weighted
    by what both of them show: the sum of two squeeze-and-excitations.

    Args:
        x: map `(B, H, W, C)`.
        skip: finer feature `(B, f H, f W, D)`.
        factor: int or pair, the factor f between the two.
        reduction: int >= 1, channels are squeezed to so small a part.
        upsampling: str, see `kd.decoders.upsample`.
        batch_norm: bool, batch norm after the convolutions.
        name: str, start of the names of the layers.

    Returns:
        A map `(B, f H, f W, 2 D)`.
    """
    x = _conv_relu(x, x.shape[-1], 3, f"{name}_high", batch_norm)
    x = _conv_relu(x, skip.shape[-1], 1, f"{name}_reduce", batch_norm)
    x = upsample(x, factor, upsampling, like=skip, name=name)
    high = _channel_weights(x, reduction, f"{name}_of_high")
    low = _channel_weights(skip, reduction, f"{name}_of_low")
    weights = layers.Add(name=f"{name}_weights")([high, low])
    x = layers.Multiply(name=f"{name}_weigh")([x, weights])
    return layers.Concatenate(name=f"{name}_join")([x, skip])


def manet_decoder(
    filters: Sequence[int] | None = None,
    *,
    attention_filters: int = 64,
    reduction: int = REDUCTION,
    upsampling: str = "nearest",
    batch_norm: bool = True,
    joint: bool = False,
    scores_size: int = 3,
) -> Decoder:
    """A U-Net's way up, below attention over the coarsest feature (figure 1).

    The coarsest feature goes through position-wise attention. At each level, multi-scale fusion
    attention joins the finer feature, and two 3×3 convolutions follow.

    Args:
        filters: tuple of ints >= 1, widths of the levels, coarsest first; default 16 at the size of
            the image and twice as many at each coarser level. With fewer widths than levels the
            result is coarser than the image.
        attention_filters: int >= 1, channels of queries and keys.
        reduction: int >= 1, channel attention squeezes the channels to so small a part.
        upsampling: str, see `kd.decoders.upsample`.
        batch_norm: bool, batch norm after each convolution of the way up, which then has no bias.
        joint: bool, whether the attention of all cells is one softmax, as in
            segmentation_models_pytorch, for its weights: see `kd.layers.PositionAttention`.
        scores_size: int >= 1, kernel size of the convolution that heads read the result through.

    Returns:
        A decoder for `kd.assemble`. It joins those of the features P0, P1, … that the backbone has;
        at other levels it upsamples and convolves.

    Raises:
        ValueError: for widths below 1, or an unknown upsampling.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.manet((16, 8, 8, 8, 8), attention_filters=8)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters = check_filters(filters)
    attention_filters = _check.integer(attention_filters, "attention_filters", low=1)
    fusion: dict[str, Any] = {
        "reduction": _check.integer(reduction, "reduction", low=1),
        "upsampling": check_upsampling(upsampling),
        "batch_norm": _check.flag(batch_norm, "batch_norm"),
    }
    joint = _check.flag(joint, "joint")

    @read_through(_check.integer(scores_size, "scores_size", low=1))
    def decode(features: Features) -> Tensor:
        x, steps = steps_up(features, filters)
        x = position_attention(x, attention_filters, joint=joint)
        for step in steps:
            name = f"up{step.level}"
            if step.skip is None:
                x = upsample(x, step.factor, upsampling, like=step.like, name=name)
            else:
                x = multiscale_fusion(x, step.skip, step.factor, **fusion, name=name)
            x = double_conv(x, step.filters, name, batch_norm=batch_norm)
        return x

    return decode


def manet(
    backbone: str | keras.Model = "resnet50",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: Sequence[int] | None = None,
    attention_filters: int = 64,
    reduction: int = REDUCTION,
    upsampling: str = "nearest",
) -> keras.Model:
    """MA-Net: a U-Net with attention between cells at its end and between channels at each level.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The features P4 to P1 (and P0, if there is one) are
            joined on the way up from P5.
        filters: tuple of ints >= 1, widths of the way up, coarsest first; default
            (256, 128, 64, 32, 16).
        attention_filters: int >= 1, channels of queries and keys of the attention between cells.
        reduction: int >= 1, channel attention squeezes the channels to so small a part.
        upsampling: str, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for widths below 1 or too many of them, or an unknown upsampling; see
            `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Fan et al., IEEE Access 2020, section III and figures 1 to 3. Widths and upsampling
    are those of segmentation_models_pytorch.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> manet(backbone, 11, filters=(16, 8, 8, 8, 8)).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = manet_decoder(
        filters, attention_filters=attention_filters, reduction=reduction, upsampling=upsampling
    )
    backbone = make_backbone(backbone, weights, input_shape)
    return build(backbone, decoder, heads, input_shape, name or "manet", initialize_from, grid)

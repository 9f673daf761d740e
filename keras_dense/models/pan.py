"""PAN: Pyramid Attention Network.

Li, Xiong, An, Wang, "Pyramid Attention Network for Semantic Segmentation", BMVC 2018.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import CropLike, PadToMinimum
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.upsampling import check_upsampling, resize, upsample
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")
# Windows of the pyramid of attention, at halves, quarters and eighths of its map.
_WINDOWS = (7, 5, 3)


def _conv_norm(
    x: Tensor, filters: int, size: int, name: str, *, use_bias: bool, activation: str = "relu"
) -> Tensor:
    x = layers.Conv2D(
        filters, size, padding="same", use_bias=use_bias, name=name, data_format="channels_last"
    )(x)
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.Activation(activation, name=f"{name}_{activation}")(x)


def _mean(x: Tensor, name: str) -> Tensor:
    return layers.GlobalAveragePooling2D(keepdims=True, name=name, data_format="channels_last")(x)


def feature_pyramid_attention(
    x: Tensor, filters: int, *, use_bias: bool = False, name: str = "fpa"
) -> Tensor:
    """A map, weighted by what its surroundings show, plus its mean (FPA, figure 3b).

    Args:
        x: map `(B, H, W, C)`. If it has fewer than 8×8 cells, zeros at the bottom and the right
            continue it where it is pooled.
        filters: int >= 1, channels of the result.
        use_bias: bool, whether convolutions have a bias before their batch norm.
        name: str, start of the names of the layers.

    Returns:
        A map `(B, H, W, filters)`.
    """
    bias: dict[str, Any] = {"use_bias": use_bias}
    mean = _conv_norm(_mean(x, f"{name}_mean"), filters, 1, f"{name}_global", **bias)
    middle = _conv_norm(x, filters, 1, f"{name}_middle", **bias)

    wide = y = PadToMinimum(2 ** len(_WINDOWS), name=f"{name}_pad")(x)
    down = []
    for n, size in enumerate(_WINDOWS, 1):
        y = layers.MaxPooling2D(2, name=f"{name}_pool{n}", data_format="channels_last")(y)
        y = _conv_norm(y, 1, size, f"{name}_down{n}", **bias)
        down.append(y)
    y = _conv_norm(y, 1, _WINDOWS[-1], f"{name}_up{len(_WINDOWS)}", **bias)
    for n in range(len(_WINDOWS) - 1, 0, -1):
        y = resize(y, down[n - 1], name=f"{name}_upsample{n + 1}")
        side = _conv_norm(down[n - 1], 1, _WINDOWS[n - 1], f"{name}_up{n}", **bias)
        y = layers.Add(name=f"{name}_add{n}")([side, y])
    y = resize(y, wide, name=f"{name}_upsample1")
    y = CropLike(name=f"{name}_crop")(y, x)

    y = layers.Multiply(name=f"{name}_weigh")([middle, y])
    return layers.Add(name=f"{name}_add")([y, mean])


def global_attention_upsample(
    x: Tensor, skip: Tensor, *, upsampling: str, use_bias: bool = False, name: str
) -> Tensor:
    """A coarse map, upsampled and added to a finer feature that its mean has weighted (GAU).

    Args:
        x: map `(B, h, w, C)`.
        skip: finer feature `(B, H, W, D)`.
        upsampling: str, see `kd.decoders.upsample`.
        use_bias: bool, whether convolutions have a bias before their batch norm.
        name: str, start of the names of the layers.

    Returns:
        A map `(B, H, W, C)`.
    """
    filters = x.shape[-1]
    bias: dict[str, Any] = {"use_bias": use_bias}
    gate = _mean(x, f"{name}_mean")
    gate = _conv_norm(gate, filters, 1, f"{name}_gate", **bias, activation="sigmoid")
    low = _conv_norm(skip, filters, 3, f"{name}_low", **bias)
    low = layers.Multiply(name=f"{name}_weigh")([low, gate])
    x = upsample(x, stride_between(skip, x), upsampling, like=skip, name=f"{name}_upsample")
    return layers.Add(name=f"{name}_add")([x, low])


def pan_decoder(
    filters: int = 32,
    *,
    levels: Sequence[str] = LEVELS,
    upsampling: str = "bilinear",
    use_bias: bool = False,
    scores_size: int = 3,
) -> Decoder:
    """Pyramid attention on the coarsest feature, and global attention at finer ones (figure 2).

    Args:
        filters: int >= 1, channels of all maps.
        levels: tuple of str, the features that are read, coarsest first.
        upsampling: str, the way between the levels, see `kd.decoders.upsample`.
        use_bias: bool, whether convolutions have a bias. Batch norm after them makes it useless,
            but files of segmentation_models_pytorch have it.
        scores_size: int >= 1, kernel size of the convolution that heads read the result through.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for a number of filters below 1, no levels, or an unknown upsampling.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.pan(8)
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters, levels = _check.integer(filters, "filters", low=1), tuple(levels)
    if not levels:
        raise _check.fail("levels", "one or more names of features, coarsest first", levels)
    upsampling = check_upsampling(upsampling)
    use_bias = _check.flag(use_bias, "use_bias")

    @read_through(_check.integer(scores_size, "scores_size", low=1))
    def decode(features: Features) -> Tensor:
        top, *finer = (feature(features, level) for level in levels)
        x = feature_pyramid_attention(top, filters, use_bias=use_bias)
        for level, skip in zip(levels[1:], finer, strict=True):
            settings = {"upsampling": upsampling, "use_bias": use_bias, "name": f"gau_{level}"}
            x = global_attention_upsample(x, skip, **settings)
        return x

    return decode


def pan(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    output_stride: int = 16,
    filters: int = 32,
    upsampling: str = "bilinear",
) -> keras.Model:
    """PAN: attention from a pyramid of windows, which then selects details of finer features.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The features P2 to P5 are read.
        output_stride: int, stride of the dilated backbone: 32, 16, 8, …
        filters: int >= 1, channels of all maps of the decoder.
        upsampling: str, the way between the levels, see `kd.decoders.upsample`.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for a number of filters below 1, or an unknown upsampling; see
            `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Li et al., BMVC 2018, section 3 and figures 2 to 4. The width, the single channel of
    the pyramid and the sigmoids of the gates are those of segmentation_models_pytorch.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> pan(backbone, 11, filters=8).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = pan_decoder(filters, upsampling=upsampling)
    backbone = dilate(make_backbone(backbone, weights, input_shape), output_stride)
    return build(backbone, decoder, heads, input_shape, name or "pan", initialize_from, grid)

"""RefineNet, and its light-weight form.

Lin, Milan, Shen, Reid, "RefineNet: Multi-Path Refinement Networks for High-Resolution Semantic
Segmentation", CVPR 2017. Nekrasov, Shen, Reid, "Light-Weight RefineNet for Real-Time Semantic
Segmentation", BMVC 2018.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.backbones import family_of
from keras_dense.heads import Heads
from keras_dense.models.blocks import add
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.upsampling import upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")
FILTERS = (512, 256, 256, 256)

# The light network on MobileNetV2 reads the end of every group of blocks, two of a stride.
_MOBILENET = {
    "P2": "block_2_add",
    "P3": "block_5_add",
    "P4_64": "block_9_add",
    "P4": "block_12_add",
    "P5_160": "block_15_add",
    "P5": "block_16_project_BN",
}
_ON_MOBILENET: dict[str, Any] = {
    "levels": (("P5", "P5_160"), ("P4", "P4_64"), "P3", "P2"),
    "fusion": False,
    "activation": "relu6",
}


def _convolution(
    x: Tensor, filters: int, kernel_size: int, *, use_bias: bool = False, name: str
) -> Tensor:
    # PyTorch's default, as in the authors' later training. It is smaller than an initializer that
    # keeps the scale, since residuals and windows add up and no batch norm rescales them.
    start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=start,
        name=name,
        data_format="channels_last",
    )(x)


def residual_unit(x: Tensor, activation: str = "relu", *, name: str) -> Tensor:
    """Residual convolution unit: a residual block without batch norm (figure 3 b)."""
    filters, y = x.shape[-1], x
    for n in (1, 2):
        y = layers.Activation(activation, name=f"{name}_{activation}_{n}")(y)
        y = _convolution(y, filters, 3, use_bias=n == 1, name=f"{name}_{n}")
    return layers.Add(name=f"{name}_add")([x, y])


def chained_pooling(
    x: Tensor, poolings: int, *, kernel_size: int = 3, activation: str = "relu", name: str
) -> Tensor:
    """Chained residual pooling: windows of growing size, each a residual (figure 3 d)."""
    x = layers.Activation(activation, name=f"{name}_{activation}")(x)
    y, parts = x, [x]
    for n in range(1, poolings + 1):
        y = layers.MaxPooling2D(
            5, strides=1, padding="same", name=f"{name}_pool_{n}", data_format="channels_last"
        )(y)
        y = _convolution(y, x.shape[-1], kernel_size, name=f"{name}_{n}")
        parts.append(y)
    return layers.Add(name=f"{name}_add")(parts)


def refinenet_decoder(
    light: bool = False,
    *,
    levels: Sequence[str | Sequence[str]] = LEVELS,
    filters: Sequence[int] = FILTERS,
    poolings: int = 4,
    dropout: float | None = None,
    fusion: bool = True,
    activation: str = "relu",
) -> Decoder:
    """Blocks that refine a coarse map with the next finer feature, level by level (figure 2 c).

    A block projects its features to `filters` channels, adds the map of the coarser block, and
    pools. Convolutions are 3×3. Two residual units adapt each input of a block, and one more ends
    it. The light form has 1×1 convolutions and no residual units.

    Args:
        light: bool, whether to use the light-weight form.
        levels: the features that are read, coarsest first; a tuple groups several features of one
            stride.
        filters: tuple of ints >= 1, channels of each block.
        poolings: int >= 1, windows in the chain of a block: 4 in the published networks, 2 in the
            paper's figure.
        dropout: float from 0 to 1, dropout rate before the two coarsest blocks and before the
            scores; default .5, light 0.
        fusion: bool, whether a feature passes one more convolution before the coarser map is added.
        activation: str, "relu" or another of `keras.activations`.

    Returns:
        A decoder for `kd.assemble`. Heads read its map through a 3×3 convolution.

    Raises:
        ValueError: for filters or poolings below 1, or unequal numbers of filters and levels.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.refinenet(light=True, levels=("P5", "P4"), filters=(16, 16))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    poolings = _check.integer(poolings, "poolings", low=1)
    filters = _check.integers(filters, "filters")
    if isinstance(levels, str) or len(levels) != len(filters):
        raise ValueError(
            "`filters` must have one width for each of `levels`. "
            f"Received: filters={filters}, levels={levels!r}"
        )
    kernel_size = 1 if light else 3
    dropout = (0.0 if light else 0.5) if dropout is None else dropout

    def dropped(x, name):
        return layers.Dropout(dropout, name=f"dropout_{name}")(x) if dropout else x

    def residual_units(x, count, name):
        for n in range(1, 1 if light else count + 1):
            x = residual_unit(x, activation, name=f"{name}_unit_{n}")
        return x

    @read_through(3)
    def decode(features: Features) -> Tensor:
        x = None
        for number, (group, width) in enumerate(zip(levels, filters, strict=True)):
            group = (group,) if isinstance(group, str) else tuple(group)
            level, paths = group[0], []
            for part in group:
                y = feature(features, part)
                y = dropped(y, part) if number < 2 else y
                y = _convolution(y, width, kernel_size, name=f"reduce_{part}")
                y = residual_units(y, 2, f"adapt_{part}")
                if fusion and x is not None:
                    y = _convolution(y, width, kernel_size, name=f"fuse_{part}")
                paths.append(y)
            if x is not None:
                x = _convolution(x, width, kernel_size, name=f"coarse_{level}")
                factor = stride_between(y, x)
                paths.append(upsample(x, factor, like=y, name=f"upsample_{level}"))
            x = add(paths, name=f"fusion_{level}")
            x = chained_pooling(
                x, poolings, kernel_size=kernel_size, activation=activation, name=f"pool_{level}"
            )
            # One unit ends the block; two adapt its map to the next block, or to the scores.
            x = residual_units(x, 3, f"end_{level}")
        return dropped(x, "scores")

    return decode


def refinenet(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    light: bool = False,
    filters: Sequence[int] | None = None,
    poolings: int = 4,
    dropout: float | None = None,
) -> keras.Model:
    """RefineNet: four blocks bring the map of stride 32 to stride 4, refined at every level.

    118 M weights on ResNet-101. `light=True` gives the light-weight form, whose decoder has a ninth
    of the weights and no 3×3 convolutions: 27 M, 46 M and 62 M weights on ResNet-50, 101 and 152,
    3.3 M on MobileNetV2 (by name; it then has 256 channels throughout and the authors' features,
    two of stride 16 and two of stride 32).

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`.
        light: bool, whether to build the light-weight form.
        filters: tuple of ints >= 1, channels of the four blocks, coarsest first; default
            (512, 256, 256, 256).
        poolings: int >= 1, windows in the chain of a block: 4 in the published networks, 2 in the
            paper's figure.
        dropout: float from 0 to 1, dropout rate before the two coarsest blocks and before the
            scores; default .5, light 0.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for filters or poolings below 1; see `kd.backbone`,
            `kd.heads.Segmentation`.

    Reference: Lin et al., CVPR 2017, section 3; Nekrasov et al., BMVC 2018, section 3.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> refinenet(backbone, 11, light=True).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    settings: dict[str, Any] = {"poolings": poolings, "dropout": dropout}
    mobile = isinstance(backbone, str) and family_of(backbone)[0] == "MobileNetV2"
    if light and mobile:
        settings |= {"filters": filters or (256,) * 4, **_ON_MOBILENET}
        decoder = refinenet_decoder(light, **settings)
        backbone = make_backbone(backbone, weights, input_shape, taps=_MOBILENET)
    else:
        decoder = refinenet_decoder(light, filters=filters or FILTERS, **settings)
        backbone = make_backbone(backbone, weights, input_shape)
    name = name or ("light_weight_refinenet" if light else "refinenet")
    return build(backbone, decoder, heads, input_shape, name, initialize_from, grid)

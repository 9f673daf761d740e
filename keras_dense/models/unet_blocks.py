"""Blocks that U-Net and its relatives share."""

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.models.blocks import conv_bn_relu
from keras_dense.models.grid import as_grid, current
from keras_dense.models.upsampling import upsample
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import pair, strides

# What reduces the channels on the way up: the upsampling itself, to the width of the level, with a
# ReLU after it; a 1×1 convolution, batch norm and ReLU after it; or nothing but the first 3×3
# convolution of the level.
REDUCTIONS = ("upsampling", "convolution", None)


def double_conv(
    x: Tensor, filters: int, name: str, *, padding: str = "same", batch_norm: bool = False
) -> Tensor:
    """Two 3×3 convolutions, each with a ReLU and, if wanted, batch norm before it."""
    for n in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            padding=padding,
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=f"{name}_conv{n}",
            data_format="channels_last",
        )(x)
        if batch_norm:
            x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn{n}")(x)
        x = layers.ReLU(name=f"{name}_relu{n}")(x)
    return x


def squeeze_and_excite(x: Tensor, name: str, reduction: int = 16) -> Tensor:
    """A map, weighted by channel and by cell, and both summed (scSE).

    Args:
        x: map `(B, H, W, C)`.
        name: str, start of the names of the layers.
        reduction: int >= 1, the weights of the channels come from C / reduction numbers.

    Reference: Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully
    Convolutional Networks", MICCAI 2018, section 2.
    """

    def convolve(x: Tensor, filters: int, part: str, activation: str) -> Tensor:
        return layers.Conv2D(
            filters, 1, activation=activation, name=f"{name}_{part}", data_format="channels_last"
        )(x)

    mean = layers.GlobalAveragePooling2D(
        keepdims=True, name=f"{name}_mean", data_format="channels_last"
    )(x)
    channels = x.shape[-1]
    by_channel = convolve(mean, max(1, channels // reduction), "squeeze", "relu")
    by_channel = convolve(by_channel, channels, "excite", "sigmoid")
    by_cell = convolve(x, 1, "spatial", "sigmoid")
    return layers.Add(name=f"{name}_add")(
        [
            layers.Multiply(name=f"{name}_by_channel")([x, by_channel]),
            layers.Multiply(name=f"{name}_by_cell")([x, by_cell]),
        ]
    )


class Step(NamedTuple):
    """The way from one level of a network up to the next.

    Attributes:
        level: int, the finer level.
        filters: int, its width.
        factor: pair of ints, the factor between the two.
        skip: the feature of the backbone at the finer level, `None` if there is none.
        like: the map whose size is reached: the feature, or the image.
    """

    level: int
    filters: int
    factor: tuple[int, int]
    skip: Tensor | None
    like: Tensor | None

    def up(
        self, x: Tensor, filters: int, upsampling: str, reduction: str | None, name: str
    ) -> Tensor:
        """A map of the coarser level at the finer one, with its channels reduced."""
        if reduction == "upsampling":
            x = upsample(
                x,
                self.factor,
                upsampling,
                filters=filters,
                like=self.like,
                kernel_initializer="he_normal",
                name=name,
            )
            return layers.ReLU(name=f"{name}_relu")(x)
        x = upsample(x, self.factor, upsampling, like=self.like, name=name)
        return conv_bn_relu(x, filters, 1, name=f"{name}_reduce") if reduction else x


def check_reduction(reduction: str | None) -> str | None:
    """`reduction`, checked.

    >>> check_reduction("convolution")
    'convolution'
    """
    return _check.choice(reduction, "reduction", REDUCTIONS)


def attention_gate(
    skip: Tensor, gate: Tensor, factor: tuple[int, int], filters: int, name: str
) -> Tensor:
    """A skip, weighted from 0 to 1 by where a coarser map attends.

    α = σ(ψ ReLU(W_x skip + W_g gate)), computed on the grid of the coarser map and upsampled.

    Args:
        skip: feature `(B, f H, f W, C)`.
        gate: coarser map `(B, H, W, D)`.
        factor: pair of ints, the factor between the two grids.
        filters: int >= 1, channels of the intermediate map.
        name: str, start of the names of the layers.

    Reference: Oktay et al., "Attention U-Net", MIDL 2018, equations 1 and 2.
    """
    x = layers.Conv2D(
        filters,
        factor,
        strides=factor,
        padding="same",
        use_bias=False,
        name=f"{name}_skip",
        data_format="channels_last",
    )(skip)
    x = layers.Add(name=f"{name}_add")(
        [x, layers.Conv2D(filters, 1, name=f"{name}_gate", data_format="channels_last")(gate)]
    )
    x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.Conv2D(
        1, 1, activation="sigmoid", name=f"{name}_alpha", data_format="channels_last"
    )(x)
    if factor != (1, 1):
        x = upsample(x, factor, like=skip, name=f"{name}_upsample")
    return layers.Multiply(name=f"{name}_multiply")([skip, x])


def steps_up(
    features: Features, filters: Sequence[int] | None, letter: str = "P"
) -> tuple[Tensor, list[Step]]:
    """The coarsest feature, and the steps from it up to the image.

    Args:
        features: `{"P1": …, …}`.
        filters: widths of the finer levels, coarsest first; `None`: 16 at the image, twice as many
            at each coarser level.
        letter: str, first letter of the names of the features.

    Returns:
        `(feature, steps)`, with a `Step` to each finer level.

    Raises:
        ValueError: if there is no feature, or if there are more widths than levels.
    """
    found = {int(k[1:]): x for k, x in features.items() if k[:1] == letter and k[1:].isdigit()}
    if not found or max(found) == 0:
        raise ValueError(
            f"`backbone` must have features {letter}0, {letter}1, … for a U-Net, of which the last "
            f"is coarser than the image. Received: {', '.join(features)}"
        )
    deepest = max(found)
    if filters is None:
        filters = tuple(16 * 2**n for n in range(deepest))[::-1]
    if len(filters) > deepest:
        raise ValueError(
            f"`filters` must have at most {deepest} widths, one for each level finer than "
            f"{letter}{deepest}. Received: filters={filters}"
        )
    image = source_of(found[deepest])
    stride = {n: pair(s) for n, s in strides(keras.Model(image, found)).items()}
    steps, here = [], stride[deepest]
    for n, width in zip(range(deepest - 1, -1, -1), filters, strict=False):
        finer = stride.get(n, tuple(min(s, 2**n) for s in here))
        factor = tuple(math.floor(a / b) for a, b in zip(here, finer, strict=True))
        like = found.get(n, image if finer == (1, 1) else None)
        steps.append(Step(n, width, cast(tuple[int, int], factor), found.get(n), like))
        here = finer
    return found[deepest], steps


def check_filters(filters: Sequence[int] | None) -> tuple[int, ...] | None:
    """`filters` as a tuple, checked, or `None`."""
    return None if filters is None else _check.integers(filters, "filters")


def expanding_path(
    features: Features,
    filters: Sequence[int] | None,
    *,
    padding: str = "same",
    upsampling: str = "up_conv",
    reduction: str | None = "upsampling",
    batch_norm: bool = True,
    attention: bool | str = False,
    center: bool = False,
) -> dict[int, Tensor]:
    """The maps of the expanding path by level, coarsest first; arguments of `kd.decoders.unet`."""
    valid, canvas = padding == "valid", current()
    if valid and canvas is not None:
        as_grid(canvas.grid.name, ("multiple",), 'with `padding="valid"` sizes are exact.')
    x, steps = steps_up(features, filters, "V" if valid else "P")
    if center:
        x = double_conv(x, x.shape[-1], "center", batch_norm=batch_norm)
    crop, maps = 4, {}
    for step in steps:
        coarse, skip, name = x, step.skip, f"up{step.level}"
        if valid:
            step = step._replace(like=None)  # cropped after it
        x = step.up(x, step.filters, upsampling, reduction, name)
        if valid:
            skip = layers.Cropping2D(crop, name=f"{name}_crop", data_format="channels_last")(skip)
            crop = 2 * crop + 8
        if skip is not None:
            if attention is True:
                width = max(1, step.filters // 2)
                skip = attention_gate(skip, coarse, step.factor, width, f"{name}_attention")
            x = layers.Concatenate(name=f"{name}_join")([skip, x])
            if attention == "scse":
                x = squeeze_and_excite(x, f"{name}_attention1")
        x = double_conv(x, step.filters, name, padding=padding, batch_norm=batch_norm)
        if attention == "scse":
            x = squeeze_and_excite(x, f"{name}_attention2")
        maps[step.level] = x
    return maps

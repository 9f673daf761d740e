"""Blocks that U-Net and its relatives share."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, Tensor
from keras_dense.layers import BilinearUpsampling
from keras_dense.models.blocks import conv_bn_relu
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


def step_up(
    x: Tensor,
    factor: tuple[int, int],
    filters: int,
    upsampling: str,
    reduction: str | None,
    *,
    name: str,
) -> Tensor:
    """Upsampling from level to level, and what reduces the channels there, see `REDUCTIONS`."""
    if reduction == "upsampling":
        x = upsample(
            x, factor, upsampling, filters=filters, kernel_initializer="he_normal", name=name
        )
        return layers.ReLU(name=f"{name}_relu")(x)
    x = upsample(x, factor, upsampling, name=name)
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
        x = BilinearUpsampling(factor, data_format="channels_last", name=f"{name}_upsample")(x)
    return layers.Multiply(name=f"{name}_multiply")([skip, x])


def steps_up(
    features: Features, filters: Sequence[int] | None, letter: str = "P"
) -> tuple[Tensor, list[tuple[int, int, Any, Tensor | None]]]:
    """The coarsest feature, and the steps from it up to the image.

    Args:
        features: `{"P1": …, …}`.
        filters: widths of the finer levels, coarsest first; `None`: 16 at the image, twice as many
            at each coarser level.
        letter: str, first letter of the names of the features.

    Returns:
        `(feature, steps)`: for each finer level a step `(n, filters, factor, skip)`; `skip` is
        `None` if the backbone has no feature at that level.

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
        steps.append((n, width, factor, found.get(n)))
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
    attention: bool = False,
    center: bool = False,
) -> dict[int, Tensor]:
    """The maps of the expanding path by level, coarsest first; arguments of `kd.decoders.unet`."""
    valid = padding == "valid"
    x, steps = steps_up(features, filters, "V" if valid else "P")
    if center:
        x = double_conv(x, x.shape[-1], "center", batch_norm=batch_norm)
    crop, maps = 4, {}
    for n, width, factor, skip in steps:
        coarse, name = x, f"up{n}"
        x = step_up(x, factor, width, upsampling, reduction, name=name)
        if valid:
            skip = layers.Cropping2D(crop, name=f"{name}_crop", data_format="channels_last")(skip)
            crop = 2 * crop + 8
        if skip is not None:
            if attention:
                gate_width = max(1, width // 2)
                skip = attention_gate(skip, coarse, factor, gate_width, f"{name}_attention")
            x = layers.Concatenate(name=f"{name}_join")([skip, x])
        x = double_conv(x, width, name, padding=padding, batch_norm=batch_norm)
        maps[n] = x
    return maps

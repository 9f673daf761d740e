"""Blocks of DPT: maps of patches at several strides, fusion, and the layers before a prediction."""

from collections.abc import Callable
from fractions import Fraction

import keras
from keras import layers

from keras_dense._types import Size, Tensor
from keras_dense.layers import BilinearUpsampling, ResizeLike
from keras_dense.models.decoder import Wanted
from keras_dense.models.grid import current
from keras_dense.models.upsampling import interpolate, resize, target_of, upsample
from keras_dense.surgery.strides import stride_between

Growth = Callable[[Tensor, str], Tensor]


def convolution(
    x: Tensor, filters: int, kernel_size: int = 3, *, use_bias: bool = True, name: str
) -> Tensor:
    """A convolution that starts as PyTorch's do.

    These weights are smaller than those that keep the scale of a map: residuals of several blocks
    add up, and no batch norm rescales them.
    """
    return layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        use_bias=use_bias,
        kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
        name=name,
        data_format="channels_last",
    )(x)


def reassembled(x: Tensor, filters: int, factor: Fraction, name: str) -> Tensor:
    """A map of patches, projected and brought to another stride (equation 5).

    Args:
        x: map `(B, H, W, C)`.
        filters: int >= 1, channels of the result.
        factor: 4 or 2 by a transposed convolution, 1, or 1/2 by a convolution with stride 2.
        name: str, start of the names of the layers.

    Returns:
        A map `(B, factor H, factor W, filters)`, of rounded up size.
    """
    x = convolution(x, filters, 1, name=f"{name}_project")
    if factor > 1:
        return upsample(x, int(factor), "up_conv", name=f"{name}_upsample")
    if factor < 1:
        # Alike on all sides, as PyTorch pads.
        x = layers.ZeroPadding2D(1, name=f"{name}_pad", data_format="channels_last")(x)
        x = layers.Conv2D(filters, 3, 2, name=f"{name}_reduce", data_format="channels_last")(x)
    return x


def residual_unit(x: Tensor, *, batch_norm: bool, rectify: bool, name: str) -> Tensor:
    """Two 3×3 convolutions, each after a ReLU, added to the map.

    Args:
        x: map `(B, H, W, C)`.
        batch_norm: bool, whether batch norms follow the convolutions, which then have no bias.
        rectify: bool, whether the map is added after the ReLU. In the code of MiDaS v2.1 the first
            ReLU writes into its input.
        name: str, start of the names of the layers.
    """
    y, skip = x, x
    for n in (1, 2):
        y = layers.ReLU(name=f"{name}_relu_{n}")(y)
        skip = y if rectify and n == 1 else skip
        y = convolution(y, x.shape[-1], use_bias=not batch_norm, name=f"{name}_conv_{n}")
        if batch_norm:
            y = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn_{n}")(y)
    return layers.Add(name=f"{name}_add")([skip, y])


def finer(
    x: Tensor, factor: Size, image: Tensor, stride: Size, half_pixel: bool, name: str
) -> Tensor:
    """A map upsampled by a factor on the way to the image.

    Args:
        x: map `(B, H, W, C)`.
        factor: pair of ints.
        image: the image.
        stride: pair of ints, of the result.
        half_pixel: bool, whether corners are not aligned even if the grid aligns them.
        name: str, name of the layer.
    """
    canvas = current()
    if not half_pixel or factor == (1, 1) or canvas is None:
        return upsample(x, factor, like=image, stride=stride, name=name)
    if canvas.grid.divides:
        return BilinearUpsampling(factor, data_format="channels_last", name=name)(x)
    return ResizeLike(stride=stride, name=name)(x, target_of(image))


def step(x: Tensor, to: Tensor | None, image: Tensor, raw: bool, name: str) -> Tensor:
    """A map in the size of the next one, or twice as fine."""
    if to is not None:
        # Odd numbers of patches have no half: maps of patches know the sizes of each other only.
        if raw:
            return resize(x, to, name=name)
        return upsample(x, stride_between(to, x), like=to, name=name)
    if raw:
        return interpolate(x, 2, name=name)
    factor, stride = halved(stride_between(image, x))
    return finer(x, factor, image, stride, False, name)


def halved(stride: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The factor of a step of at most 2 towards the image, and the stride after it."""
    (a, b), (c, d) = stride, (2 - stride[0] % 2, 2 - stride[1] % 2)
    return (c, d), (a // c, b // d)


def depth_scores(x: Tensor, wanted: Wanted, grow: Growth, filters: int) -> Tensor:
    """Scores of one head from convolutions at the size of the image (depth in the paper)."""
    name = f"{wanted.prefix}head"
    x = convolution(x, max(1, x.shape[-1] // 2), name=f"{name}_1")
    x = grow(x, f"{name}_upsample")
    x = convolution(x, filters, name=f"{name}_2")
    x = layers.ReLU(name=f"{name}_relu")(x)
    return convolution(x, wanted.channels, 1, name=f"{wanted.prefix}scores")


def segmentation_scores(x: Tensor, wanted: Wanted, grow: Growth, dropout: float) -> Tensor:
    """Scores of one head, which are upsampled at last (segmentation in the paper)."""
    name = f"{wanted.prefix}head"
    x = convolution(x, x.shape[-1], use_bias=False, name=f"{name}_1")
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_1_bn")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = convolution(x, wanted.channels, 1, name=f"{wanted.prefix}scores")
    return grow(x, f"{name}_upsample")

"""Blocks of layers that several networks share."""

from collections.abc import Sequence
from typing import Any

from keras import layers

from keras_dense._types import Size, Tensor
from keras_dense.layers import (
    AdaptiveAveragePooling2D,
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    ResizeLike,
)
from keras_dense.models.upsampling import resize


def conv_bn_relu(
    x: Tensor,
    filters: int,
    kernel_size: Size,
    *,
    rate: Size = 1,
    separable: bool = False,
    depthwise_bn: bool = True,
    name: str,
) -> Tensor:
    """Convolution, batch norm and ReLU.

    Args:
        x: map `(B, H, W, C)`.
        filters: int >= 1, channels of the result.
        kernel_size: int or pair, size of the window.
        rate: int or pair, dilation rate.
        separable: bool. `True` makes the convolution depthwise separable, with batch norm and ReLU
            after both halves.
        depthwise_bn: bool. `False` leaves out batch norm and ReLU after the depthwise half.
        name: str, start of the names of the layers.

    Returns:
        A map `(B, H, W, filters)`.

    Example:

    >>> import keras
    >>> conv_bn_relu(keras.Input((None, None, 16)), 32, 3, rate=2, name="context").shape
    (None, None, None, 32)
    """
    if separable:
        x = AtrousDepthwiseConv2D(
            kernel_size,
            rate=rate,
            use_bias=False,
            data_format="channels_last",
            name=f"{name}_depthwise",
        )(x)
        if depthwise_bn:
            x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_depthwise_bn")(x)
            x = layers.ReLU(name=f"{name}_depthwise_relu")(x)
        kernel_size, rate = 1, 1
    x = AtrousConv2D(
        filters, kernel_size, rate=rate, use_bias=False, data_format="channels_last", name=name
    )(x)
    x = layers.BatchNormalization(epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def summed_scores(
    x: Tensor, filters: int, rates: Sequence[int], *, prefix: str = "", **kwargs: Any
) -> Tensor:
    """Sum of 3×3 convolutions of one map at several rates (ASPP of DeepLabv2)."""
    branches = [
        AtrousConv2D(
            filters, 3, rate=rate, data_format="channels_last", name=f"{prefix}aspp_{n}", **kwargs
        )(x)
        for n, rate in enumerate(rates, 1)
    ]
    return add(branches, name=f"{prefix}aspp")


def add(branches: Sequence[Tensor], name: str) -> Tensor:
    """Sum of one or more maps."""
    return layers.Add(name=name)(branches) if len(branches) > 1 else branches[0]


def aspp(
    x: Tensor,
    rates: Sequence[int],
    *,
    filters: int = 256,
    image_pooling: bool = True,
    separable: bool = False,
    depthwise_bn: bool = True,
    projection_size: int = 1,
    dropout: float = 0.1,
    prefix: str = "aspp",
) -> Tensor:
    """Atrous spatial pyramid pooling with image-level features (DeepLabv3, figure 5).

    A 1×1 convolution, a 3×3 convolution at each rate, and the mean of the whole map are
    concatenated and projected to `filters` channels.

    Args:
        x: map `(B, H, W, C)`.
        rates: tuple of ints >= 1, dilation rates of the 3×3 convolutions; `()` for none of them, as
            in DeepLab on MobileNetV2.
        filters: int >= 1, channels of each branch and of the result.
        image_pooling: bool, whether the mean of the whole map is one of the branches.
        separable: bool, whether the 3×3 convolutions are depthwise separable.
        depthwise_bn: bool, whether batch norm and ReLU follow their depthwise halves, too.
        projection_size: int >= 1, kernel size of the projection.
        dropout: float from 0 to 1, dropout rate of the result.
        prefix: str, start of the names of the layers.

    Returns:
        A map `(B, H, W, filters)`.

    Example:

    >>> import keras
    >>> aspp(keras.Input((None, None, 16)), (6, 12, 18), filters=32).shape
    (None, None, None, 32)
    """
    branches = [conv_bn_relu(x, filters, 1, name=f"{prefix}_1x1")]
    halves = {"separable": separable, "depthwise_bn": depthwise_bn}
    for n, rate in enumerate(rates, 1):
        branches.append(conv_bn_relu(x, filters, 3, rate=rate, **halves, name=f"{prefix}_3x3_{n}"))
    if image_pooling:
        image = layers.GlobalAveragePooling2D(
            keepdims=True, name=f"{prefix}_pool", data_format="channels_last"
        )(x)
        image = conv_bn_relu(image, filters, 1, name=f"{prefix}_image")
        branches.append(ResizeLike(name=f"{prefix}_broadcast")(image, x))
    if len(branches) > 1:
        x = layers.Concatenate(name=f"{prefix}_concatenate")(branches)
    else:
        (x,) = branches
    x = conv_bn_relu(x, filters, projection_size, name=f"{prefix}_project")
    return layers.Dropout(dropout, name=f"{prefix}_dropout")(x)


def pyramid_pooling(
    x: Tensor, bins: Sequence[int], filters: int, *, mean_bn: bool = True
) -> Tensor:
    """A map beside its means over 1, 4, 9, … parts (PSPNet, figure 3c), concatenated.

    Args:
        x: map `(B, H, W, C)`.
        bins: ints >= 1, parts along each side.
        filters: int >= 1, channels that the means are reduced to.
        mean_bn: bool, batch norm of the mean of the whole map; without, its convolution has a bias.

    Returns:
        A map `(B, H, W, C + len(bins) filters)`.
    """
    maps = [x]
    for n in bins:
        part = AdaptiveAveragePooling2D(n, name=f"pool{n}")(x)
        if n == 1 and not mean_bn:
            part = layers.Conv2D(
                filters, 1, activation="relu", name="pool1_conv", data_format="channels_last"
            )(part)
        else:
            part = conv_bn_relu(part, filters, 1, name=f"pool{n}_conv")
        maps.append(resize(part, x, name=f"pool{n}_upsample"))
    return layers.Concatenate(name="pyramid")(maps)

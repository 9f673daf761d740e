"""Upsampling in decoders."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Size, Tensor
from keras_dense.layers import (
    ICNR,
    BilinearInitConvTranspose,
    BilinearUpsampling,
    CropLike,
    MaxUnpool2D,
    PixelShuffle,
)

# The ways that every decoder can use; "unpool" needs the indices of a pooling.
UPSAMPLING = ("bilinear", "transposed", "up_conv", "resize_conv", "pixel_shuffle")


def check_upsampling(upsampling: str, known: Sequence[str] = UPSAMPLING) -> str:
    """`upsampling`, checked.

    >>> check_upsampling("bilinear")
    'bilinear'
    """
    return _check.choice(upsampling, "upsampling", known)


def upsample(
    x: Tensor,
    factor: Size,
    upsampling: str = "bilinear",
    *,
    filters: int | None = None,
    indices: Tensor | None = None,
    like: Tensor | None = None,
    kernel_initializer: str | keras.Initializer = "glorot_uniform",
    name: str = "upsample",
    **settings: Any,
) -> Tensor:
    """Upsample a map by an integer factor, in one of the ways known from papers.

    `(B, H, W, C)` → `(B, f H, f W, filters)`. Every way but "unpool" starts without checkerboard
    artifacts: a constant map stays constant away from the border, for any random weights.

    | `upsampling` | layers | starts as |
    |---|---|---|
    | "bilinear" | half-pixel bilinear; before it a 1×1 convolution if channels change | |
    | "transposed" | transposed convolution, stride f, kernel `2 f - f % 2` | bilinear |
    | "up_conv" | transposed convolution, stride f, kernel f (U-Net's up-convolution) | nearest |
    | "resize_conv" | nearest neighbor, then a 3×3 convolution | |
    | "pixel_shuffle" | 3×3 convolution to f² `filters`, then `PixelShuffle` | nearest |
    | "unpool" | `MaxUnpool2D`: values at the positions of the maxima, zeros elsewhere | |

    Args:
        x: map `(B, H, W, C)`.
        factor: int >= 1, or a pair `(vertical, horizontal)`; 1 does not upsample.
        upsampling: str, one of the above.
        filters: int >= 1, channels of the result; default: those of `x` (with "unpool" those of
            `indices`).
        indices: for "unpool", the second output of `MaxPoolWithArgmax2D(factor)`. If `x` has
            another number of channels, a 1×1 convolution adapts it.
        like: map whose height and width the result gets, for maps that were pooled at odd sizes:
            the result is cropped at the bottom and the right.
        kernel_initializer: initializer of the weights that mix channels.
        name: str, name of the layer that upsamples.
        **settings: arguments of the layer with the weights, such as `use_bias`, `learnable`.

    Returns:
        A map `(B, f H, f W, filters)`.

    Raises:
        ValueError: for an unknown way, a factor below 1, or indices that are missing or have
            another number of channels than `filters`.

    Reference: Long et al., CVPR 2015 ("transposed"); Ronneberger et al., MICCAI 2015 ("up_conv");
    Odena et al., "Deconvolution and checkerboard artifacts", Distill 2016 ("resize_conv"); Shi et
    al., CVPR 2016, and Aitken et al., arXiv:1707.02937 ("pixel_shuffle"); Zeiler, Fergus, ECCV
    2014 ("unpool").

    Example:

    >>> x = keras.Input((None, 5, 16))
    >>> upsample(x, 2, "pixel_shuffle", filters=8).shape
    (None, None, 10, 8)
    """
    check_upsampling(upsampling, (*UPSAMPLING, "unpool"))
    factor, channels = _check.pair(factor, "factor"), x.shape[-1]
    if upsampling == "unpool":
        return _unpool(x, factor, filters, indices, like, kernel_initializer, name, settings)
    filters = channels if filters is None else filters
    learned = {"kernel_initializer": kernel_initializer, "name": name, **settings}
    if factor == (1, 1) or upsampling == "bilinear":
        if filters != channels:
            learned["name"] = f"{name}_project"
            x = layers.Conv2D(filters, 1, **learned, data_format="channels_last")(x)
        if factor != (1, 1):
            x = BilinearUpsampling(factor, data_format="channels_last", name=name)(x)
    elif upsampling == "transposed":
        learned["channel_initializer"] = learned.pop("kernel_initializer")
        x = BilinearInitConvTranspose(filters, factor, data_format="channels_last", **learned)(x)
    elif upsampling == "up_conv":
        learned["kernel_initializer"] = ICNR(
            factor, initializer=kernel_initializer, transposed=True
        )
        x = layers.Conv2DTranspose(
            filters, factor, strides=factor, **learned, data_format="channels_last"
        )(x)
    elif upsampling == "resize_conv":
        x = layers.UpSampling2D(
            factor, interpolation="nearest", name=f"{name}_nearest", data_format="channels_last"
        )(x)
        x = layers.Conv2D(filters, 3, padding="same", **learned, data_format="channels_last")(x)
    else:
        learned["kernel_initializer"] = ICNR(factor, initializer=kernel_initializer)
        filters *= factor[0] * factor[1]
        x = layers.Conv2D(filters, 3, padding="same", **learned, data_format="channels_last")(x)
        x = PixelShuffle(factor, name=f"{name}_shuffle")(x)
    return x if like is None else CropLike(name=f"{name}_crop")(x, like)


def _unpool(x, factor, filters, indices, like, kernel_initializer, name, settings):
    if indices is None or filters not in (None, indices.shape[-1]):
        raise ValueError(
            "`indices` must be those of a pooling for upsampling='unpool', and `filters` None or "
            "the number of their channels. Received: "
            f"filters={filters}, indices={None if indices is None else tuple(indices.shape)}"
        )
    if indices.shape[-1] != x.shape[-1]:
        settings = {"kernel_initializer": kernel_initializer, **settings}
        x = layers.Conv2D(
            indices.shape[-1], 1, name=f"{name}_project", **settings, data_format="channels_last"
        )(x)
    unpool = MaxUnpool2D(factor, data_format="channels_last", name=name)
    return unpool(x, indices) if like is None else unpool(x, indices, like)


def doublings(factor: tuple[int, ...]) -> list[Any]:
    """Factors of successive upsampling steps, by 2 wherever possible, that make up a factor.

    >>> doublings((8, 4)), doublings((1, 1))
    ([(2, 2), (2, 2), (2, 1)], [])
    """
    steps = []
    while max(factor) > 1:
        steps.append(tuple(2 if f % 2 == 0 else f for f in factor))
        factor = tuple(f // s for f, s in zip(factor, steps[-1], strict=True))
    return steps

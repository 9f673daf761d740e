"""Upsampling in decoders."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Size, Tensor
from keras_dense.layers import (
    ICNR,
    AlignedUpsampling,
    BilinearInitConvTranspose,
    BilinearUpsampling,
    CropLike,
    FitLike,
    MaxUnpool2D,
    PixelShuffle,
    ResizeLike,
)
from keras_dense.models.grid import Canvas, current

# The ways that every decoder can use; "unpool" needs the indices of a pooling.
UPSAMPLING = ("bilinear", "nearest", "transposed", "up_conv", "resize_conv", "pixel_shuffle")


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
    stride: Size = 1,
    kernel_initializer: str | keras.Initializer = "glorot_uniform",
    name: str = "upsample",
    **settings: Any,
) -> Tensor:
    """Upsample a map by an integer factor, in one of the ways known from papers.

    `(B, H, W, C)` → `(B, f H, f W, filters)`, or the size of `like`. Every way but "unpool" starts
    without checkerboard artifacts: a constant map stays constant away from the border, for any
    random weights.

    | `upsampling` | layers | starts as |
    |---|---|---|
    | "bilinear" | bilinear; before it a 1×1 convolution if channels change | |
    | "nearest" | nearest neighbor; before it a 1×1 convolution if channels change | |
    | "transposed" | transposed convolution, stride f, kernel `2 f - f % 2` | bilinear |
    | "up_conv" | transposed convolution, stride f, kernel f (U-Net's up-convolution) | nearest |
    | "resize_conv" | nearest neighbor, then a 3×3 convolution | |
    | "pixel_shuffle" | 3×3 convolution to f² `filters`, then `PixelShuffle` | nearest |
    | "unpool" | `MaxUnpool2D`: values at the positions of the maxima, zeros elsewhere | |

    Inside `kd.assemble` the result lies on the grid of the network, its argument `grid`. Where
    strides divide all sizes, it is the map upsampled by the factor. On other grids, a map is
    interpolated to the size of `like`; learned ways upsample by the factor and are cut to it. So a
    decoder names the finer map, or the image, wherever it knows it.

    Args:
        x: map `(B, H, W, C)`.
        factor: int >= 1, or a pair `(vertical, horizontal)`; 1 does not upsample.
        upsampling: str, one of the above.
        filters: int >= 1, channels of the result; default: those of `x` (with "unpool" those of
            `indices`).
        indices: for "unpool", the second output of `MaxPoolWithArgmax2D(factor)`. If `x` has
            another number of channels, a 1×1 convolution adapts it.
        like: finer map, or the image, whose height and width the result gets. Outside of
            `kd.assemble` the result is upsampled by the factor, and cropped at the bottom and the
            right.
        stride: int >= 1, or a pair: cells of `like` for each cell of the result, for a step towards
            a map that is finer still.
        kernel_initializer: initializer of the weights that mix channels.
        name: str, name of the layer that upsamples.
        **settings: arguments of the layer with the weights, such as `use_bias`, `learnable`.

    Returns:
        A map `(B, f H, f W, filters)`, or in the size of `like`.

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
    like, canvas = target_of(like), current()
    interpolated = upsampling in ("bilinear", "nearest")
    if factor == (1, 1) or interpolated:
        if filters != channels:
            learned["name"] = f"{name}_project"
            x = layers.Conv2D(filters, 1, **learned, data_format="channels_last")(x)
        if factor != (1, 1):
            x = interpolate(x, factor, like, stride=stride, interpolation=upsampling, name=name)
    elif upsampling == "transposed":
        learned["channel_initializer"] = learned.pop("kernel_initializer")
        if canvas is not None and _centered(canvas):
            learned["align_corners"] = True
        x = BilinearInitConvTranspose(filters, factor, data_format="channels_last", **learned)(x)
    elif upsampling == "up_conv":
        learned["kernel_initializer"] = ICNR(
            factor, initializer=kernel_initializer, transposed=True
        )
        x = layers.Conv2DTranspose(
            filters, factor, strides=factor, **learned, data_format="channels_last"
        )(x)
    elif upsampling == "resize_conv":
        near = f"{name}_nearest"
        x = interpolate(x, factor, like, stride=stride, interpolation="nearest", name=near)
        x = layers.Conv2D(filters, 3, padding="same", **learned, data_format="channels_last")(x)
    else:
        learned["kernel_initializer"] = ICNR(factor, initializer=kernel_initializer)
        filters *= factor[0] * factor[1]
        x = layers.Conv2D(filters, 3, padding="same", **learned, data_format="channels_last")(x)
        x = PixelShuffle(factor, name=f"{name}_shuffle")(x)
    if like is None or factor == (1, 1):
        return x
    if canvas is not None and (interpolated or upsampling == "resize_conv"):
        return x
    return fit(x, like, stride=stride, name=f"{name}_crop")


def _centered(canvas: Canvas) -> bool:
    """Whether maps upsampled by a factor are cut on both sides, so that corners are aligned."""
    return canvas.grid.align_corners and not canvas.grid.divides


def target_of(like: Tensor | None) -> Tensor | None:
    """The map whose size another gets: instead of the image, the image after padding."""
    canvas = current()
    return canvas.seen if canvas is not None and like is canvas.image else like


def interpolate(
    x: Tensor,
    factor: Size,
    like: Tensor | None = None,
    *,
    stride: Size = 1,
    interpolation: str = "bilinear",
    name: str,
) -> Tensor:
    """Upsample a map without weights, on the grid of the network.

    Args:
        x: map `(B, H, W, C)`.
        factor: int >= 1, or a pair.
        like: finer map, or the image, see `upsample`.
        stride: int >= 1, or a pair: cells of `like` for each cell of the result.
        interpolation: "bilinear" or "nearest".
        name: str, name of the layer.
    """
    canvas, nearest = current(), interpolation == "nearest"
    if canvas is not None and not canvas.grid.divides and like is not None:
        align_corners = canvas.grid.align_corners and not nearest
        resize = ResizeLike(
            align_corners=align_corners, interpolation=interpolation, stride=stride, name=name
        )
        return resize(x, target_of(like))
    if nearest:
        return layers.UpSampling2D(factor, name=name, data_format="channels_last")(x)
    if canvas is not None and canvas.grid.align_corners:
        size = "multiple" if canvas.grid.divides else "corners"
        return AlignedUpsampling(factor, size=size, data_format="channels_last", name=name)(x)
    return BilinearUpsampling(factor, data_format="channels_last", name=name)(x)


def resize(x: Tensor, like: Tensor, *, name: str) -> Tensor:
    """Resize a map to the size of another, as the grid of the network wants it: bilinear.

    For maps whose size is no multiple of the other one's, such as the bins of a pyramid pooling.

    Args:
        x: map `(B, h, w, C)`.
        like: map `(B, H, W, D)`, or the image.
        name: str, name of the layer.

    Returns:
        A map `(B, H, W, C)`.

    >>> resize(keras.Input((3, 3, 8)), keras.Input((None, 10, 4)), name="resize").shape
    (None, None, 10, 8)
    """
    canvas = current()
    align_corners = canvas is not None and canvas.grid.align_corners
    return ResizeLike(align_corners=align_corners, name=name)(x, target_of(like))


def fit(x: Tensor, like: Tensor, *, stride: Size = 1, name: str) -> Tensor:
    """Cut a map that was upsampled by a factor to the size of another.

    The grid of the network decides where: with aligned corners on both sides, else at the bottom
    and the right. Where strides divide all sizes, the map has that size already, and is returned as
    it is.

    Args:
        x: map `(B, h, w, C)`.
        like: map `(B, H, W, D)`, or the image.
        stride: int >= 1, or a pair: cells of `like` for each cell of the result.
        name: str, name of the layer.

    Returns:
        A map `(B, ceil(H / stride), ceil(W / stride), C)`.
    """
    canvas, stride = current(), _check.pair(stride, "stride")
    if canvas is None and stride[0] == stride[1]:
        return CropLike(stride[0], name=name)(x, like)
    if canvas is not None and canvas.grid.divides:
        return x
    centered = canvas is not None and _centered(canvas)
    return FitLike(stride, centered=centered, name=name)(x, target_of(like))


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

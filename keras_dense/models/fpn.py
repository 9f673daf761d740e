"""FPN for segmentation.

Lin, Dollár, Girshick, He, Hariharan, Belongie, "Feature Pyramid Networks for Object Detection",
CVPR 2017; Kirillov, Girshick, He, Dollár, "Panoptic Feature Pyramid Networks", CVPR 2019.
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import add, conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, read_through
from keras_dense.models.grid import current
from keras_dense.models.upsampling import check_upsampling, doublings, resize, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")


def _conv_gn_relu(x: Tensor, filters: int, name: str) -> Tensor:
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, name=name, data_format="channels_last"
    )(x)
    # 32 groups, or the largest number that divides other widths.
    x = layers.GroupNormalization(math.gcd(32, filters), epsilon=1e-5, name=f"{name}_gn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _pyramid(features: Features, levels: Sequence[str], width: int, smooth: bool) -> list[Tensor]:
    """Features enriched from coarse to fine, coarsest first."""
    pyramid, above = [], None
    for level in levels:
        x = layers.Conv2D(width, 1, name=f"lateral_{level}", data_format="channels_last")(
            feature(features, level, "FPN")
        )
        if above is not None:
            factor = stride_between(x, above)
            if factor != (1, 1):
                above = upsample(above, factor, "nearest", like=x, name=f"top_down_{level}")
            x = layers.Add(name=f"merge_{level}")([x, above])
        above = x
        if smooth:
            x = layers.Conv2D(
                width, 3, padding="same", name=f"pyramid_{level}", data_format="channels_last"
            )(x)
        pyramid.append(x)
    return pyramid


def _brought(x: Tensor, finest: Tensor, level: str) -> Tensor:
    """A map that was doubled several times, in the size of the finest.

    Doubled maps of rounded sizes are too large, and none but the last step knows its size: so the
    published networks resize them once more.
    """
    canvas = current()
    if canvas is None or canvas.grid.divides:
        return x
    return resize(x, finest, name=f"branch_{level}_resize")


def fpn_decoder(
    filters: Sequence[int] = (256, 128),
    *,
    levels: Sequence[str] = LEVELS,
    upsampling: str = "bilinear",
    smooth: bool = True,
    norm: str = "group",
    merge: str = "add",
    dropout: float = 0.0,
) -> Decoder:
    """Features enriched from coarse to fine, then summed at the stride of the finest (figure 3).

    Pyramid: a 1×1 convolution of each feature plus the coarser sum (nearest neighbor), then a 3×3
    convolution. Branch: each of these maps is upsampled by 2 (bilinear) after a 3×3 convolution,
    group norm and ReLU, as often as needed to reach stride 4; the results are summed.

    Args:
        filters: two ints >= 1, channels of the pyramid and of the branch.
        levels: tuple of str, the features that are read, coarsest first.
        upsampling: str, the way of upsampling in the branch, see `kd.decoders.upsample`.
        smooth: bool, whether the pyramid ends in 3×3 convolutions.
        norm: str, "group" or "batch", the normalization in the branch.
        merge: str, "add" or "cat" (concatenate), how the results of the branch are joined.
        dropout: float from 0 to 1, dropout rate of the sum.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for widths below 1, or an unknown upsampling, norm or merge.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.fpn((32, 16), levels=("P5", "P4", "P3"))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    filters, levels = _check.integers(filters, "filters"), tuple(levels)
    if len(filters) != 2 or len(levels) < 1:
        raise ValueError(
            "`filters` must be two widths, of the pyramid and of the branch, and `levels` at least "
            f"one level. Received: filters={filters}, levels={levels}"
        )
    check_upsampling(upsampling)
    _check.choice(norm, "norm", ("group", "batch"))
    _check.choice(merge, "merge", ("add", "cat"))

    def convolve(x: Tensor, name: str) -> Tensor:
        if norm == "group":
            return _conv_gn_relu(x, filters[1], name)
        return conv_bn_relu(x, filters[1], 3, name=name)

    @read_through(1)
    def decode(features: Features) -> Tensor:
        pyramid, maps = _pyramid(features, levels, filters[0], smooth), []
        for level, x in zip(levels, pyramid, strict=True):
            factors = doublings(stride_between(pyramid[-1], x))
            for n, factor in enumerate(factors or [None], 1):
                name = f"branch_{level}_{n}"
                x = convolve(x, name)
                if factor is not None:
                    x = upsample(x, factor, upsampling, name=f"{name}_upsample")
            maps.append(_brought(x, pyramid[-1], level) if factors else x)
        if merge == "add":
            x = add(maps, "branches")
        else:
            x = layers.Concatenate(name="branches")(maps)
        return layers.Dropout(dropout, name="dropout")(x) if dropout else x

    return decode


def fpn(
    backbone: str | keras.Model = "resnet101",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: Sequence[int] = (256, 128),
    upsampling: str = "bilinear",
    dropout: float = 0.0,
) -> keras.Model:
    """Semantic FPN: a feature pyramid whose maps are summed at stride 4; 28.5 M on ResNet-50.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. The features P2 to P5 are read.
        filters: two ints >= 1, channels of the pyramid and of the segmentation branch.
        upsampling: str, the way of upsampling in the branch, see `kd.decoders.upsample`.
        dropout: float from 0 to 1, dropout rate of the map that heads read.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for widths below 1 or an unknown upsampling; see `kd.backbone`,
            `kd.heads.Segmentation`.

    Reference: Kirillov et al., CVPR 2019, section 3.1 and figure 3.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> fpn(backbone, 11, filters=(32, 16)).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = fpn_decoder(filters, upsampling=upsampling, dropout=dropout)
    backbone = make_backbone(backbone, weights, input_shape)
    return build(backbone, decoder, heads, input_shape, name or "fpn", initialize_from, grid)

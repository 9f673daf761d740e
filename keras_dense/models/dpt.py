"""DPT, and the decoder of MiDaS, from which it comes.

Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021; Ranftl,
Lasinger, Hafner, Schindler, Koltun, "Towards Robust Monocular Depth Estimation: Mixing Datasets for
Zero-shot Cross-dataset Transfer", PAMI 2022.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.layers import ResizeLike
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.models.dpt_blocks import (
    convolution,
    depth_scores,
    finer,
    halved,
    reassembled,
    residual_unit,
    segmentation_scores,
    step,
)
from keras_dense.models.grid import current, only
from keras_dense.models.upsampling import target_of
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.graph import source_of
from keras_dense.surgery.strides import stride_between

LEVELS = ("P5", "P4", "P3", "P2")
PATCHES = ("T4", "T3", "T2", "T1")
STYLES = ("depth", "segmentation")
# Of maps of patches, coarsest first.
_FACTORS = tuple(map(Fraction, (0.5, 1, 2, 4)))


class _Settings(NamedTuple):
    """The arguments of `dpt_decoder`, checked."""

    filters: int | tuple[int, ...]
    levels: tuple[str, ...] | None
    reassemble: tuple[int, ...] | None
    batch_norm: bool
    project: bool
    rectify: bool
    style: str | Mapping[str, str]
    head_filters: int
    half_pixel: bool
    dropout: float

    def levels_of(self, features: Features) -> tuple[str, ...]:
        if self.levels is not None:
            return self.levels
        return PATCHES if PATCHES[-1] in features else LEVELS

    def widths(self, count: int) -> tuple[int, ...]:
        widths = (self.filters,) * count if isinstance(self.filters, int) else self.filters
        if len(widths) != count:
            raise _check.fail("filters", f"an int, or one width for each of {count} levels", widths)
        if not self.project and len(set(widths)) > 1:
            raise _check.fail("filters", "one width with project=False", widths)
        return widths

    def style_of(self, key: str) -> str:
        if isinstance(self.style, str):
            return self.style
        if key not in self.style:
            raise _check.fail("style", f"a style for each head, also for {key!r}", self.style)
        return self.style[key]


def _is_raw(level: str) -> bool:
    """Whether a feature is a map of patches, at the stride of the patches."""
    return re.fullmatch(r"P\d", level) is None


def _reassembled(features: Features, levels: Sequence[str], settings: _Settings) -> list[Tensor]:
    """The features, coarsest first; those that are maps of patches at strides of their own."""
    maps = [feature(features, level, "DPT") for level in levels]
    if not any(map(_is_raw, levels)):
        return maps
    only(
        ("multiple", "multiple_corners"),
        "maps of patches need an image that is padded to whole patches.",
    )
    if len(levels) != len(_FACTORS):
        raise _check.fail("levels", "four features, where some are maps of patches", levels)
    channels = max(x.shape[-1] for x in maps)
    shares = (1, 1, 2, 4) if channels >= 1024 else (1, 2, 4, 8)
    widths = settings.reassemble or tuple(max(1, channels // n) for n in shares)
    return [
        reassembled(x, width, factor, f"reassemble_{level}") if _is_raw(level) else x
        for x, level, width, factor in zip(maps, levels, widths, _FACTORS, strict=True)
    ]


def _fused(maps: Sequence[Tensor], levels: Sequence[str], settings: _Settings) -> list[Tensor]:
    """The map after each fusion, coarsest first (figure 1, right).

    Each is upsampled to the next feature, the last one twofold.
    """
    raw, image = any(map(_is_raw, levels)), source_of(maps[-1])
    unit = partial(residual_unit, batch_norm=settings.batch_norm, rectify=settings.rectify)
    widths, fused = settings.widths(len(levels)), []
    maps = [
        convolution(x, width, use_bias=False, name=f"narrow_{level}")
        for x, width, level in zip(maps, widths, levels, strict=True)
    ]
    above: Tensor | None = None
    for n, (x, level) in enumerate(zip(maps, levels, strict=True)):
        name = f"fusion_{level}"
        if above is not None:
            x = layers.Add(name=f"{name}_add")([above, unit(x, name=f"{name}_unit_1")])
        x = unit(x, name=f"{name}_unit_2")
        last = n == len(maps) - 1
        if settings.project:
            # After the upsampling in the paper; both commute, and this is a quarter of the work.
            x = convolution(x, widths[n if last else n + 1], 1, name=f"{name}_project")
        above = x = step(x, None if last else maps[n + 1], image, raw, f"{name}_upsample")
        fused.append(x)
    return fused


def _scores(x: Tensor, key: str, wanted: Wanted, raw: bool, settings: _Settings) -> Tensor:
    """Scores of one head."""
    image, style = source_of(x), settings.style_of(key)
    # Scores of a coarse head are not upsampled first.
    coarse = style == "segmentation" and wanted.stride > 1

    def grow(y: Tensor, name: str) -> Tensor:
        if raw:
            # The stride of maps of patches need not be an integer.
            canvas = current()
            corners = canvas is not None and canvas.grid.align_corners
            corners = corners and not settings.half_pixel and not coarse
            stride = wanted.stride if coarse else 1
            return ResizeLike(align_corners=corners, stride=stride, name=name)(y, target_of(image))
        if coarse:
            return y
        factor, stride = halved(stride_between(image, y))
        return finer(y, factor, image, stride, settings.half_pixel, name)

    if style == "depth":
        return depth_scores(x, wanted, grow, settings.head_filters)
    return segmentation_scores(x, wanted, grow, settings.dropout)


def _checked_style(style: str | Mapping[str, str]) -> str | dict[str, str]:
    if isinstance(style, Mapping):
        return {key: _check.choice(one, "style", STYLES) for key, one in style.items()}
    return _check.choice(style, "style", STYLES)


def dpt_decoder(
    filters: int | Sequence[int] = 256,
    *,
    levels: Sequence[str] | None = None,
    reassemble: Sequence[int] | None = None,
    batch_norm: bool = False,
    project: bool = True,
    rectify: bool = False,
    style: str | Mapping[str, str] = "depth",
    head_filters: int = 32,
    half_pixel: bool = False,
    dropout: float = 0.1,
) -> Decoder:
    """Features fused from coarse to fine by residual units, up to half the size (figure 1).

    A plain transformer's features are maps of patches, all of one stride s. They are projected and
    brought to the strides s/4, s/2, s and 2 s. From the coarsest on, a 3×3 convolution narrows a
    feature, a residual unit adapts it, the map so far is added, a second unit follows, and the map
    is upsampled to the next feature. Every head has layers of its own:

    | `style` | layers of a head |
    |---|---|
    | "depth" | 3×3 convolution to half the channels, upsampling, 3×3 to `head_filters`, ReLU, 1×1 |
    | "segmentation" | 3×3 convolution, batch norm, ReLU, dropout, 1×1, upsampling |

    Args:
        filters: int >= 1, channels of all maps; or one for each level, coarsest first.
        levels: names of the features that are read, coarsest first; default: "T4" to "T1" where a
            backbone has them, else "P5" to "P2". Names other than "P" and a digit are maps of
            patches.
        reassemble: ints >= 1, channels of the projected maps of patches, coarsest first; default:
            C, C/2, C/4, C/8 of C channels, from 1024 channels on C, C, C/2, C/4, as the authors'.
        batch_norm: bool, whether batch norms follow the convolutions of residual units, as in the
            authors' networks for segmentation.
        project: bool, whether a 1×1 convolution ends each fusion. MiDaS v2.1 has none.
        rectify: bool, whether residual units add their input after the ReLU, as in MiDaS v2.1.
        style: str, the layers of heads, see the table; or a dict with one for each head.
        head_filters: int >= 1, channels before the scores in the style "depth".
        half_pixel: bool, whether the upsampling of heads does not align corners, though the grid
            does, as in MiDaS v2.1.
        dropout: float from 0 to below 1, dropout rate before the scores in the style
            "segmentation".

    Returns:
        A decoder for `kd.assemble`. The authors align corners: `grid="multiple_corners"`.

    Raises:
        ValueError: for widths below 1, an unknown style, or other numbers of widths than levels.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> decoder = kd.decoders.dpt(32)
    >>> kd.assemble(backbone, decoder, kd.heads.Depth()).output_shape
    (None, None, None, 1)
    """
    if isinstance(filters, Sequence):
        filters = _check.integers(filters, "filters")
    else:
        filters = _check.integer(filters, "filters", low=1)
    if levels is not None and (isinstance(levels, str) or not levels):
        raise _check.fail("levels", "one or more names of features, coarsest first", levels)
    if reassemble is not None:
        reassemble = _check.integers(reassemble, "reassemble", length=len(_FACTORS))
    settings = _Settings(
        filters,
        None if levels is None else tuple(levels),
        reassemble,
        _check.flag(batch_norm, "batch_norm"),
        _check.flag(project, "project"),
        _check.flag(rectify, "rectify"),
        _checked_style(style),
        _check.integer(head_filters, "head_filters", low=1),
        _check.flag(half_pixel, "half_pixel"),
        _check.number(dropout, "dropout", 0, below=1),
    )

    @Decoder
    def decode(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        names = settings.levels_of(features)
        x = _fused(_reassembled(features, names, settings), names, settings)[-1]
        raw = any(map(_is_raw, names))
        return {
            key: Prediction(_scores(x, key, head, raw, settings)) for key, head in wanted.items()
        }

    return decode


def dpt(
    backbone: str | keras.Model = "resnext101_32x8d",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    filters: int | Sequence[int] = 256,
    batch_norm: bool | None = None,
    dropout: float = 0.1,
) -> keras.Model:
    """DPT: features of a transformer as maps of several strides, fused by residual units.

    On a backbone with the features P2 to P5 it is close to the network of MiDaS v2.1, which has no
    projections: about 104 M weights on ResNeXt-101.

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from: common to all
            builders, see `kd.models`. Either maps of patches T1 to T4 are read, or the features P2
            to P5.
        grid: see `kd.models`; default: "multiple_corners", as the authors'.
        filters: int >= 1, channels of the decoder; or one for each level, coarsest first.
        batch_norm: bool, whether residual units have batch norms; default: if all heads predict
            classes, as the authors'.
        dropout: float from 0 to below 1, dropout rate before the scores of classes.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → predictions of the heads.

    Raises:
        ValueError, TypeError: for widths below 1, or a grid that maps of patches do not allow; see
            `kd.backbone`, `kd.heads.Segmentation`.

    Reference: Ranftl et al., ICCV 2021, section 3 and figure 1.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> dpt(backbone, heads=kd.heads.Depth(), filters=16).output_shape
    (None, None, None, 1)
    """
    heads = Heads.of(heads, num_classes)
    style = {
        key: "segmentation" if head.mode is not None or head.stride > 1 else "depth"
        for key, head in heads.final().items()
    }
    if batch_norm is None:
        batch_norm = all(head.mode is not None for head in heads.final().values())
    settings: dict[str, Any] = {"batch_norm": batch_norm, "style": style, "dropout": dropout}
    decoder = dpt_decoder(filters, **settings)
    backbone = make_backbone(backbone, weights, input_shape, patches=True)
    grid = "multiple_corners" if grid is None else grid
    return build(backbone, decoder, heads, input_shape, name or "dpt", initialize_from, grid)

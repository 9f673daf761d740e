"""Stacked Deconvolutional Network (SDN).

Fu, Liu, Wang, Zhou, Wang, Lu, "Stacked Deconvolutional Network for Semantic Segmentation", IEEE
Transactions on Image Processing 2019 (arXiv 1708.04943).
"""

from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Features, PathLike, Shape, Tensor
from keras_dense.heads import Heads
from keras_dense.models.blocks import add, conv_bn_relu
from keras_dense.models.build import HeadsLike, build, make_backbone
from keras_dense.models.decoder import Decoder, Prediction, Wanted
from keras_dense.models.grid import current
from keras_dense.models.upsampling import check_upsampling, fit, upsample
from keras_dense.surgery import dilate
from keras_dense.surgery.feature_pyramid import feature

# Levels of the maps from which scores are predicted, coarse to fine.
_SCORED = ("P4", "P3", "P2")


def _pooled(x: Tensor, like: Tensor, name: str) -> Tensor:
    """A map pooled by 2 to the size of another."""
    canvas = current()
    divides = canvas is None or canvas.grid.divides
    padding = "valid" if divides else "same"
    x = layers.MaxPooling2D(2, padding=padding, name=name, data_format="channels_last")(x)
    return x if divides else fit(x, like, name=f"{name}_fit")


class _Units(NamedTuple):
    """Encoders and decoders one after the other; their maps are named P2, P3, P4 by stride."""

    units: int
    growth: int
    convolutions: int
    widths: dict[str, int]
    upsampling: str

    def block(self, maps: list[Tensor], level: str, name: str) -> Tensor:
        """Densely connected 3×3 convolutions of concatenated maps, compressed at the end."""
        for n in range(1, self.convolutions + 1):
            x = layers.Concatenate(name=f"{name}_concat{n}")(maps)
            maps = [x, conv_bn_relu(x, self.growth, 3, name=f"{name}_conv{n}")]
        x = layers.Concatenate(name=f"{name}_concat")(maps)
        return conv_bn_relu(x, self.widths[level], 3, name=f"{name}_compress")

    def encoder(self, before: Features, name: str) -> Tensor:
        """From stride 4 to 16, joined with the maps of the unit before."""
        x = before["P2"]
        for level in ("P3", "P4"):
            x = _pooled(x, before[level], f"{name}_{level}_pool")
            x = self.block([x, before[level]], level, f"{name}_{level}_down")
        return x

    def decoder(self, x: Tensor, skips: Features, name: str) -> Features:
        """From stride 16 to 4, joined with the features of the backbone."""
        maps = {"P4": x}
        for level in ("P3", "P2"):
            here = f"{name}_{level}"
            x = upsample(x, 2, self.upsampling, like=skips[level], name=f"{here}_deconvolution")
            skip = conv_bn_relu(skips[level], self.growth, 3, name=f"{here}_skip")
            x = maps[level] = self.block([x, skip], level, f"{here}_up")
        return maps

    def __call__(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> list[Features]:
        """The maps of every unit, from the backbone's features of stride 4, 8 and 16."""
        skips = {"P2": fine, "P3": middle}
        x = conv_bn_relu(coarse, self.widths["P4"], 3, name="unit1_P4_compress")
        maps = [self.decoder(x, skips, "unit1")]
        for n in range(2, self.units + 1):
            x = self.encoder(maps[-1], f"unit{n}")
            maps.append(self.decoder(x, skips, f"unit{n}"))
        return maps


def _score(all_maps: list[Features], wanted: Wanted) -> Prediction:
    """Scores of one head: those of a scale are added up over the units."""
    totals: Features = {}
    early: Features = {}
    for n, maps in enumerate(all_maps, 1):
        for level in _SCORED:
            name = f"{wanted.prefix}unit{n}_{level}_scores"
            x = layers.Conv2D(
                wanted.channels, 3, padding="same", name=name, data_format="channels_last"
            )(maps[level])
            before = [totals[level]] if level in totals else []
            totals[level] = early[f"unit{n}_{level}"] = add([*before, x], name=f"{name}_sum")
    return Prediction(early.pop(f"unit{len(all_maps)}_P2"), early)


def stacked_deconvolutional_network_decoder(
    units: int = 3,
    *,
    growth: int = 48,
    convolutions: int = 2,
    widths: Sequence[int] = (576, 768, 1024),
    levels: Sequence[str] = ("P2", "P3", "P5"),
    upsampling: str = "up_conv",
) -> Decoder:
    """Units of an encoder and a decoder one after the other, each supervised at three scales.

    The first encoder is the backbone. A decoder upsamples twice; a later encoder pools twice and,
    at each scale, joins the map of the unit before it (inter-unit connections). All decoders read
    the backbone's finer features. The scores of a scale are added up over the units.

    Predictions of the units before the last one, and those of every unit at coarser scales, are
    available to `kd.heads.Intermediate`: "unit1_P4", "unit1_P3", "unit1_P2", "unit2_P4", ….

    Args:
        units: int >= 1, number of encoders and decoders.
        growth: int >= 1, channels of a densely connected convolution, and of the backbone's
            features where a decoder joins them.
        convolutions: int >= 1, densely connected convolutions in a block.
        widths: three ints >= 1, channels at the end of a block, at strides 4, 8 and 16.
        levels: three str, the backbone's features of stride 4, 8 and 16.
        upsampling: str, see `kd.decoders.upsample`; the paper's is a 2×2 deconvolution of stride 2.

    Returns:
        A decoder for `kd.assemble`.

    Raises:
        ValueError: for numbers below 1, other than three widths or levels, or an unknown way of
            upsampling.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.surgery.dilate(kd.backbone("mobilenet", weights=None, alpha=0.25), 16)
    >>> decoder = kd.decoders.stacked_deconvolutional_network(1, growth=8, widths=(16, 24, 32))
    >>> kd.assemble(backbone, decoder, kd.heads.Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    widths = _check.integers(widths, "widths")
    for argument, value in (("widths", widths), ("levels", tuple(levels))):
        if len(value) != 3:
            raise ValueError(
                f"`{argument}` must be three values, for the strides 4, 8 and 16. "
                f"Received: {argument}={value!r}"
            )
    stack = _Units(
        _check.integer(units, "units", low=1),
        _check.integer(growth, "growth", low=1),
        _check.integer(convolutions, "convolutions", low=1),
        dict(zip(("P2", "P3", "P4"), widths, strict=True)),
        check_upsampling(upsampling),
    )

    @Decoder
    def decode(features: Features, wanted: dict[str, Wanted]) -> dict[str, Prediction]:
        maps = stack(*(feature(features, level) for level in levels))
        return {key: _score(maps, head) for key, head in wanted.items()}

    return decode


def stacked_deconvolutional_network(
    backbone: str | keras.Model = "densenet161",
    num_classes: int | None = None,
    *,
    heads: HeadsLike | None = None,
    weights: PathLike | None = "imagenet",
    input_shape: Shape = (None, None, 3),
    name: str | None = None,
    initialize_from: keras.Model | PathLike | None = None,
    grid: str | None = None,
    units: int = 3,
    growth: int = 48,
    convolutions: int = 2,
    widths: Sequence[int] = (576, 768, 1024),
    levels: Sequence[str] = ("P2", "P3", "P5"),
    upsampling: str = "up_conv",
) -> keras.Model:
    """SDN: shallow deconvolutional networks stacked on a DenseNet-161 at stride 16.

    Down to stride 16 and up to stride 4 again, `units` times, with connections between units. The
    published network is supervised at all scales of all units:

        stages = [f"unit{n}_{level}" for n in (1, 2, 3) for level in ("P4", "P3", "P2")][:-1]
        heads = kd.heads.with_intermediate(kd.heads.Segmentation(21), stages)
        model = kd.stacked_deconvolutional_network(heads=heads, weights=path)

    Args:
        backbone, num_classes, heads, weights, input_shape, name, initialize_from, grid: common to
            all builders, see `kd.models`. No weights of "densenet161" are published for Keras;
            `keras.applications` has those of "densenet121", "densenet169" and "densenet201".
        units: int >= 1, number of encoders and decoders.
        growth: int >= 1, channels of a densely connected convolution.
        convolutions: int >= 1, densely connected convolutions in a block.
        widths: three ints >= 1, channels at the end of a block, at strides 4, 8 and 16.
        levels: three str, the backbone's features of stride 4, 8 and 16.
        upsampling: str, see `kd.decoders.upsample`; the paper's is a 2×2 deconvolution of stride 2.

    Returns:
        A `keras.Model`: RGB images 0–255 `(B, H, W, C)` → logits `(B, H, W, num_classes)`.

    Raises:
        ValueError, TypeError: for numbers below 1 or an unknown way of upsampling; see
            `kd.backbone`, `kd.surgery.dilate`, `kd.heads.Segmentation`.

    Reference: Fu et al., arXiv 1708.04943, section 3 and figure 2.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    >>> settings = {"units": 2, "growth": 8, "widths": (16, 24, 32)}
    >>> stacked_deconvolutional_network(backbone, 11, **settings).output_shape
    (None, None, None, 11)
    """
    heads = Heads.of(heads, num_classes)
    decoder = stacked_deconvolutional_network_decoder(
        units,
        growth=growth,
        convolutions=convolutions,
        widths=widths,
        levels=levels,
        upsampling=upsampling,
    )
    backbone = dilate(make_backbone(backbone, weights, input_shape), 16)
    name = name or "stacked_deconvolutional_network"
    return build(backbone, decoder, heads, input_shape, name, initialize_from, grid)

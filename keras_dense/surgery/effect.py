"""The effect of an operation on a map: the one file that knows kinds of layers.

`effect(node)` describes a call in a few numbers. Strides, receptive fields, dilation and the other
operations of this subpackage read their answers off the description, so a new layer needs one row
in the table at the end of this file:

    Each         every cell of the result depends on the same cell of the inputs
    Window       on a window of cells: convolution, pooling
    Spread       every cell is added into a window of a finer map: transposed convolution
    Resized      the map at another size, by interpolation
    Unpool       every cell is written to one place of a window of a finer map
    Border       cells are added around the map, or cut off
    Grown        cells are added at the bottom and the right, as many as the size of the map needs
    Like         the map is brought to the grid of another
    Several      every input has an effect of its own; the results are joined cell by cell
    Whole        every cell of the result depends on the whole map
    Scattered    the result is no map: pixels at given positions
    Unknown      not described; `pointwise.is_pointwise` tries the operation
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from keras import KerasTensor, layers, ops, tree

from keras_dense.layers import (
    AdaptiveAveragePooling2D,
    AlignedUpsampling,
    AnnealedMean,
    AtrousAveragePooling2D,
    AtrousMaxPooling2D,
    BilinearInitConvTranspose,
    BilinearUpsampling,
    ClassFeatures,
    ClassPresence,
    CRFasRNN,
    CropLike,
    DepthActivation,
    FitLike,
    GatherPixels,
    HypercolumnMLP,
    Lightness,
    LocalResponseNormalization,
    LocationBias,
    MaxPoolWithArgmax2D,
    MaxUnpool2D,
    MergePatches,
    PadToMinimum,
    PadToMultiple,
    PixelShuffle,
    PlaceLike,
    PositionAttention,
    RebuildByColor,
    Recolor,
    ReflectionPadding2D,
    ResizeLike,
    SpatialReductionAttention,
    Standardize,
    TagGate,
    UnitNormals,
    WindowAttention,
)
from keras_dense.layers.bilinear import bilinear_kernel
from keras_dense.layers.cascade import Certainty, KeepCells, PoolKeptCells, Settled, Unsure
from keras_dense.layers.head_output import HeadOutput
from keras_dense.layers.hub_block import HubBlock
from keras_dense.layers.phases import PhasePooling2D, TilePhases
from keras_dense.layers.tokens import PatchTokens, TokenMap

Pair = tuple[int, int]
Sides = tuple[Pair, Pair]

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
MAX_POOLING = (layers.MaxPooling2D, AtrousMaxPooling2D)
AVERAGE_POOLING = (layers.AveragePooling2D, AtrousAveragePooling2D)
POOLING = MAX_POOLING + AVERAGE_POOLING
GLOBAL_POOLING = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, PhasePooling2D)
# `keras.ops.pad`, whose class is not public.
_PAD = type(ops.pad(KerasTensor((1,)), 1)._keras_history.operation)
PADDING = (layers.ZeroPadding2D, _PAD)


class Effect:
    """Base class of all effects."""


@dataclass(frozen=True)
class Each(Effect):
    """Every cell of the result depends on the same cell of the inputs.

    Attributes:
        placed: whether it depends on the place of the cell on the map, too.
    """

    placed: bool = False


@dataclass(frozen=True)
class Window(Effect):
    """Every cell depends on `kernel` cells, `rate` apart; windows begin `strides` apart.

        cells                       a b c d e f g
        kernel 3, rate 2            a   c   e
        strides 2: the next one         c   e   g

    Attributes:
        kernel, rate, strides: pairs `(vertical, horizontal)`.
        padding: "same", "valid", or `((top, bottom), (left, right))`.
    """

    kernel: Pair
    rate: Pair
    strides: Pair
    padding: str | Sides


class Finer(Effect):
    """An effect that makes a map `factor` times as fine."""

    factor: tuple[int | Fraction, int | Fraction]


@dataclass(frozen=True)
class Spread(Finer):
    """Every cell is added into a window of `kernel` cells of a map `factor` times as fine.

    Attributes:
        kernel, rate, factor: pairs.
        padding: "same" or "valid".
        extra: pair, `output_padding` of `keras.layers.Conv2DTranspose`.
    """

    kernel: Pair
    rate: Pair
    factor: Pair
    padding: str
    extra: tuple[int | None, int | None] = (None, None)


@dataclass(frozen=True)
class Resized(Finer):
    """The map with `factor` times as many cells, by interpolation, half-pixel by default.

    Attributes:
        factor: pair of ints or fractions.
        interpolation: "nearest", "bilinear", …, as in `keras.layers.UpSampling2D`.
        cells: pair, the new size; `None`: the old one times the factor.
        align_corners: whether the outermost cells of both maps lie on each other.
        between: whether new cells come only between old ones: `f (n - 1) + 1` of n.
    """

    factor: tuple[int | Fraction, int | Fraction]
    interpolation: str = "bilinear"
    cells: Pair | None = None
    align_corners: bool = False
    between: bool = False


@dataclass(frozen=True)
class Unpool(Finer):
    """Values are written to where the maxima of a pooling were: `(x, indices)`, or a third map.

    Attributes:
        kernel, factor, padding: size, strides and padding of the pooling. A third map gives the
            size of the map that was pooled.
    """

    kernel: Pair
    factor: Pair
    padding: str | Sides


@dataclass(frozen=True)
class Border(Effect):
    """Cells added around the map, or cut off.

    Attributes:
        sides: `((top, bottom), (left, right))`, negative where cells are cut off.
        zeros: whether the new cells are of one number; otherwise the map goes on, mirrored.
    """

    sides: Sides
    zeros: bool = True


@dataclass(frozen=True)
class Grown(Effect):
    """Cells added at the bottom and the right, to a multiple or a minimum of height and width.

    Attributes:
        multiple, remainder: the new size is a multiple plus the remainder.
        minimum: the smallest new size.
    """

    multiple: int = 1
    minimum: int = 1
    remainder: int = 0

    def cells(self, count: int) -> int:
        return max(count + (self.remainder - count) % self.multiple, self.minimum)


@dataclass(frozen=True)
class Like(Effect):
    """The first input brought to the grid or the size of the last one.

    Attributes:
        how: "resize" (interpolated), "crop" (top left corner kept), "center" (cut on both sides),
            "phases" (its cells in turn), or "place" (cells to known pixels of an image).
        stride: of "resize", "crop" and "center", a pair: cells of the last input for each cell of
            the result.
        interpolation, align_corners: of "resize".
        first, step, size: of "place", see `kd.layers.PlaceLike`.
    """

    how: str
    stride: Pair = (1, 1)
    interpolation: str = "bilinear"
    align_corners: bool = False
    first: float = 0.0
    step: float = 1.0
    size: Pair | None = None


@dataclass(frozen=True)
class Several(Effect):
    """One effect for each input, in order; the results are joined cell by cell."""

    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Whole(Effect):
    """Every cell of the result depends on the whole map.

    Attributes:
        grid: whether the result lies on the grid of the map, as a normalization over the map does;
            otherwise the number of pixels for each cell depends on the size of the image.
        gate: whether the result meets the map again (squeeze-and-excite, pyramid pooling,
            normalization); `None` where the operations after it decide.
    """

    grid: bool = False
    gate: bool | None = None


@dataclass(frozen=True)
class Scattered(Effect):
    """Pixels at positions that are an input: no map any more."""


@dataclass(frozen=True)
class Unknown(Effect):
    """An operation without a row in the table."""


def pair(value: Any) -> tuple:
    """A number for both axes, or one for each, as a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def window_of(op: layers.Layer) -> Window:
    """The window of a convolution or pooling."""
    kernel = op.kernel_size if isinstance(op, CONVOLUTIONS) else op.pool_size
    rate = getattr(op, "rate", None) or getattr(op, "dilation_rate", 1)
    return Window(pair(kernel), pair(rate), pair(op.strides), op.padding)


def effect(node: Any) -> Effect:
    """The effect of a call of an operation.

    A layer of a class derived from a convolution, a pooling, … has the effect of that class; one
    derived from a layer that looks at each cell alone is `Unknown`.

    Args:
        node: the call, as `kd.surgery.walk` hands it out.

    >>> image = layers.Input((None, None, 3))
    >>> effect(layers.Conv2D(4, 3, strides=2)(image)._keras_history.operation._inbound_nodes[0])
    Window(kernel=(3, 3), rate=(1, 1), strides=(2, 2), padding='valid')
    """
    op = node.operation
    for kind in type(op).__mro__:
        if kind in EFFECTS:
            found = EFFECTS[kind](op, node)
            own_code = isinstance(found, Each) and type(op) is not kind
            return Unknown() if own_code else found
    return Unknown()


# Names of arguments of layers that take several maps, in the order of their signatures.
_ORDER = ("x", "phases", "ab", "maps", "indices", "like", "image")


def inputs_of(args: tuple, kwargs: dict[str, Any], kind: type) -> list:
    """The arguments of a call that are of type `kind`, in the order of the call's signature."""
    named = sorted(kwargs, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))
    ordered = (args, [kwargs[name] for name in named])
    return [value for value in tree.flatten(ordered) if isinstance(value, kind)]


# The table


def _each(op, node):
    axis = getattr(op, "axis", -1)
    return Each() if axis in (-1, len(node.outputs[0].shape) - 1) else Unknown()


def _placed(op, node):
    return Each(placed=True)


def _window(op, node):
    return window_of(op)


def _transposed(op, node):
    return Spread(
        pair(op.kernel_size),
        pair(op.dilation_rate),
        pair(op.strides),
        op.padding,
        pair(op.output_padding),
    )


def _bilinear_transposed(op, node):
    kernel = tuple(len(bilinear_kernel(f)) for f in op.factor)
    return Spread(kernel, (1, 1), op.factor, "same")


def _resizing(op, node):
    """A fixed size: the factor is known if the size of the map is."""
    sizes = node.input_tensors[0].shape[1:3]
    plain = not (op.crop_to_aspect_ratio or op.pad_to_aspect_ratio or op.antialias)
    if None in sizes or not plain:
        return Whole(gate=False)
    cells = (op.height, op.width)
    factor = tuple(Fraction(new, old) for new, old in zip(cells, sizes, strict=True))
    return Resized(factor, op.interpolation, cells)


def _hypercolumn(op, node):
    if len(node.outputs[0].shape) != 4:
        return Scattered()
    return Several(tuple(Resized(stride) for stride in op.strides))


def _layer_norm(op, node):
    axes = {axis % len(node.outputs[0].shape) for axis in tree.flatten(op.axis)}
    alone = axes == {len(node.outputs[0].shape) - 1}
    return Each() if alone else Whole(grid=True, gate=True)


def _cut(op, node):
    return Border(tuple(tuple(-n for n in ends) for ends in op.cropping))


def _placing(op, node):
    return Like("place", first=op.first, step=op.step, size=op.size)


def _aligned(op, node):
    return Resized(op.factor, align_corners=True, between=op.size == "corners")


def _resized_like(op, node):
    # Cell i is the one at floor(i n / m), which for half-pixel nearest is floor((i + 1/2) n / m).
    interpolation = "first" if op.interpolation == "nearest" else op.interpolation
    return Like("resize", op.stride, interpolation, op.align_corners)


def _padded(op, node):
    """Cells of one number around the map, such as minus infinity before a pooling."""
    sides = tuple(tuple(ends) for ends in op.pad_width)
    if op.mode != "constant" or len(sides) != 4 or any(map(any, (sides[0], sides[3]))):
        return Unknown()
    return Border(sides[1:3])


def _mirrored(op, node):
    margin = op.margin
    return Border(((margin, margin),) * 2 if isinstance(margin, int) else margin, zeros=False)


_POINTWISE = (
    layers.Activation,
    layers.Add,
    layers.Average,
    layers.Dense,
    layers.Dropout,
    layers.ELU,
    layers.EinsumDense,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.ReLU,
    layers.Rescaling,
    layers.Subtract,
    AnnealedMean,
    Certainty,
    DepthActivation,
    HeadOutput,
    KeepCells,
    Lightness,
    LocalResponseNormalization,
    Settled,
    Standardize,
    TagGate,
    UnitNormals,
    Unsure,
)

# How to read the effect of a call, by class of the operation: `function(op, node)`.
EFFECTS: dict[type, Callable[[Any, Any], Effect]] = {
    **dict.fromkeys(_POINTWISE, lambda op, node: Each()),
    **dict.fromkeys((*CONVOLUTIONS, *POOLING, MaxPoolWithArgmax2D), _window),
    layers.Softmax: _each,
    layers.BatchNormalization: _each,
    layers.Concatenate: _each,
    LocationBias: _placed,
    layers.Conv2DTranspose: _transposed,
    BilinearInitConvTranspose: _bilinear_transposed,
    layers.UpSampling2D: lambda op, node: Resized(pair(op.size), op.interpolation),
    BilinearUpsampling: lambda op, node: Resized(op.factor),
    AlignedUpsampling: _aligned,
    PixelShuffle: lambda op, node: Resized(op.factor, "nearest"),
    layers.Resizing: _resizing,
    MaxUnpool2D: lambda op, node: Unpool(op.pool_size, op.strides, op.padding),
    HypercolumnMLP: _hypercolumn,
    Recolor: lambda op, node: Several((Resized((op.stride, op.stride)), Each())),
    layers.ZeroPadding2D: lambda op, node: Border(op.padding),
    _PAD: _padded,
    layers.Cropping2D: _cut,
    ReflectionPadding2D: _mirrored,
    PadToMultiple: lambda op, node: Grown(multiple=op.multiple, remainder=op.remainder),
    PadToMinimum: lambda op, node: Grown(minimum=op.minimum),
    ResizeLike: _resized_like,
    CropLike: lambda op, node: Like("crop", pair(op.stride)),
    FitLike: lambda op, node: Like("center" if op.centered else "crop", op.stride),
    TilePhases: lambda op, node: Like("phases"),
    PlaceLike: _placing,
    layers.LayerNormalization: _layer_norm,
    layers.GroupNormalization: lambda op, node: Whole(grid=True, gate=True),
    CRFasRNN: lambda op, node: Whole(grid=True, gate=False),
    RebuildByColor: lambda op, node: Whole(grid=True, gate=False),
    MergePatches: lambda op, node: Window(pair(op.factor), (1, 1), pair(op.factor), "same"),
    SpatialReductionAttention: lambda op, node: Whole(grid=True, gate=True),
    WindowAttention: lambda op, node: Whole(grid=True, gate=True),
    PositionAttention: lambda op, node: Whole(grid=True, gate=True),
    layers.Flatten: lambda op, node: Whole(),
    **dict.fromkeys(
        (*GLOBAL_POOLING, ClassFeatures, ClassPresence, PoolKeptCells), lambda op, node: Whole()
    ),
    AdaptiveAveragePooling2D: lambda op, node: Whole(gate=True),
    PatchTokens: lambda op, node: Whole(gate=False),
    HubBlock: lambda op, node: Whole(grid=len(node.outputs[0].shape) == 4, gate=False),
    TokenMap: lambda op, node: Like("resize", op.stride),
    GatherPixels: lambda op, node: Scattered(),
}

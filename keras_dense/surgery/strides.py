"""How many pixels of the image lie between two neighboring cells of a feature map."""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import keras
from keras import layers, tree

from keras_dense.layers import (
    AtrousAveragePooling2D,
    AtrousMaxPooling2D,
    MaxPoolWithArgmax2D,
    MaxUnpool2D,
)
from keras_dense.layers.bilinear import BilinearInitConvTranspose, BilinearUpsampling
from keras_dense.layers.context import AdaptiveAveragePooling2D, PixelShuffle, ResizeLike
from keras_dense.layers.hypercolumn import HypercolumnMLP
from keras_dense.layers.phases import PhasePooling2D
from keras_dense.surgery.graph import functional, source_of, values, walk

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
MAX_POOLING = (layers.MaxPooling2D, AtrousMaxPooling2D)
AVERAGE_POOLING = (layers.AveragePooling2D, AtrousAveragePooling2D)
POOLING = MAX_POOLING + AVERAGE_POOLING
WINDOWED = (*CONVOLUTIONS, *POOLING, MaxPoolWithArgmax2D)
_UP = {
    layers.Conv2DTranspose: "strides",
    layers.UpSampling2D: "size",
    BilinearUpsampling: "factor",
    BilinearInitConvTranspose: "factor",
    PixelShuffle: "factor",
    MaxUnpool2D: "strides",
}
GLOBAL_POOLING = (layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, PhasePooling2D)
# How many pixels a cell of theirs stands for depends on the size of the image.
_OFF_GRID = (*GLOBAL_POOLING, AdaptiveAveragePooling2D)
_PROBE = 1024


@dataclass(frozen=True, eq=False)
class Stride:
    """Pixels per cell, vertical and horizontal; `None` for a tensor that is no map."""

    value: tuple | None


def pair(value):
    """A number for both axes, or one for each, as a pair."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def window_of(op):
    """Taps, distance between taps, and strides of a convolution or pooling, each as a pair."""
    taps = op.kernel_size if isinstance(op, CONVOLUTIONS) else op.pool_size
    rate = getattr(op, "rate", None) or getattr(op, "dilation_rate", 1)
    return pair(taps), pair(rate), pair(op.strides)


def step(node):
    """By how much a call coarsens its map, `(vertical, horizontal)`; `None`: no map left."""
    op = node.operation
    if isinstance(op, keras.Model):
        return tree.flatten(_traced(op))[0].value
    for kind, attribute in _UP.items():
        if isinstance(op, kind):
            return tuple(Fraction(1, f) for f in pair(getattr(op, attribute)))
    if isinstance(op, WINDOWED):
        return pair(op.strides)
    if len(node.outputs[0].shape) != 4 or isinstance(op, _OFF_GRID):
        return None
    known = isinstance(op, layers.Layer) and type(op).__module__.partition(".")[0] == "keras"
    return (1, 1) if known else _probed(node)


def _probed(node):
    """The step of an operation not known here: what it makes of a large map."""
    tensors = node.input_tensors
    if len(tensors) != 1 or len(tensors[0].shape) != 4 or tensors[0].shape[-1] is None:
        return (1, 1)
    large = keras.KerasTensor((1, _PROBE, _PROBE, tensors[0].shape[-1]), dtype=tensors[0].dtype)
    args, kwargs = node.arguments.fill_in({id(tensors[0]): large})
    sizes = tree.flatten(node.operation.compute_output_spec(*args, **kwargs))[0].shape[1:3]
    return tuple(
        Fraction(round(_PROBE / size)) if size < _PROBE else Fraction(1, round(size / _PROBE))
        for size in sizes
    )


def stride_after(node, args, kwargs):
    """The stride of what a call makes of maps with known strides."""
    if isinstance(node.operation, ResizeLike):
        return Stride((kwargs["like"] if "like" in kwargs else args[-1]).value)
    maps = [x.value for x in values(args, kwargs, Stride) if x.value is not None]
    if isinstance(node.operation, HypercolumnMLP) and len(node.outputs[0].shape) == 4:
        finer = zip(maps[0], node.operation.strides[0], strict=True)
        return Stride(tuple(s * Fraction(1, f) for s, f in finer))
    factor = step(node) if maps else None
    if factor is None:
        return Stride(None)
    # Where maps meet that lie on different grids, one is a gate that is broadcast (1×1).
    coarsest = (max(axis) for axis in zip(*maps, strict=True))
    return Stride(tuple(s * f for s, f in zip(coarsest, factor, strict=True)))


def _traced(model):
    """A `Stride` for every output."""
    model = functional(model)

    def visit(node, *args, **kwargs):
        return [stride_after(node, args, kwargs)] * len(node.outputs)

    return walk(model, tree.map_structure(lambda _: Stride((1, 1)), model.input), visit)


def _plain(stride):
    both = tuple(int(s) if Fraction(s).denominator == 1 else s for s in stride)
    return both[0] if both[0] == both[1] else both


def strides(model):
    """The stride of every output of a network, read off its operations.

    Shapes would not do: explicit padding and "valid" convolutions make sizes uneven.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`.

    Returns:
        In the structure of `model.output`: an int (a pair where the axes differ, a `Fraction`
        where the map is finer than the image), or `None` for an output that is no map.

    >>> import keras
    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(image)
    >>> strides(keras.Model(image, {"half": x, "quarter": keras.layers.MaxPooling2D()(x)}))
    {'half': 2, 'quarter': 4}
    """
    return tree.map_structure(
        lambda stride: None if stride.value is None else _plain(stride.value), _traced(model)
    )


def total_stride(model):
    """The least common multiple of the strides in a network, of all its maps.

    By so many pixels an image can be moved, and every map moves by whole cells.

    Args:
        model: functional `keras.Model`.

    >>> import keras
    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(image)
    >>> total_stride(keras.Model(image, keras.layers.UpSampling2D(2)(x)))
    2
    """
    found = [1]

    def visit(node, *args, **kwargs):
        stride = stride_after(node, args, kwargs)
        found.extend(Fraction(s).numerator for s in stride.value or ())
        return [stride] * len(node.outputs)

    walk(model, [Stride((1, 1)) for _ in model.inputs], visit)
    return lcm(*found)


def stride_between(fine, coarse):
    """By how much `coarse` must be upsampled to lie on the grid of `fine`.

    Args:
        fine, coarse: symbolic tensors made from the same image.
    """
    image = source_of(coarse)
    both = strides(keras.Model(image, {"fine": fine, "coarse": coarse}))
    ratios = zip(pair(both["fine"]), pair(both["coarse"]), strict=True)
    return tuple(int(Fraction(coarse) / Fraction(fine)) for fine, coarse in ratios)

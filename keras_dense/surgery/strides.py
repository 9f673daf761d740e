"""Strides of feature maps: how many pixels of the image lie between neighboring cells."""

from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Any

import keras
from keras import layers, tree

from keras_dense._types import Nested, Tensor
from keras_dense.surgery.effect import CONVOLUTIONS as CONVOLUTIONS
from keras_dense.surgery.effect import (
    Effect,
    Finer,
    Like,
    Scattered,
    Several,
    Unknown,
    Unpool,
    Whole,
    Window,
    effect,
    inputs_of,
    pair,
)
from keras_dense.surgery.graph import functional, source_of, walk

_PROBE = 1024


@dataclass(frozen=True, eq=False)
class Stride:
    """Pixels per cell, vertical and horizontal; `None` for a tensor that is no map."""

    value: tuple | None


def _factor(found: Effect) -> tuple | None:
    """The factor by which an effect makes a map coarser; `None` where no map is left."""
    if isinstance(found, Window):
        return found.strides
    if isinstance(found, Finer):
        return tuple(1 / Fraction(f) for f in found.factor)
    if isinstance(found, Scattered) or (isinstance(found, Whole) and not found.grid):
        return None
    return (1, 1)


def step(node: Any) -> tuple | None:
    """The factor by which a call makes its map coarser, `(vertical, horizontal)`.

    `None` where no map is left.
    """
    if isinstance(node.operation, keras.Model):
        return tree.flatten(_traced(node.operation))[0].value
    found = effect(node)
    if len(node.outputs[0].shape) != 4:
        return None
    return _probed(node) if isinstance(found, Unknown) else _factor(found)


def _probed(node):
    """The step of an operation without a described effect, from its output for a large map."""
    op, tensors = node.operation, node.input_tensors
    if isinstance(op, layers.Layer) and type(op).__module__.partition(".")[0] == "keras":
        return (1, 1)
    if len(tensors) != 1 or len(tensors[0].shape) != 4 or tensors[0].shape[-1] is None:
        return (1, 1)
    large = keras.KerasTensor((1, _PROBE, _PROBE, tensors[0].shape[-1]), dtype=tensors[0].dtype)
    args, kwargs = node.arguments.fill_in({id(tensors[0]): large})
    sizes = tree.flatten(op.compute_output_spec(*args, **kwargs))[0].shape[1:3]
    if tuple(sizes) == (1, 1):  # a mean of the whole map, by `keras.ops`
        return None
    return tuple(
        Fraction(round(_PROBE / size)) if size < _PROBE else Fraction(1, round(size / _PROBE))
        for size in sizes
    )


def stride_after(node: Any, args: tuple, kwargs: dict[str, Any]) -> Stride:
    """The stride of the result of a call on maps with known strides."""
    inputs = [x.value for x in inputs_of(args, kwargs, Stride)]
    found = None if isinstance(node.operation, keras.Model) else effect(node)
    if isinstance(found, Like):
        if found.how in ("crop", "center"):
            return Stride(inputs[0])
        return Stride(None if inputs[-1] is None else _times(inputs[-1], found.stride))
    if isinstance(found, Unpool):
        inputs = inputs[:2]
    if isinstance(found, Several):
        parts = zip(inputs, found.effects, strict=True)
        inputs = [None if x is None else _times(x, _factor(part)) for x, part in parts]
        factor = (1, 1)
    else:
        factor = step(node) if any(inputs) else None
    maps = [x for x in inputs if x is not None]
    if factor is None or not maps:
        return Stride(None)
    # Where maps meet that lie on different grids, one is a gate that is broadcast (1×1).
    return Stride(_times((max(axis) for axis in zip(*maps, strict=True)), factor))


def _times(stride, factor):
    return tuple(s * f for s, f in zip(stride, factor, strict=True))


def _traced(model: keras.Model) -> Any:
    """A `Stride` for every output."""
    model = functional(model)

    def visit(node, *args, **kwargs):
        return [stride_after(node, args, kwargs)] * len(node.outputs)

    return walk(model, tree.map_structure(lambda _: Stride((1, 1)), model.input), visit)


def _plain(stride):
    both = tuple(int(s) if Fraction(s).denominator == 1 else s for s in stride)
    return both[0] if both[0] == both[1] else both


def strides(model: keras.Model) -> Nested:
    """The stride of every output of a network, read off its operations.

    Shapes do not tell: explicit padding and "valid" convolutions make sizes uneven.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`.

    Returns:
        In the structure of `model.output`: an int (a pair where the axes differ, a `Fraction`
        where the map is finer than the image), or `None` for an output that is no map, or whose
        stride depends on the size of the image.

    >>> import keras
    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(4, 3, strides=2)(image)
    >>> strides(keras.Model(image, {"half": x, "quarter": keras.layers.MaxPooling2D()(x)}))
    {'half': 2, 'quarter': 4}
    """
    return tree.map_structure(
        lambda stride: None if stride.value is None else _plain(stride.value), _traced(model)
    )


def total_stride(model: keras.Model) -> int:
    """The least common multiple of the strides of all maps in a network.

    An image moved by so many pixels moves every map by whole cells.

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


def stride_between(fine: Tensor, coarse: Tensor) -> tuple[int, int]:
    """The factor of upsampling that brings `coarse` to the grid of `fine`.

    Args:
        fine, coarse: symbolic tensors made from the same image.

    Returns:
        `(vertical, horizontal)`, ints.

    >>> import keras
    >>> image = keras.Input((None, None, 3))
    >>> stride_between(image, keras.layers.Conv2D(4, 3, strides=2)(image))
    (2, 2)
    """
    image = source_of(coarse)
    both = strides(keras.Model(image, {"fine": fine, "coarse": coarse}))
    ratios = zip(pair(both["fine"]), pair(both["coarse"]), strict=True)
    vertical, horizontal = (int(Fraction(coarse) / Fraction(fine)) for fine, coarse in ratios)
    return vertical, horizontal

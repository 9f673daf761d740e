"""Receptive fields: the pixels of the image that a cell of a feature map depends on."""

from dataclasses import dataclass
from fractions import Fraction
from math import inf

import keras
from keras import tree

from keras_dense import _check
from keras_dense._types import Nested
from keras_dense.surgery.effect import (
    Border,
    Each,
    Grown,
    Like,
    Resized,
    Scattered,
    Several,
    Spread,
    Unpool,
    Whole,
    Window,
    effect,
    inputs_of,
)
from keras_dense.surgery.feature_pyramid import image_of
from keras_dense.surgery.graph import functional, walk
from keras_dense.surgery.interval import Interval, union
from keras_dense.surgery.pointwise import is_pointwise
from keras_dense.surgery.strides import total_stride
from keras_dense.surgery.top import read_top

# Example of a size that is free; made a multiple of all strides.
_NOMINAL = 1 << 16


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that cell (i, j) of a map depends on, `(vertical, horizontal)`.

    These are the `size` pixels from `offset + stride · (i, j)` on. An offset is negative where
    padding lets the window of cell (0, 0) reach over the top left corner of the image. Numbers
    are `fractions.Fraction` where they are not whole.

    Attributes:
        size: pair, infinite where a cell depends on the whole image.
        stride: pair, or `None` for an output that is no map (a vector, a grid of bins).
        offset: pair, minus infinity where a cell depends on the whole image.

    >>> field = ReceptiveField(size=(3, 3), stride=(2, 2), offset=(-1, -1))
    >>> field.box(1, 2), field.center
    ((1, 3, 4, 6), (Fraction(1, 2), Fraction(1, 2)))
    """

    size: tuple
    stride: tuple | None
    offset: tuple

    @property
    def center(self) -> tuple:
        """The center of the window of cell (0, 0); the first pixel reaches from 0 to 1.

        Where this is half the stride, the map lies on the image as upsampling assumes.
        """
        return tuple(
            None if n == inf else _plain(o + Fraction(n) / 2)
            for n, o in zip(self.size, self.offset, strict=True)
        )

    def box(self, i: int, j: int) -> tuple:
        """`(top, left, bottom, right)` of the window of cell (i, j), the last two exclusive."""
        box = []
        for axis, cell in enumerate((i, j)):
            size, first = self.size[axis], self.offset[axis]
            if size != inf and self.stride is not None:
                first = first + self.stride[axis] * cell
            box.append((first, inf if size == inf else first + size))
        return tuple(_plain(x) for ends in zip(*box, strict=True) for x in ends)


def _plain(x):
    if x in (inf, -inf):
        return float(x)
    return int(x) if Fraction(x).denominator == 1 else Fraction(x)


@dataclass(frozen=True, eq=False)
class _Seen:
    """The pixels that the cells of a tensor see, an interval along each axis.

    `None` is the whole image, seen by a tensor that is no map.
    """

    axes: tuple | None
    ignored: bool = False  # a gate, with `gates=False`

    def on_all(self, function):
        return _Seen(tuple(function(axis, x) for axis, x in enumerate(self.axes)))

    def field(self):
        if self.axes is None:
            return ReceptiveField((inf, inf), None, (-inf, -inf))
        return ReceptiveField(
            tuple(_plain(x.last - x.first + 1) for x in self.axes),
            tuple(_plain(x.step) for x in self.axes),
            tuple(_plain(x.first) for x in self.axes),
        )


class _Tracer:
    """The walk that computes the pixels seen after each call from those seen before it."""

    def __init__(self, model, gates):
        self.gates = gates
        self.pools, _ = read_top(model)
        self.found = {}

    def walk(self, model, *size):
        """What the outputs see of an image of that size."""
        return walk(model, _Seen(tuple(Interval(1, 0, 0, n) for n in size)), self)

    def __call__(self, node, *args, **kwargs):
        op = node.operation
        seen = self.after(node, effect(node), inputs_of(args, kwargs, _Seen))
        name, count = op.name, 1
        while name in self.found:
            name, count = f"{op.name}_{count}", count + 1
        if not seen.ignored:
            self.found[name] = seen
        return [seen] * len(node.outputs)

    def after(self, node, found, inputs):
        if isinstance(found, Like):
            return _like(found, *inputs)
        size = None
        if isinstance(found, Unpool):
            *inputs, size = inputs if len(inputs) == 3 else (*inputs, None)
        if isinstance(found, Several):
            inputs = [_applied(x, part) for x, part in zip(inputs, found.effects, strict=True)]
        inputs = [x for x in inputs if not x.ignored]
        if not inputs:
            return _Seen(None, ignored=True)
        if isinstance(found, Whole) and not found.grid:
            gate = id(node.operation) in self.pools if found.gate is None else found.gate
            return _Seen(None, ignored=gate and not self.gates)
        maps = [x for x in inputs if x.axes is not None]
        if not maps:
            return _Seen(None)
        joined = self.joined(node, found, maps, gated=len(maps) < len(inputs))
        return _applied(joined, found, size)

    def joined(self, node, found, maps, gated):
        """The union of the inputs, cell on cell; everything where one is a gate."""
        op = node.operation
        axes = [union(parts) for parts in zip(*(x.axes for x in maps), strict=True)]
        if None in axes:
            raise ValueError(
                f"The operation {op.name!r} ({type(op).__name__}) joins maps of different "
                "strides, whose cells do not lie on each other."
            )
        if isinstance(found, Scattered):
            raise ValueError(
                f"The operation {op.name!r} ({type(op).__name__}) returns pixels at positions that "
                "are an input: they are no map, and have no stride. Ask for the receptive field of "
                "the network that predicts at every pixel."
            )
        if not isinstance(found, (*_KNOWN, Whole)) and not is_pointwise(node):
            raise ValueError(
                f"The operation {op.name!r} ({type(op).__name__}) looks at more than one pixel, "
                "and `receptive_field` does not know at which. Known are convolutions, pooling, "
                "padding, cropping, upsampling, and operations on each pixel alone."
            )
        whole = isinstance(found, Whole) and (self.gates or not found.gate)
        if gated or whole:
            axes = [axis.whole() for axis in axes]
        return _Seen(tuple(axes))


_KNOWN = (Border, Each, Grown, Resized, Several, Spread, Unpool, Window)


def _applied(seen, found, size=None):
    """The pixels seen after an effect on one map; `size` is a map whose size the result has."""
    if seen.ignored or seen.axes is None:
        return seen

    def along(i, x):
        match found:
            case Window(kernel, rate, strides, padding):
                pads = padding if isinstance(padding, str) else padding[i]
                return x.window(kernel[i], rate[i], strides[i], pads)
            case Spread(kernel, rate, factor, padding, extra):
                return x.transposed(kernel[i], rate[i], factor[i], padding, extra[i])
            case Unpool(kernel, factor, padding):
                pads = padding if isinstance(padding, str) else padding[i]
                known = size is not None and size.axes is not None
                return x.unpooled(kernel[i], factor[i], pads, size.axes[i].cells if known else None)
            case Resized(factor, between=between, align_corners=True):
                cells = (x.cells - 1) * factor[i] + 1 if between else x.cells * factor[i]
                return x.aligned(factor[i], cells)
            case Resized(factor, interpolation, cells):
                return x.resized(factor[i], None if cells is None else cells[i], interpolation)
            case Border(sides):
                return x.bordered(sides[i])
            case Grown():
                return x.sized(found.cells(x.cells))
        return x

    return seen.on_all(along)


def _like(found, x, like):
    """The pixels seen where a map is brought to the grid or the size of another."""
    if x.ignored or like.axes is None:
        return x
    if x.axes is None:
        return like.on_all(lambda _, y: y.whole())

    def along(i, a):
        b = like.axes[i]
        cells = -(-b.cells // found.stride[i])
        if found.how == "crop":
            return a.sized(cells)
        if found.how == "center":
            before = max(a.cells - cells, 0) // 2 - max(cells - a.cells, 0) // 2
            return a.moved(before).sized(cells)
        if found.how == "resize":
            factor = Fraction(a.step) / (b.step * found.stride[i])
            if found.align_corners:
                return a.aligned(factor, cells)
            return a.resized(factor, cells, found.interpolation)
        if found.how == "place" and b.cells == found.size[i] and found.step % 1 == 0:
            return a.placed(Fraction(found.first), Fraction(found.step), b.cells)
        return b.whole()  # phases, and places on an image of another size

    return x.on_all(along)


def receptive_field(model: keras.Model, *, gates: bool = True, every: bool = False) -> Nested:
    """The pixels that the cells of a network's maps depend on: size, stride and offset.

    The graph is walked with the interval of pixels that a cell sees in place of each tensor; where
    branches meet, the interval that contains both. Where "same" padding depends on whether a size
    is even (TensorFlow's rule), the size that the model was built for counts, or, where that is
    free, one that all strides divide. The cells of an upsampled map see different windows in turn:
    their field contains the window of every cell. Edges that are repeated or mirrored count as if
    the image went on.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`, nested models included.
        gates: bool, whether to count operations that pool the whole map and meet it again:
            squeeze-and-excite, image pooling, pyramid pooling, normalization over the map. With
            them the size is infinite; `False` gives the field of the convolutions alone.
        every: bool. `True` returns the fields of all operations by name, not only the outputs.

    Returns:
        A `ReceptiveField` for each output, in the structure of `model.output`; with `every` a
        dict from names to them, in the order of the graph.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for an unknown operation that looks at more than its own pixel (named), pixels
            at given positions, or maps of different strides that meet.

    Reference: Araujo, Norris, Sim, "Computing Receptive Fields of Convolutional Neural Networks",
    Distill 2019.

    >>> import keras
    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.Conv2D(8, 7, strides=2, padding="same")(image)
    >>> x = keras.layers.MaxPooling2D(3, strides=2)(x)
    >>> field = receptive_field(keras.Model(image, x))
    >>> field
    ReceptiveField(size=(11, 11), stride=(4, 4), offset=(-2, -2))
    >>> field.center, field.box(10, 20)
    ((Fraction(7, 2), Fraction(7, 2)), (38, 78, 49, 89))
    """
    gates, every = _check.flag(gates, "gates"), _check.flag(every, "every")
    model = functional(model)
    total = total_stride(model)
    free = total * -(-_NOMINAL // total)
    tracer = _Tracer(model, gates)
    outputs = tracer.walk(model, *(n or free for n in image_of(model).shape[1:3]))
    if every:
        return {name: seen.field() for name, seen in tracer.found.items()}
    return tree.map_structure(lambda seen: seen.field(), outputs)


def on_one_grid(model: keras.Model, *sizes: tuple[int, int]) -> bool:
    """Whether the cells of a network's outputs lie on the same pixels for images of several sizes.

    So they do for a network that pads its image to a multiple of its stride. They do not where maps
    are stretched to a size that their stride does not divide, or where "same" padding puts zeros on
    other sides.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`.
        sizes: pairs `(height, width)`.

    Raises:
        ValueError, TypeError: see `receptive_field`.

    >>> from keras_dense.layers import ResizeLike
    >>> image = keras.Input((None, None, 3))
    >>> x = keras.layers.MaxPooling2D(4)(image)
    >>> model = keras.Model(image, ResizeLike()(x, image))
    >>> on_one_grid(model, (32, 32), (64, 96)), on_one_grid(model, (32, 32), (66, 96))
    (True, False)
    """
    model, found = functional(model), set()
    for size in sizes:
        seen = tree.flatten(_Tracer(model, gates=False).walk(model, *size))
        axes = [axis for x in seen if x.axes is not None for axis in x.axes]
        found.add(tuple((x.step, x.first, x.last, x.regular) for x in axes))
    return len(found) == 1 and all(regular for *_, regular in found.pop())

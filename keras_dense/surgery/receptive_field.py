"""Which pixels of the image a cell of a feature map sees."""

from dataclasses import dataclass
from fractions import Fraction
from math import inf

from keras import layers, tree

from keras_dense.layers import (
    AdaptiveAveragePooling2D,
    BilinearInitConvTranspose,
    BilinearUpsampling,
    CropLike,
    PadToMultiple,
    PixelShuffle,
    ResizeLike,
)
from keras_dense.layers.bilinear import bilinear_kernel
from keras_dense.layers.phases import TilePhases
from keras_dense.surgery.feature_pyramid import image_of
from keras_dense.surgery.graph import functional, values, walk
from keras_dense.surgery.interval import Interval, union
from keras_dense.surgery.pointwise import is_pointwise
from keras_dense.surgery.strides import (
    WINDOWED,
    pair,
    total_stride,
    window_of,
)
from keras_dense.surgery.top import is_pooling, read_top

# A free size is taken to be this large, and to be a multiple of all strides.
_NOMINAL = 1 << 16


@dataclass(frozen=True)
class ReceptiveField:
    """The pixels that cell (i, j) of a map depends on, `(vertical, horizontal)`.

    They are the `size` pixels from `offset + stride · (i, j)` on. An offset is negative where
    padding lets the window of cell (0, 0) reach over the top left corner of the image. Numbers
    are `fractions.Fraction` where they are not whole.

    Attributes:
        size: pair, infinite where the whole image is seen.
        stride: pair, or `None` for what is no map (a vector, a grid of bins).
        offset: pair, minus infinity where the whole image is seen.

    >>> field = ReceptiveField(size=(3, 3), stride=(2, 2), offset=(-1, -1))
    >>> field.box(1, 2), field.center
    ((1, 3, 4, 6), (Fraction(1, 2), Fraction(1, 2)))
    """

    size: tuple
    stride: tuple | None
    offset: tuple

    @property
    def center(self):
        """The middle of what cell (0, 0) sees; the first pixel reaches from 0 to 1.

        A map lies on the image, as upsampling assumes, where this is half the stride.
        """
        return tuple(
            None if n == inf else _plain(o + Fraction(n) / 2)
            for n, o in zip(self.size, self.offset, strict=True)
        )

    def box(self, i, j):
        """`(top, left, bottom, right)` of what cell (i, j) sees, the last two exclusive."""
        box = []
        for axis, cell in enumerate((i, j)):
            size, first = self.size[axis], self.offset[axis]
            if size != inf:
                first = first + self.stride[axis] * cell
            box.append((first, inf if size == inf else first + size))
        return tuple(_plain(x) for ends in zip(*box, strict=True) for x in ends)


def _plain(x):
    if x in (inf, -inf):
        return float(x)
    return int(x) if Fraction(x).denominator == 1 else Fraction(x)


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the cells of a tensor see: an interval on either axis; `None`, the whole image."""

    axes: tuple | None
    ignored: bool = False  # a gate that is left out

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
    """Computes what a call's cells see from what those of its inputs see."""

    def __init__(self, model, gates):
        self.gates = gates
        self.pools, _ = read_top(model)
        self.found = {}

    def __call__(self, node, *args, **kwargs):
        op = node.operation
        if isinstance(op, (ResizeLike, CropLike, TilePhases)):
            arguments = [*args, *(kwargs[key] for key in ("x", "phases", "like") if key in kwargs)]
            seen = _like(op, *arguments)
        else:
            seen = self.after(node, values(args, kwargs, _Seen))
        name, count = op.name, 1
        while name in self.found:
            name, count = f"{op.name}_{count}", count + 1
        if not seen.ignored:
            self.found[name] = seen
        return [seen] * len(node.outputs)

    def after(self, node, inputs):
        op = node.operation
        inputs = [x for x in inputs if not x.ignored]
        if not inputs:
            return _Seen(None, ignored=True)
        if is_pooling(op) or isinstance(op, AdaptiveAveragePooling2D):
            back = id(op) in self.pools or isinstance(op, AdaptiveAveragePooling2D)
            return _Seen(None, ignored=back and not self.gates)
        maps = [x for x in inputs if x.axes is not None]
        if not maps:
            return _Seen(None)
        if len(inputs) == 1 and (window := _window(op)):
            return maps[0].on_all(window)
        return self.joined(node, maps, spread=len(maps) < len(inputs))

    def joined(self, node, maps, spread):
        """Cell on cell; a gate spreads the whole image over the map."""
        op = node.operation
        over_map = _normalizes_the_map(op)
        if not over_map and not is_pointwise(node):
            raise ValueError(
                f"The operation {op.name!r} ({type(op).__name__}) looks at more than one pixel, "
                "and `receptive_field` does not know at which. Known are convolutions, pooling, "
                "padding, cropping, upsampling, and what acts on each pixel alone."
            )
        axes = [union(parts) for parts in zip(*(x.axes for x in maps), strict=True)]
        if None in axes:
            raise ValueError(
                f"The operation {op.name!r} ({type(op).__name__}) joins maps of different "
                "strides, whose cells do not lie on each other."
            )
        if spread or (over_map and self.gates):
            axes = [axis.whole() for axis in axes]
        return _Seen(tuple(axes))


def _like(op, x, like):
    """Layers that bring a map to the grid of another."""
    if x.ignored or like.axes is None:
        return x
    if x.axes is None:
        return like.on_all(lambda _, y: y.whole())
    if isinstance(op, ResizeLike):
        pairs = zip(x.axes, like.axes, strict=True)
        return _Seen(tuple(a.resized(Fraction(a.step) / b.step, b.cells) for a, b in pairs))
    return x.on_all(lambda axis, a: a.sized(like.axes[axis].cells))


def _window(op):
    """What an operation on one map does along an axis, as a function `(axis, interval)`."""
    if isinstance(op, WINDOWED):
        (kernel, rate, strides), padding = window_of(op), op.padding
        return lambda i, x: x.window(
            kernel[i], rate[i], strides[i], padding if isinstance(padding, str) else padding[i]
        )
    if isinstance(op, layers.Conv2DTranspose):
        kernel, strides, rate = map(pair, (op.kernel_size, op.strides, op.dilation_rate))
        extra = pair(op.output_padding)
        return lambda i, x: x.transposed(kernel[i], rate[i], strides[i], op.padding, extra[i])
    if isinstance(op, BilinearInitConvTranspose):
        return lambda i, x: x.transposed(
            len(bilinear_kernel(op.factor[i])), 1, op.factor[i], "same"
        )
    if isinstance(op, layers.UpSampling2D):
        return lambda i, x: x.resized(op.size[i], interpolation=op.interpolation)
    if isinstance(op, BilinearUpsampling):
        return lambda i, x: x.resized(op.factor[i])
    if isinstance(op, PixelShuffle):
        return lambda i, x: x.resized(op.factor[i], interpolation="nearest")
    if isinstance(op, layers.ZeroPadding2D):
        return lambda i, x: x.moved(-op.padding[i][0]).sized(x.cells + sum(op.padding[i]))
    if isinstance(op, layers.Cropping2D):
        return lambda i, x: x.moved(op.cropping[i][0]).sized(x.cells - sum(op.cropping[i]))
    if isinstance(op, PadToMultiple):
        return lambda i, x: x.sized(x.cells + -x.cells % op.multiple)
    return None


def _normalizes_the_map(op):
    if isinstance(op, layers.LayerNormalization):
        return any(axis not in (-1, 3) for axis in tree.flatten(op.axis))
    return isinstance(op, layers.GroupNormalization)


def receptive_field(model, gates=True, every=False):
    """Which pixels the cells of a network's maps depend on: size, stride and offset.

    The graph is walked with the interval of pixels that a cell sees in place of each tensor; where
    branches meet it is what contains both. Where "same" padding depends on whether a size is even
    (TensorFlow's rule), the size that the model was built for counts, or, where that is free, one
    that all strides divide. Of upsampled maps, whose cells see different windows in turn, the
    field is what every cell's window fits into. Edges that are repeated or mirrored count as if
    the image went on.

    Args:
        model: functional `keras.Model` of one image `(B, H, W, C)`, nested models included.
        gates: whether what is pooled from the whole map and meets it again counts:
            squeeze-and-excite, image pooling, pyramid pooling, normalization over the map. With
            them the size is infinite; `False` gives the field of the convolutions alone.
        every: `True` for all operations by name, not only the outputs.

    Returns:
        A `ReceptiveField` for each output, in the structure of `model.output`; with `every` a
        dict from names to them, in the order of the graph.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for an operation that is not known and looks at more than its own pixel
            (named), or maps of different strides that meet.

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
    model = functional(model)
    total = total_stride(model)
    free = total * -(-_NOMINAL // total)
    image = _Seen(tuple(Interval(1, 0, 0, n or free) for n in image_of(model).shape[1:3]))
    tracer = _Tracer(model, gates)
    outputs = walk(model, image, tracer)
    if every:
        return {name: seen.field() for name, seen in tracer.found.items()}
    return tree.map_structure(lambda seen: seen.field(), outputs)

"""Strides taken out of a network, and what follows dilated, so that no weight need change."""

import math
from dataclasses import dataclass, replace
from fractions import Fraction

import keras
from keras import layers, tree

from keras_dense.layers import ResizeLike
from keras_dense.layers.phases import PhasePooling2D, TilePhases
from keras_dense.surgery.arguments import check_output_stride, checked_rates
from keras_dense.surgery.axis import Axis
from keras_dense.surgery.graph import (
    Copies,
    check_channels_last,
    functional,
    same_inputs,
    values,
    walk,
)
from keras_dense.surgery.pointwise import is_pointwise, is_reshape
from keras_dense.surgery.spread import policy_of, spread, spread_plainly
from keras_dense.surgery.strides import CONVOLUTIONS, POOLING, pair, step, strides, window_of
from keras_dense.surgery.top import is_pooling, read_top

_NONE = ((0, 0), (0, 0))


@dataclass(frozen=True, eq=False)
class _Map:
    """A tensor of the new network, and how it stands to the one it takes the place of."""

    tensor: keras.KerasTensor
    stride: tuple = (1, 1)  # of the new network up to here, in pixels
    rate: tuple = (1, 1)  # neighbors in the old map are so many cells apart in the new one
    size: tuple = (0, 0)  # of the old map, for an image whose sides the stride divides
    padding: tuple = _NONE  # zeros still to be put around it, in cells of the old map
    padder: layers.ZeroPadding2D | None = None  # what would have put them
    gate: bool = False  # one value for each phase, (B, rate, rate, C)


class _Dilation:
    """Computes new maps in place of old ones; see `dilate`."""

    def __init__(self, model, output_stride, mode, strided_rate, rates, rules):
        self.target, self.mode, self.strided_rate = output_stride, mode, strided_rate
        self.rates, self.rules = rates, rules
        self.gates, _ = read_top(model)
        self.copies = Copies()

    def __call__(self, node, *args, **kwargs):
        op, maps = node.operation, values(args, kwargs, _Map)
        if not maps:
            return self.copy(node, maps, args, kwargs)
        if isinstance(op, ResizeLike):
            return self.resize(node, maps, args, kwargs)
        old = self.leading(op, maps)
        if is_pooling(op):
            return self.pool_globally(node, old, args, kwargs)
        if isinstance(op, TilePhases):
            return replace(old, tensor=self.copies(op, *(x.tensor for x in maps)))
        if isinstance(op, layers.ZeroPadding2D):
            return self.pad(op, old)
        if isinstance(op, layers.Cropping2D) and old.rate != (1, 1):
            return self.crop(op, old)
        if type(op) in self.rules and old.rate != (1, 1):
            return self.taught(node, old, args, kwargs)
        if isinstance(op, CONVOLUTIONS + POOLING) and not old.gate:
            return self.window(node, old)
        return self.other(node, maps, old, args, kwargs)

    def leading(self, op, maps):
        """The map that decides for the others, which are gates, vectors, or its like."""
        grids = [x for x in maps if not x.gate and (x.rate != (1, 1) or _has_sizes(x.tensor))]
        if len({x.rate for x in grids}) > 1:
            raise ValueError(
                f"The operation {op.name!r} joins maps that became denser by different factors: "
                f"{', '.join(map(str, (x.rate for x in grids)))}. Does one of them come from an "
                "input of its own?"
            )
        return next(iter(grids), maps[0])

    # What does not look at neighbors

    def other(self, node, maps, old, args, kwargs):
        op, dense = node.operation, any(x.rate != (1, 1) for x in maps)
        if dense and old.gate and (isinstance(op, layers.Reshape) or is_reshape(node)):
            # A gate has its 1×1 shape back already: that of its phases.
            return self.reshape_gate(node, old)
        factor = step(node) if len(node.outputs[0].shape) == 4 else (1, 1)
        factor = (1, 1) if factor is None else factor
        removed = any(
            f > 1 and s * f > self.target for f, s in zip(factor, old.stride, strict=True)
        )
        gate_convolution = old.gate and isinstance(op, CONVOLUTIONS) and op.kernel_size == (1, 1)
        alone = gate_convolution or not (removed or dense)
        if not alone and not is_pointwise(node, across=self.mode == "same"):
            if removed and type(op) in self.rules:
                return self.taught(node, old, args, kwargs)
            raise self.unknown(op)
        new = self.copy(node, maps, args, kwargs)
        size = self.padded_size(old)
        if factor != (1, 1):
            size = tuple(int(Fraction(n) / f) for n, f in zip(size, factor, strict=True))
        stride = tuple(s * f for s, f in zip(old.stride, factor, strict=True))
        return tree.map_structure(
            lambda x: replace(x, stride=stride, rate=old.rate, size=size, gate=old.gate), new
        )

    def unknown(self, op):
        return ValueError(
            f"The operation {op.name!r} ({type(op).__name__}) looks at more than one pixel, "
            "and `dilate` does not know how: it would act as if its map had the old stride. "
            f"Teach it with `rules={{{type(op).__name__}: rule}}`, where `rule(layer, x, rate, "
            "strides)` returns the output of the layer dilated by `rate`; or choose an "
            "`output_stride` that leaves the map before it as it is."
        )

    def resize(self, node, maps, args, kwargs):
        """What is brought to the size of another map lies on the grid of that one."""
        if self.mode == "exact" and any(x.rate != (1, 1) for x in maps):
            raise self.unknown(node.operation)
        new = self.copy(node, maps, args, kwargs)
        return replace(self.padded(kwargs.get("like", args[-1])), tensor=new.tensor)

    def copy(self, node, maps, args, kwargs):
        """The same operation; gates meet a map phase by phase."""
        op, tensors = node.operation, {id(x): self.padded(x).tensor for x in maps}
        like = next((tensors[id(x)] for x in maps if not x.gate), None)

        def tensor(x):
            if not isinstance(x, _Map):
                return x
            if x.gate and like is not None and x.rate != (1, 1):
                name = self.copies.name(f"{op.name}_phases")
                return TilePhases(name=name, dtype=policy_of(like))(tensors[id(x)], like)
            return tensors[id(x)]

        args, kwargs = tree.map_structure(tensor, (args, kwargs))
        return tree.map_structure(_Map, self.copies(op, *args, **kwargs))

    def reshape_gate(self, node, old):
        shape = node.outputs[0].shape
        if any(n != 1 for n in shape[1:-1]) or shape[-1] != old.tensor.shape[-1]:
            raise ValueError(
                f"The Reshape {node.operation.name!r} after a global pooling mixes channels and "
                f"positions: {node.input_tensors[0].shape} → {shape}."
            )
        return old

    def taught(self, node, old, args, kwargs):
        op = node.operation
        factor = step(node)
        kept = self.kept(factor, old.stride)
        return _Map(
            self.rules[type(op)](op, self.padded(old).tensor, old.rate, kept),
            tuple(c * k for c, k in zip(old.stride, kept, strict=True)),
            tuple(int(r * s // k) for r, s, k in zip(old.rate, factor, kept, strict=True)),
            tuple(math.ceil(n / s) for n, s in zip(self.padded_size(old), factor, strict=True)),
        )

    # Borders

    def pad(self, op, old):
        """Zeros wait for the window that they are for: it may need more of them."""
        padding = op.padding
        total = tuple(
            tuple(a + b for a, b in zip(have, more, strict=True))
            for have, more in zip(old.padding, padding, strict=True)
        )
        return replace(old, padding=total, padder=op if old.padding == _NONE else None)

    def padded(self, old):
        """The map with the zeros around it."""
        if old.padding == _NONE:
            return old
        padding = tuple(
            tuple(p * r for p in ends) for ends, r in zip(old.padding, old.rate, strict=True)
        )
        if old.padder is not None:
            config = {} if old.rate == (1, 1) else {"padding": padding}
            tensor = self.copies(old.padder, old.tensor, config=config)
        else:
            name = self.copies.name("zero_padding")
            pad = layers.ZeroPadding2D(
                padding, name=name, dtype=policy_of(old.tensor), data_format="channels_last"
            )
            tensor = pad(old.tensor)
        return replace(old, tensor=tensor, size=self.padded_size(old), padding=_NONE, padder=None)

    def padded_size(self, old):
        return tuple(n + sum(ends) for n, ends in zip(old.size, old.padding, strict=True))

    def crop(self, op, old):
        old = self.padded(old)
        cropping = tuple(
            tuple(c * r for c in ends) for ends, r in zip(op.cropping, old.rate, strict=True)
        )
        size = tuple(n - sum(ends) for n, ends in zip(old.size, op.cropping, strict=True))
        tensor = self.copies(op, old.tensor, config={"cropping": cropping})
        return replace(old, tensor=tensor, size=size)

    def pool_globally(self, node, old, args, kwargs):
        op = node.operation
        if id(op) not in self.gates:
            raise ValueError(
                f"The network ends in a classifier's top ({op.name!r}), which has no map to make "
                "denser. Turn it into a map of scores first, with "
                "`kd.surgery.convolutionalize(model, padding='same')`, or build the network "
                "without its top (`include_top=False`)."
            )
        if old.rate == (1, 1) or self.mode == "same":
            new = self.copy(node, [old], args, kwargs)
            return replace(new, size=(1, 1), gate=True)
        rate, mode = old.rate, "max" if isinstance(op, layers.GlobalMaxPooling2D) else "mean"
        if isinstance(op, PhasePooling2D):  # The network has been dilated before.
            rate, mode = tuple(a * b for a, b in zip(rate, op.rate, strict=True)), op.mode
        pool = PhasePooling2D(
            rate, mode=mode, name=self.copies.name(op.name), dtype=op.dtype_policy
        )
        return replace(old, tensor=pool(self.padded(old).tensor), padding=_NONE, gate=True)

    # Windows

    def kept(self, strides, before):
        """What is left of strides: all that the target allows, in whole parts of them."""
        return tuple(
            stride
            if stride * old <= self.target
            else max(k for k in range(1, stride) if stride % k == 0 and k * old <= self.target)
            for stride, old in zip(strides, before, strict=True)
        )

    def window(self, node, old):
        op = node.operation
        kernel, own, stride = window_of(op)
        kept = self.kept(stride, old.stride)
        removed = tuple(s // k for s, k in zip(stride, kept, strict=True))
        pads = op.padding if isinstance(op.padding, str) else None
        axes = [
            Axis.of(
                kernel[i],
                own[i],
                old.rate[i],
                stride[i],
                kept[i],
                old.padding[i],
                old.size[i],
                pads or op.padding[i],
            )
            for i in range(2)
        ]
        after = removed if self.strided_rate == "after" and isinstance(op, CONVOLUTIONS) else (1, 1)
        rate = tuple(axis.own * axis.rate * more for axis, more in zip(axes, after, strict=True))
        rate = self.rates.get(op.name, rate)
        new = _Map(
            self.apply(node, old, axes, kept, rate),
            tuple(c * k for c, k in zip(old.stride, kept, strict=True)),
            tuple(r * m for r, m in zip(old.rate, removed, strict=True)),
            tuple(axis.cells(n) for axis, n in zip(axes, old.size, strict=True)),
        )
        return new

    def apply(self, node, old, axes, kept, rate):
        op = node.operation
        if kept == pair(op.strides) and rate == tuple(axis.own for axis in axes):
            return self.copies(op, self.padded(old).tensor)
        if all(axis.kernel == 1 for axis in axes) and not any(sum(axis.pads) for axis in axes):
            if isinstance(op, POOLING) and kept == (1, 1):
                return old.tensor
            return self.copies(op, old.tensor, config={"strides": kept})
        if self.mode == "same":
            return spread_plainly(op, self.copies, old.tensor, kept, rate)
        tensor = self.padded(old).tensor if isinstance(op, POOLING) else old.tensor
        return spread(op, self.copies, tensor, axes, kept, rate, zeros=old.padding)


def _has_sizes(tensor):
    return len(tensor.shape) == 4 and tuple(tensor.shape[1:3]) != (1, 1)


def _coarsest(model):
    found = [s for s in tree.flatten(strides(model)) if s is not None]
    if not found:
        return None
    return max(max(pair(s)) for s in found)


def dilate(
    model,
    output_stride,
    *,
    mode="exact",
    strided_rate="before",
    rates=None,
    rules=None,
    name=None,
):
    """A network made to give denser maps with the same weights, by the atrous algorithm.

    Strides beyond `output_stride` are taken out, and every window after them is dilated by what
    was taken out before it. Nothing needs to be trained again: with k the ratio of the old stride
    of an output to the new,

        dilate(model, s)(x)[:, ::k, ::k] == model(x)

    at every cell, borders included, for image sizes that the old stride divides (batch norm in
    inference mode). The cells between are those that the old network gives for shifted images
    (`kd.surgery.shift_and_stitch`), away from the borders. At other sizes the old network puts
    its "same" padding elsewhere, depending on whether a map is odd, and may drop a last cell; the
    new one pads as for sizes that divide. (The models of this library pad the image to what the
    new stride divides.) What is padded explicitly agrees at every size, inside.

    For each operation: convolutions and pooling are dilated by the stride removed *before* them;
    "same" padding that was asymmetric under the stride stays so; average pooling counts what is on
    the map (on torch Keras' own repeats the edge instead); a squeeze-and-excite gate takes the
    mean of each phase of the map, the cells that one old map consists of. A layer that the network
    calls on several maps becomes one for each rate that they need: weights that were shared start
    equal, but are trained apart.

    Args:
        model: functional `keras.Model` of feature maps or scores: without a classifier's top, or
            after `kd.surgery.convolutionalize`. Backbones of `kd.backbone` keep the names of their
            levels: in `dilate(backbone, 8)` "P4" and "P5" have stride 8.
        output_stride: 1, 2, 4, … up to the stride of the model: the new one.
        mode: "exact", or "same": the usual approximation, in Keras' own layers only, with
            symmetric "same" padding, undilated pooling, and gates and whatever else looks at all
            pixels alike (group normalization, attention) over the whole map; for networks that
            will be trained further.
        strided_rate: the dilation of the convolution that loses its stride: that "before" it, as
            exactness demands, or that "after", as in the published PSPNet and TuSimple.
        rates: `{"layer name": rate}`: other rates for single convolutions or poolings, in cells
            of the new map (multi-grid, hybrid dilation): an int or a pair.
        rules: `{Class: rule}`, what to do with layers not known here that look at neighbors:
            `rule(layer, x, rate, strides)` returns the symbolic output of that layer with taps
            `rate` cells apart (a pair) and the given strides, using the layer's weights.
        name: name of the new model.

    Returns:
        A `keras.Model` with the inputs and the output structure of `model` and copies of its
        weights.

    Raises:
        ValueError: for a stride that is no power of two or beyond the model's, a classifier's top,
            a channels_first network,
            unknown names or rates below 1 in `rates`, or an operation that cannot be dilated
            (named).
        TypeError: for a model whose graph cannot be read, or `rates` or `rules` that are no dict.

    Reference: Holschneider et al., "A real-time algorithm for signal analysis with the help of
    the wavelet transform", 1989; Chen et al., ICLR 2015, section 3.1; Yu, Koltun, Funkhouser,
    "Dilated Residual Networks", CVPR 2017.

    >>> app = keras.applications.MobileNetV2(
    ...     weights=None, alpha=0.35, include_top=False, input_shape=(64, 64, 3))
    >>> app.output_shape, dilate(app, 8).output_shape
    ((None, 2, 2, 1280), (None, 8, 8, 1280))
    """
    model = functional(model)
    check_channels_last(model)
    check_output_stride(output_stride)
    for argument, value, known in (
        ("mode", mode, ("exact", "same")),
        ("strided_rate", strided_rate, ("before", "after")),
    ):
        if value not in known:
            raise ValueError(
                f"`{argument}` must be {' or '.join(map(repr, known))}. "
                f"Received: {argument}={value!r}"
            )
    for argument, value in (("rates", rates), ("rules", rules)):
        if not isinstance(value, (dict, type(None))):
            raise TypeError(f"`{argument}` must be a dict. Received: {argument}={value!r}")
    rates = checked_rates(rates or {}, model)
    work = _Dilation(model, output_stride, mode, strided_rate, rates, rules or {})
    coarsest = _coarsest(model)
    if coarsest is not None and output_stride > coarsest:
        raise ValueError(
            f"`output_stride` must not be larger than the network's, which is {coarsest}. "
            f"Received: output_stride={output_stride}"
        )
    inputs = same_inputs(model)
    # Where the size is free, that of an image whose sides all strides divide decides on which
    # side "same" pads.
    nominal = 8 * math.lcm(32, math.ceil(coarsest or 1))
    old = tree.map_structure(
        lambda x: (
            _Map(x, size=tuple(n or nominal for n in x.shape[1:3]))
            if len(x.shape) == 4
            else _Map(x)
        ),
        inputs,
    )
    outputs = tree.map_structure(lambda x: work.padded(x).tensor, walk(model, old, work))
    return keras.Model(inputs, outputs, name=name or model.name)

"""Strides removed from a network and its windows dilated instead, with the same weights.

A network with a stride of 2 looks at every other cell. Without the stride, its map has the cells
of two such networks, interlaced. Every operation after it must look at one of them at a time, at
cells that lie `rate` apart:

    old, stride 2        a       b       c       d        cells 2 apart in the map before
    old, 3 taps          a ───── b ───── c

    new, stride 1        a   ·   b   ·   c   ·   d   ·    "·": the cells for the shifted image
    new, 3 taps, rate 2  a ───── b ───── c
                             · ───── · ───── ·

So `dilate` walks the graph with a `_Map` for each tensor: the new tensor, its stride, and the rate
at which neighbors of the old map lie in it. Every operation is then one of four cases. A window
loses its stride where the target asks for it, is dilated by the rate of its input, and multiplies
the rate by the stride it lost. A border is multiplied by the rate. A global pooling becomes one of
each phase (the cells of one old map). Anything else must look at each cell alone.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import keras
from keras import layers, tree

from keras_dense import _check
from keras_dense.layers import ResizeLike
from keras_dense.layers.cascade import PoolKeptCells
from keras_dense.layers.phases import PhasePooling2D, TilePhases
from keras_dense.layers.tokens import TokenMap
from keras_dense.surgery.arguments import check_output_stride, checked_rates
from keras_dense.surgery.axis import Axis
from keras_dense.surgery.effect import (
    CONVOLUTIONS,
    POOLING,
    Border,
    Grown,
    Scattered,
    Window,
    effect,
    pair,
    window_of,
)
from keras_dense.surgery.graph import (
    Copies,
    check_channels_last,
    functional,
    same_inputs,
    values,
    walk,
)
from keras_dense.surgery.pointwise import is_pointwise, is_reshape
from keras_dense.surgery.respace import policy_of, respace, respace_plainly
from keras_dense.surgery.strides import step, strides
from keras_dense.surgery.top import is_pooling, read_top

_NONE = ((0, 0), (0, 0))


@dataclass(frozen=True, eq=False)
class _Map:
    """A tensor of the new network in place of one of the old network."""

    tensor: keras.KerasTensor
    stride: tuple = (1, 1)  # of the new network up to here, in pixels
    rate: tuple = (1, 1)  # distance in the new map of cells that are neighbors in the old one
    size: tuple = (0, 0)  # of the old map, for an image whose sides the stride divides
    padding: tuple = _NONE  # zeros still to be put around it, in cells of the old map
    padder: layers.ZeroPadding2D | None = None  # the layer that puts them there
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
        if isinstance(op, TokenMap):
            return self.resample(op, maps)
        old = self.leading(op, maps)
        if isinstance(op, PoolKeptCells) and old.rate != (1, 1):
            raise self.unknown(node)
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
        """The map whose rate counts; the others have the same, or are gates or vectors."""
        grids = [x for x in maps if not x.gate and (x.rate != (1, 1) or _has_sizes(x.tensor))]
        if len({x.rate for x in grids}) > 1:
            raise ValueError(
                f"The operation {op.name!r} joins maps that became denser by different factors: "
                f"{', '.join(map(str, (x.rate for x in grids)))}. Does one of them come from an "
                "input of its own?"
            )
        return next(iter(grids), maps[0])

    # Operations that look at each cell alone

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
            raise self.unknown(node)
        new = self.copy(node, maps, args, kwargs)
        size = self.size_after(effect(node), self.padded_size(old), factor)
        stride = tuple(s * f for s, f in zip(old.stride, factor, strict=True))
        return tree.map_structure(
            lambda x: replace(x, stride=stride, rate=old.rate, size=size, gate=old.gate), new
        )

    def size_after(self, found, size, factor):
        """The size of the old map after an operation that is copied."""
        if isinstance(found, Border):
            return tuple(n + sum(ends) for n, ends in zip(size, found.sides, strict=True))
        if isinstance(found, Grown):
            return tuple(found.cells(n) for n in size)
        return tuple(int(Fraction(n) / f) for n, f in zip(size, factor, strict=True))

    def unknown(self, node):
        op, found = node.operation, effect(node)
        reason = "looks at more than one pixel, and `dilate` does not know how"
        if isinstance(found, Scattered):
            reason = "reads positions of the map as it was"
        elif isinstance(op, PoolKeptCells):
            reason = "pools the cells of a mask, and `dilate` does not know how to pool its phases"
        elif isinstance(found, Window):
            reason = "looks at more than one pixel, and returns indices of the map as it was"
        kind = type(op).__name__
        return ValueError(
            f"The operation {op.name!r} ({kind}) {reason}: it would act as if its map had the old "
            f"stride. Teach it with `rules={{{kind}: rule}}`, where `rule(layer, x, rate, "
            "strides)` returns the output of the layer dilated by `rate`; or choose an "
            "`output_stride` that does not change the map before it."
        )

    def resize(self, node, maps, args, kwargs):
        """A map brought to the size of another one, on whose grid it lies."""
        if self.mode == "exact" and any(x.rate != (1, 1) for x in maps):
            raise self.unknown(node)
        new = self.copy(node, maps, args, kwargs)
        return replace(self.padded(kwargs.get("like", args[-1])), tensor=new.tensor)

    def resample(self, op, maps):
        """A map of tokens, which is resampled to its stride, at no more than the new stride."""
        stride = tuple(min(s, self.target) for s in op.stride)
        tensors = [x.tensor for x in maps]
        return _Map(self.copies(op, *tensors, config={"stride": stride}), stride=stride)

    def copy(self, node, maps, args, kwargs):
        """A copy of the operation; gates meet a map phase by phase."""
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
        """Zeros wait for the window that reads them: it may need more of them."""
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
        """The divisors of strides that remain: the largest that the target allows."""
        return tuple(
            stride
            if stride * old <= self.target
            else max(k for k in range(1, stride) if stride % k == 0 and k * old <= self.target)
            for stride, old in zip(strides, before, strict=True)
        )

    def window(self, node, old):
        op, window = node.operation, window_of(node.operation)
        kept = self.kept(window.strides, old.stride)
        removed = tuple(s // k for s, k in zip(window.strides, kept, strict=True))
        pads = window.padding
        axes = [
            Axis.of(
                window.kernel[i],
                window.rate[i],
                old.rate[i],
                window.strides[i],
                kept[i],
                before=old.padding[i],
                size=old.size[i],
                padding=pads if isinstance(pads, str) else pads[i],
            )
            for i in range(2)
        ]
        after = removed if self.strided_rate == "after" and isinstance(op, CONVOLUTIONS) else (1, 1)
        rate = tuple(axis.own * axis.rate * more for axis, more in zip(axes, after, strict=True))
        rate = self.rates.get(op.name, rate)
        return _Map(
            self.apply(node, old, axes, kept, rate),
            tuple(c * k for c, k in zip(old.stride, kept, strict=True)),
            tuple(r * m for r, m in zip(old.rate, removed, strict=True)),
            tuple(axis.cells(n) for axis, n in zip(axes, old.size, strict=True)),
        )

    def apply(self, node, old, axes, kept, rate):
        op = node.operation
        if kept == pair(op.strides) and rate == tuple(axis.own for axis in axes):
            return self.copies(op, self.padded(old).tensor)
        if all(axis.kernel == 1 for axis in axes) and not any(sum(axis.pads) for axis in axes):
            if isinstance(op, POOLING) and kept == (1, 1):
                return old.tensor
            return self.copies(op, old.tensor, config={"strides": kept})
        if self.mode == "same":
            return respace_plainly(op, self.copies, old.tensor, kept, rate)
        tensor = self.padded(old).tensor if isinstance(op, POOLING) else old.tensor
        return respace(op, self.copies, tensor, axes, kept, rate, zeros=old.padding)


def _has_sizes(tensor):
    return len(tensor.shape) == 4 and tuple(tensor.shape[1:3]) != (1, 1)


def _coarsest(model):
    found = [s for s in tree.flatten(strides(model)) if s is not None]
    if not found:
        return None
    return max(max(pair(s)) for s in found)


def dilate(
    model: keras.Model,
    output_stride: int,
    *,
    mode: str = "exact",
    strided_rate: str = "before",
    rates: Mapping[str, Any] | None = None,
    rules: Mapping[type, Callable[..., Any]] | None = None,
    name: str | None = None,
) -> keras.Model:
    """A network with denser maps and the same weights, by the atrous algorithm.

    Strides beyond `output_stride` are removed, and every window after them is dilated by the stride
    removed before it. Nothing needs to be trained again: with k the ratio of the old stride of an
    output to the new,

        dilate(model, s)(x)[:, ::k, ::k] == model(x)

    at every cell, borders included, for image sizes that the old stride divides (batch norm in
    inference). The cells between equal the outputs of the old network for shifted images
    (`kd.surgery.shift_and_stitch`), away from the borders. At other sizes the old network puts
    its "same" padding elsewhere, depending on whether a map is odd, and may drop a last cell; the
    new one pads as for sizes that divide. (The models of this library pad the image to a multiple
    of the new stride.) With explicit padding both agree at every size, away from the borders.

    Convolutions and pooling are dilated by the stride removed *before* them. "Same" padding that
    was asymmetric under the stride stays asymmetric. Average pooling counts the cells on the map
    (on torch, Keras' own repeats the edge instead). A squeeze-and-excite gate takes the mean of
    each phase of the map, that is, of the cells of one old map. A layer that the network calls on
    several maps becomes one for each rate that they need: shared weights start equal, but are
    trained separately.

    The maps of a plain vision transformer (`kd.backbone`) have no strides to remove: coarser ones
    are resampled to `output_stride` instead, of which the identity above does not hold.

    Args:
        model: functional `keras.Model` of feature maps or scores: without a classifier's top, or
            after `kd.surgery.convolutionalize`. Backbones of `kd.backbone` keep the names of their
            levels: in `dilate(backbone, 8)` "P4" and "P5" have stride 8.
        output_stride: int, the new stride: 1, 2, 4, … up to the stride of the model.
        mode: "exact", or "same", the usual approximation for networks that will be trained further:
            Keras' own layers only, with symmetric "same" padding and pooling not dilated; gates,
            group normalization and attention look at the whole map.
        strided_rate: the dilation rate of a convolution that loses its stride: the rate "before"
            it, as exactness demands, or "after" it, as in the published PSPNet and TuSimple.
        rates: `{"layer name": rate}`, other dilation rates for single convolutions or poolings, in
            cells of the new map (multi-grid, hybrid dilation), each an int or a pair.
        rules: `{Class: rule}`, for layers unknown here that look at neighbors:
            `rule(layer, x, rate, strides)` returns the symbolic output of that layer with taps
            `rate` cells apart (a pair) and the given strides, using the layer's weights.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` with the inputs and the output structure of `model` and copies of its
        weights.

    Raises:
        ValueError: for a stride that is no power of two or larger than the model's, a classifier's
            top, a channels_first network, unknown names or rates below 1 in `rates`, or an
            operation that cannot be dilated (named).
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
    output_stride = check_output_stride(output_stride)
    _check.choice(mode, "mode", ("exact", "same"))
    _check.choice(strided_rate, "strided_rate", ("before", "after"))
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
    # Where the size is free, an image whose sides all strides divide determines the side on which
    # "same" pads.
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

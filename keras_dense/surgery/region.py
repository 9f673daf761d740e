"""A part of a network for some cells of its map only.

In a layer cascade, cells leave the network once their prediction is certain. The later part of the
network then sees a map with gaps:

    map     a b · ·      list    a b c d e f      table of a 3×1 window
            c · d ·                               a  (none, a, c)    b  (none, b, none)
            · e f ·                               c  (a, c, none)    …

In training it computes whole maps, and cells that left are zeros wherever others look at them
(`masked`). In prediction it computes nothing for them (`RegionNetwork`): the cells that are left
are a list, `(N, 1, 1, C)`. Operations on each cell alone work on the list as they do on a map. A
window becomes a layer that gathers its cells by a table of indices, an input of the network, which
depends on the mask and on the window only. A gate becomes a mean over the rows of one group
(image and phase), given back to every row of the group.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from keras_dense._types import Array, Tensor
from keras_dense.layers.atrous import AtrousConv2D, AtrousDepthwiseConv2D, AtrousSeparableConv2D
from keras_dense.layers.cascade import KeepCells, PoolKeptCells
from keras_dense.layers.phases import PhasePooling2D, TilePhases
from keras_dense.layers.region import (
    PoolRows,
    RegionConv2D,
    RegionDepthwiseConv2D,
    RegionPooling2D,
    RegionSeparableConv2D,
    TakeRows,
)
from keras_dense.ops.atrous import explicit_pads
from keras_dense.ops.region import neighbors, rows_for
from keras_dense.surgery.effect import (
    CONVOLUTIONS,
    GLOBAL_POOLING,
    MAX_POOLING,
    POOLING,
    window_of,
)
from keras_dense.surgery.graph import Copies, maker_of, values, walk
from keras_dense.surgery.pointwise import is_pointwise, is_reshape
from keras_dense.surgery.respace import policy_of

_KINDS = {
    layers.Conv2D: RegionConv2D,
    AtrousConv2D: RegionConv2D,
    layers.DepthwiseConv2D: RegionDepthwiseConv2D,
    AtrousDepthwiseConv2D: RegionDepthwiseConv2D,
    layers.SeparableConv2D: RegionSeparableConv2D,
    AtrousSeparableConv2D: RegionSeparableConv2D,
}
_NONE = ((0, 0), (0, 0))


@dataclass(frozen=True, eq=False)
class _Cells:
    """A list of the cells of a map, `(N, 1, 1, C)`, in its place."""

    tensor: keras.KerasTensor
    pads: tuple = _NONE  # zeros that the network puts around the map
    rate: tuple | None = None  # of a gate, with a cell for each phase of each image


class _OnCells:
    """The walk that computes lists of cells in place of maps."""

    def __init__(self, name: str) -> None:
        self.name, self.copies = name, Copies()
        self.inputs: dict[str, Tensor] = {}
        self.tables: dict[tuple, Tensor] = {}
        self.groups: dict[tuple, tuple[Tensor, Tensor]] = {}

    def __call__(self, node, *args, **kwargs):
        op, maps = node.operation, values(args, kwargs, _Cells)
        if not maps:
            return self.copies(op, *args, **kwargs)
        old = next((x for x in maps if x.rate is None), maps[0])
        if isinstance(op, layers.ZeroPadding2D):
            pads = zip(old.pads, op.padding, strict=True)
            pads = tuple(tuple(a + b for a, b in zip(*pair, strict=True)) for pair in pads)
            return _Cells(old.tensor, pads, old.rate)
        if isinstance(op, CONVOLUTIONS + POOLING):
            return self.window(op, old)
        if isinstance(op, GLOBAL_POOLING):
            return self.gate(op, old)
        if isinstance(op, TilePhases):
            return _Cells(self.for_each_cell(maps[0]))
        if old.rate is not None and (isinstance(op, layers.Reshape) or is_reshape(node)):
            return old
        if old.rate is None and not is_pointwise(node):
            raise self.unknown(op, "looks at more than one pixel in a way unknown here")
        if old.pads != _NONE:
            raise self.unknown(op, "reads a map with zeros around it")
        tensors = {id(x): self.for_each_cell(x) if old.rate is None else x.tensor for x in maps}
        args, kwargs = tree.map_structure(lambda x: tensors.get(id(x), x), (args, kwargs))
        outputs = self.copies(op, *args, **kwargs)
        return tree.map_structure(lambda x: _Cells(x, rate=old.rate), outputs)

    def unknown(self, op, reason):
        return ValueError(
            f"The operation {op.name!r} ({type(op).__name__}) of {self.name!r} {reason}: it cannot "
            "be computed for some cells of its map only."
        )

    def window(self, op, old):
        window = window_of(op)
        kernel, rate = window.kernel, window.rate
        if isinstance(op, CONVOLUTIONS) and type(op) not in _KINDS:
            raise self.unknown(op, "is a convolution of an unknown kind")
        if getattr(op, "data_format", "channels_last") == "channels_first":
            raise self.unknown(op, "has its channels first")
        own = explicit_pads(op.padding, (None, None), kernel, rate, (1, 1))
        pads = tuple(
            tuple(a + b for a, b in zip(*pair, strict=True))
            for pair in zip(old.pads, own, strict=True)
        )
        extents = zip(kernel, rate, pads, strict=True)
        if window.strides != (1, 1) or any((k - 1) * r != sum(pad) for k, r, pad in extents):
            raise self.unknown(op, "makes a map of another size")
        table = []
        if kernel != (1, 1):
            if old.rate is not None:
                raise self.unknown(op, "is a window over a gate")
            # Zeros from a layer are cells; those of "same" padding are not.
            table = [self.table(kernel, rate, pads, old.pads != _NONE)]
        if isinstance(op, POOLING):
            if not table:
                return old
            mode = "max" if isinstance(op, MAX_POOLING) else "mean"
            pool = RegionPooling2D(mode, name=self.copies.name(op.name), dtype=op.dtype_policy)
            return _Cells(pool(old.tensor, *table))
        config = {"strides": (1, 1), "padding": "valid", "dilation_rate": (1, 1), "rate": None}
        kind = _KINDS[type(op)]
        return _Cells(self.copies(op, old.tensor, *table, kind=kind, config=config), rate=old.rate)

    def input(self, key, shape, dtype):
        self.inputs[key] = keras.Input(shape, dtype=dtype, name=key)
        return self.inputs[key]

    def table(self, *window):
        if window not in self.tables:
            (k_h, k_w), key = window[0], f"table_{len(self.tables)}"
            self.tables[window] = self.input(key, (k_h * k_w,), "int32")
        return self.tables[window]

    def group(self, rate):
        """The number of each cell's group, and one row for each group."""
        if rate not in self.groups:
            key = len(self.groups)
            self.groups[rate] = (
                self.input(f"group_{key}", (), "int32"),
                self.input(f"groups_{key}", (), "int32"),
            )
        return self.groups[rate]

    def gate(self, op, old):
        if old.rate is not None or old.pads != _NONE:
            raise self.unknown(op, "pools a tensor that is no map")
        if isinstance(op, PoolKeptCells):
            raise self.unknown(op, "pools cells by a mask of its own")
        rate, mode = pooling_of(op)
        pool = PoolRows(mode, name=self.copies.name(op.name), dtype=op.dtype_policy)
        return _Cells(pool(old.tensor, *self.group(rate)), rate=rate)

    def for_each_cell(self, x):
        """The value of a gate for each cell of the list."""
        if x.rate is None:
            return x.tensor
        name = self.copies.name("gate")
        return TakeRows(name=name, dtype=x.tensor.dtype)(x.tensor, self.group(x.rate)[0])


class _OnMaps:
    """The walk that puts zeros for cells that left before every operation that looks at others."""

    def __init__(self, mask: Tensor) -> None:
        self.mask, self.copies = mask, Copies()
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, node, *args, **kwargs):
        op = node.operation
        looks = isinstance(op, CONVOLUTIONS + POOLING) and window_of(op).kernel != (1, 1)
        if looks or isinstance(op, layers.ZeroPadding2D):
            x = args[0]
            padded = isinstance(maker_of(x), layers.ZeroPadding2D)
            return self.copies(op, x if padded or _is_gate(x) else self.keep(x))
        if isinstance(op, GLOBAL_POOLING) and not _is_gate(args[0]):
            return self.pool(op, args[0], node.outputs[0].shape)
        return self.copies(op, *args, **kwargs)

    def keep(self, x):
        if id(x) not in self.kept:
            name = self.copies.name("keep")
            # With the tensor, so that no other gets its id.
            self.kept[id(x)] = x, KeepCells(name=name, dtype=policy_of(x))(x, self.mask)
        return self.kept[id(x)][1]

    def pool(self, op, x, shape):
        rate, mode = pooling_of(op)
        pool = PoolKeptCells(rate, mode=mode, name=self.copies.name(op.name), dtype=op.dtype_policy)
        y = pool(x, self.mask)
        if len(shape) == 2:
            y = layers.Reshape(shape[1:], name=self.copies.name("vector"), dtype=y.dtype)(y)
        return y


def _is_gate(x):
    return len(x.shape) != 4 or tuple(x.shape[1:3]) == (1, 1)


def pooling_of(op: Any) -> tuple[tuple, str]:
    """The rate and the mode of a global pooling."""
    largest = isinstance(op, layers.GlobalMaxPooling2D) or getattr(op, "mode", "") == "max"
    rate = op.rate if isinstance(op, PhasePooling2D) else (1, 1)
    return rate, "max" if largest else "mean"


def masked(model: keras.Model) -> keras.Model:
    """A network on maps that cells have left: they are zeros wherever others look at them.

    It computes in whole maps, so that it can be trained, the same as `RegionNetwork` for lists of
    cells. Weights are copies.

    Args:
        model: a functional `keras.Model` of one map, `(B, H, W, C)`, to maps of its size.

    Returns:
        A `keras.Model` of that map and a mask `(B, H, W, 1)`, 1 for cells that are left.

    >>> image = keras.Input((None, None, 3))
    >>> model = keras.Model(image, layers.Conv2D(4, 3, padding="same")(image))
    >>> [x.shape[-1] for x in masked(model).inputs]
    [3, 1]
    """
    x = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype, name="map")
    mask = keras.Input((*x.shape[1:3], 1), dtype="float32", name="mask")
    outputs = walk(model, x, _OnMaps(mask))
    return keras.Model([x, mask], outputs, name=model.name)


class RegionNetwork:
    """A part of a network that works on lists of cells: nothing is computed for other cells.

    Cells in a window but not in the list count as zeros, as beyond the border of the map. A gate
    (squeeze-and-excite) is computed from the cells in the list. Weights are copies.

    Args:
        model: a functional `keras.Model` from maps to maps, all of one size.

    Raises:
        ValueError: for an operation that changes the size of its map, or looks at neighbors in an
            unknown way (named).
    """

    def __init__(self, model: keras.Model):
        work = _OnCells(model.name)
        lists = [
            work.input(f"cells_{n}", (1, 1, x.shape[-1]), x.dtype)
            for n, x in enumerate(model.inputs)
        ]
        packed = tree.pack_sequence_as(model.input, [_Cells(x) for x in lists])
        outputs = tree.flatten(walk(model, packed, work))
        if any(x.rate is not None or x.pads != _NONE for x in outputs):
            raise ValueError(
                f"`model` must return maps of the size of its inputs. Received: {model.name!r}"
            )
        self._tables, self._groups = work.tables, work.groups
        self.model = keras.Model(work.inputs, [x.tensor for x in outputs], name=model.name)

    def predict(self, cells: list[Array], mask: Array) -> list[Array]:
        """The outputs for some cells.

        Args:
            cells: a list of arrays `(N, C)`, for each input the cells where the mask is true, in
                row-major order.
            mask: `(B, H, W)`, bool.

        Returns:
            A list of arrays `(N, C)`.
        """
        count = int(np.count_nonzero(mask))
        rows = rows_for(count)
        inputs = {
            f"cells_{n}": np.pad(x, ((0, rows - count), (0, 0)))[:, None, None]
            for n, x in enumerate(cells)
        }
        for (kernel, rate, pads, zeros), table in self._tables.items():
            inputs[table.name] = neighbors(mask, kernel, rate, pads, zeros, rows=rows)
        image, row, column = np.nonzero(mask)
        for (r_h, r_w), (group, groups) in self._groups.items():
            # Rows beyond the cells are a group of their own.
            number = len(mask) * r_h * r_w
            index = (image * r_h + row % r_h) * r_w + column % r_w
            index = np.pad(index, (0, rows - count), constant_values=number)
            inputs[group.name] = index.astype("int32")
            inputs[groups.name] = np.zeros(number + 1, "int32")
        outputs = self.model.predict_on_batch(inputs)
        return [x[:count, 0, 0] for x in tree.flatten(outputs)]

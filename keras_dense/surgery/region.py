"""A part of a network that some cells have left: in whole maps to train, in lists to predict."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers, tree

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
from keras_dense.surgery.graph import Copies, values, walk
from keras_dense.surgery.pointwise import is_pointwise, is_reshape
from keras_dense.surgery.spread import policy_of
from keras_dense.surgery.strides import (
    CONVOLUTIONS,
    GLOBAL_POOLING,
    MAX_POOLING,
    POOLING,
    window_of,
)

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
    """Takes the place of a map: a list of its cells, `(N, 1, 1, C)`."""

    tensor: keras.KerasTensor
    pads: tuple = _NONE  # zeros that the network puts around the map
    rate: tuple | None = None  # of a gate, which has a cell for each phase of each image instead


class _OnCells:
    """Computes lists of cells in place of maps."""

    def __init__(self, name):
        self.name, self.copies, self.inputs, self.tables, self.groups = name, Copies(), {}, {}, {}

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
            return _Cells(self.spread(maps[0]))
        if old.rate is not None and (isinstance(op, layers.Reshape) or is_reshape(node)):
            return old
        if old.rate is None and not is_pointwise(node):
            raise self.unknown(op, "looks at more than one pixel in a way not known here")
        if old.pads != _NONE:
            raise self.unknown(op, "reads a map with zeros around it")
        tensors = {id(x): self.spread(x) if old.rate is None else x.tensor for x in maps}
        args, kwargs = tree.map_structure(lambda x: tensors.get(id(x), x), (args, kwargs))
        outputs = self.copies(op, *args, **kwargs)
        return tree.map_structure(lambda x: _Cells(x, rate=old.rate), outputs)

    def unknown(self, op, what):
        return ValueError(
            f"The operation {op.name!r} ({type(op).__name__}) of {self.name!r} {what}: it cannot "
            "be computed for some cells of its map only."
        )

    def window(self, op, old):
        kernel, rate, strides = window_of(op)
        if isinstance(op, CONVOLUTIONS) and type(op) not in _KINDS:
            raise self.unknown(op, "is a convolution of a kind not known here")
        if getattr(op, "data_format", "channels_last") == "channels_first":
            raise self.unknown(op, "has its channels first")
        own = explicit_pads(op.padding, (None, None), kernel, rate, (1, 1))
        pads = tuple(
            tuple(a + b for a, b in zip(*pair, strict=True))
            for pair in zip(old.pads, own, strict=True)
        )
        extents = zip(kernel, rate, pads, strict=True)
        if strides != (1, 1) or any((k - 1) * r != sum(pad) for k, r, pad in extents):
            raise self.unknown(op, "makes a map of another size")
        table = []
        if kernel != (1, 1):
            if old.rate is not None:
                raise self.unknown(op, "is a window over a gate")
            # Zeros that the network puts there are cells; what "same" adds is not.
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
        """The group of each cell, and a row for each group."""
        if rate not in self.groups:
            key = len(self.groups)
            self.groups[rate] = (
                self.input(f"group_{key}", (), "int32"),
                self.input(f"groups_{key}", (), "int32"),
            )
        return self.groups[rate]

    def gate(self, op, old):
        if old.rate is not None or old.pads != _NONE:
            raise self.unknown(op, "pools something that is no map")
        rate, mode = pooling_of(op)
        pool = PoolRows(mode, name=self.copies.name(op.name), dtype=op.dtype_policy)
        return _Cells(pool(old.tensor, *self.group(rate)), rate=rate)

    def spread(self, x):
        """A gate for every cell."""
        if x.rate is None:
            return x.tensor
        name = self.copies.name("gate")
        return TakeRows(name=name, dtype=x.tensor.dtype)(x.tensor, self.group(x.rate)[0])


class _OnMaps:
    """Computes whole maps, with zeros where cells left before everything that looks at others."""

    def __init__(self, mask):
        self.mask, self.copies, self.kept = mask, Copies(), {}

    def __call__(self, node, *args, **kwargs):
        op = node.operation
        looks = isinstance(op, CONVOLUTIONS + POOLING) and window_of(op)[0] != (1, 1)
        if looks or isinstance(op, layers.ZeroPadding2D):
            x = args[0]
            padded = isinstance(x._keras_history.operation, layers.ZeroPadding2D)
            return self.copies(op, x if padded or _is_gate(x) else self.keep(x))
        if isinstance(op, GLOBAL_POOLING) and not _is_gate(args[0]):
            return self.pool(op, args[0], node.outputs[0].shape)
        return self.copies(op, *args, **kwargs)

    def keep(self, x):
        if id(x) not in self.kept:
            name = self.copies.name("keep")
            # The tensor too, so that another does not get its id.
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


def pooling_of(op):
    """Rate and mode of a global pooling."""
    largest = isinstance(op, layers.GlobalMaxPooling2D) or getattr(op, "mode", "") == "max"
    rate = op.rate if isinstance(op, PhasePooling2D) else (1, 1)
    return rate, "max" if largest else "mean"


def masked(model):
    """The network on maps from which cells have left: they are zero wherever others look at them.

    What `RegionNetwork` computes for lists of cells, in whole maps, so that it can be trained.
    Weights are copies.

    Args:
        model: a functional `keras.Model` of one map, `(B, H, W, C)`, to maps of its size.

    Returns:
        A `keras.Model` of that map and a mask `(B, H, W, 1)`, 1 for the cells that are left.

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

    Where a window reaches cells that are not in the list, they count as zero, as beyond the border
    of the map. A gate (squeeze-and-excite) is made from the cells in the list. Weights are copies.

    Args:
        model: a functional `keras.Model` from maps to maps, all of one size.

    Raises:
        ValueError: for an operation that changes the size of its map, or looks at neighbors in a
            way not known here.
    """

    def __init__(self, model):
        work = _OnCells(model.name)
        lists = [
            work.input(f"cells_{n}", (1, 1, x.shape[-1]), x.dtype)
            for n, x in enumerate(model.inputs)
        ]
        packed = tree.pack_sequence_as(model.input, [_Cells(x) for x in lists])
        outputs = tree.flatten(walk(model, packed, work))
        if any(x.rate is not None or x.pads != _NONE for x in outputs):
            raise ValueError(f"{model.name!r} must return maps of the size of its inputs.")
        self._tables, self._groups = work.tables, work.groups
        self.model = keras.Model(work.inputs, [x.tensor for x in outputs], name=model.name)

    def predict(self, cells, mask):
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
        for window, table in self._tables.items():
            inputs[table.name] = neighbors(mask, *window, rows=rows)
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

"""Numbered objects of a result of any size, decoded by windows and joined across their seams."""

import itertools
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Array
from keras_dense.heads.head import Head
from keras_dense.heads.instance_maps import in_order
from keras_dense.inference.outputs import Outputs
from keras_dense.inference.tiles import Axis

_ROWS = 512  # renumbered together


def number_objects(
    result: Any,
    head: Head,
    *,
    tile: int | None = None,
    overlap: int = 128,
    min_size: int | None = None,
    out: Any = None,
    progress: bool = True,
) -> Array:
    """Number the objects in a result, also in one that does not fit into memory.

    Each window is decoded by itself (`head.objects`), with `overlap` pixels in common with the next
    one; the seam is in their middle. What two windows see along a seam as the same object, more
    than half of what both cover there, gets one number. If `overlap` is at least twice as large as
    the largest object, all objects at a seam are whole in both windows, and the result equals that
    of the undivided one. Larger objects are joined as far as both windows agree.

    Args:
        result: `(H, W, …)`, of `kd.inference.predict_tiled` or `head.decode`: an array, or anything
            with `shape` that is read by `result[y0:y1, x0:x1]`: `np.memmap`, a zarr array.
        head: a head with numbered objects, such as `kd.heads.Instances`.
        tile: int, the side of a window in pixels; `None` decodes the result undivided.
        overlap: int, pixels that neighbors have in common, at most a third of `tile`.
        min_size: int, objects of fewer pixels are left out; default: `head.min_size`.
        out: `None` (a new array); an array, memmap or zarr array of at least 32 bits that is
            written by slices; or a path that ends in ".npy", ".zarr" or ".tif", see
            `predict_tiled`.
        progress: bool, whether to show a progress bar of the windows.

    Returns:
        Numbers `(H, W)`: 0 for background, objects numbered in reading order of their first
        pixels; uint16 (uint32 for more than 65,535 objects). With `out` that array, or the file
        opened read-only, uint32.

    Raises:
        TypeError: if the head predicts no objects apart.
        ValueError: for a tile, overlap or size out of range, or an `out` of another shape or type.
        FileExistsError: if there is a file at the path of `out` already.
        ImportError: without what the head needs to decode.

    Example:

    ```python
    maps = kd.inference.predict_tiled(model, slide, tile=1024, out="maps.npy")
    kd.inference.number_objects(maps, kd.heads.of(model), tile=2048, out="cells.tif")
    ```
    """
    least = _check.integer(head.min_size if min_size is None else min_size, "min_size", low=0)
    tile, overlap = _check_tiles(tile, overlap)
    size = tuple(result.shape[:2])
    facts = {"name": "numbers", "unit": "number of an object, 0 for background"}
    outputs = Outputs([None], [size], ["uint32"], out, like=result, facts=[facts])
    numbers = outputs.arrays[0]
    if tile is None:
        numbers[:, :] = head.objects(np.asarray(result[:, :]), min_size=least)
        count = 0 if out is not None else int(numbers.max(initial=0))
    else:
        windows = _Windows(result, head, [Axis.of(n, tile, overlap, 1) for n in size], numbers)
        windows.run(_check.flag(progress, "progress"))
        firsts, sizes = windows.objects()
        count = _renumber(numbers, firsts, sizes, least)
    found = outputs.finish()[0]
    return found.astype("uint16") if out is None and count <= 65535 else found


def _check_tiles(tile: int | None, overlap: int) -> tuple[int | None, int]:
    overlap = _check.integer(overlap, "overlap", low=2)
    if tile is None:
        return None, overlap
    tile = _check.integer(tile, "tile", low=1)
    if 3 * overlap > tile:
        raise ValueError(
            f"`overlap` must be at most a third of `tile`. Received: overlap={overlap}, tile={tile}"
        )
    return tile, overlap


class _Windows:
    """The windows of one result, whose objects have numbers that no other window has.

    Attributes:
        same: for each number a smaller one of the same object, or itself.
        sizes: the pixels of each number.
    """

    def __init__(self, result, head, axes, numbers):
        self.result, self.head, self.numbers = result, head, numbers
        self.rows, self.columns = axes
        self.same, self.sizes = [0], [0]

    def run(self, progress):
        """Decode all windows, write their own pixels, and join objects across seams."""
        count = len(self.rows.places) * len(self.columns.places)
        bar = keras.utils.Progbar(count, unit_name="window", verbose=int(progress))
        above = {}
        (rows, columns), beside = (_edges(axis) for axis in (self.rows, self.columns)), None
        for j, (top, bottom) in enumerate(itertools.pairwise(rows)):
            for k, (left, right) in enumerate(itertools.pairwise(columns)):
                window = self._window(j, k)
                own = window.at(top, bottom, left, right)
                self.numbers[top:bottom, left:right] = own
                counts = np.bincount(own.ravel(), minlength=len(self.same))
                self.sizes.extend(counts[len(self.sizes) :].tolist())
                # Both sides of a seam, as two windows see them; copies, for windows are large.
                if k:
                    self._join(beside, window.at(top, bottom, left - 1, left + 1))
                if j:
                    self._join(above[k], window.at(top - 1, top + 1, left, right))
                beside = window.at(top, bottom, right - 1, right + 1).copy()
                above[k] = window.at(bottom - 1, bottom + 1, left, right).copy()
                bar.add(1)

    def _window(self, j, k):
        y, x = self.rows.places[j], self.columns.places[k]
        tile = np.asarray(self.result[y : y + self.rows.tile, x : x + self.columns.tile])
        found = in_order(self.head.objects(tile, min_size=0)).astype("int64")
        known = len(self.same) - 1
        self.same.extend(range(known + 1, known + 1 + int(found.max(initial=0))))
        return _Window(np.where(found > 0, found + known, 0), y, x)

    def _join(self, before, after):
        """Join what two windows see as one object in the same pixels."""
        pairs, counts = np.unique(
            np.stack([before, after], -1).reshape(-1, 2), axis=0, return_counts=True
        )
        sizes = [dict(zip(*np.unique(x, return_counts=True), strict=True)) for x in (before, after)]
        for (a, b), shared in zip(pairs.tolist(), counts.tolist(), strict=True):
            if a and b and 2 * shared > sizes[0][a] + sizes[1][b] - shared:
                a, b = self._first(a), self._first(b)
                self.same[max(a, b)] = min(a, b)

    def _first(self, number):
        """The smallest number of an object."""
        while self.same[number] != number:
            self.same[number] = self.same[self.same[number]]
            number = self.same[number]
        return number

    def objects(self):
        """For each number the smallest one of its object, and the pixels of that object."""
        firsts = np.array([self._first(number) for number in range(len(self.same))])
        return firsts, np.bincount(firsts, weights=self.sizes)[firsts]


class _Window(NamedTuple):
    """Numbers of a window, and where it begins."""

    numbers: Array
    top: int
    left: int

    def at(self, top, bottom, left, right):
        """Numbers at pixels of the whole result."""
        rows = slice(top - self.top, bottom - self.top)
        return self.numbers[rows, left - self.left : right - self.left]


def _edges(axis):
    """The first pixel of each window's own ones, in the middle of what two share; the length."""
    pairs = itertools.pairwise(axis.places)
    return [0, *((a + axis.tile + b) // 2 for a, b in pairs), axis.length]


def _renumber(numbers, firsts, sizes, least):
    """Number objects in reading order, in place, without those of fewer pixels; their count."""
    new, count = np.zeros(len(firsts), "uint32"), 0
    for y in range(0, numbers.shape[0], _ROWS):
        block = firsts[np.asarray(numbers[y : y + _ROWS])]
        names, places = np.unique(block, return_index=True)
        waiting = (names > 0) & (sizes[names] >= least) & (new[names] == 0)
        for name in names[waiting][np.argsort(places[waiting])]:
            count += 1
            new[name] = count
        numbers[y : y + _ROWS] = new[block]
    return count

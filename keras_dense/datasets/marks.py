"""Scribbles, points and boxes: as labels of few pixels, made of masks or read from tables."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array
from keras_dense.datasets.sample import VOID


class Region(NamedTuple):
    """A connected part of a class.

    Attributes:
        label: int, the class.
        rows: slice of the rows of its box.
        columns: slice of the columns of its box.
        mask: bool, of the size of the box.
    """

    label: int
    rows: slice
    columns: slice
    mask: Array


def regions(labels: Array) -> Iterator[Region]:
    """Iterate over the connected parts of all classes, by class and in reading order.

    >>> [(r.label, int(r.mask.sum())) for r in regions(np.array([[1, 0, 1, 1, 255]]))]
    [(0, 1), (1, 1), (1, 2)]
    """
    ndimage = require("scipy.ndimage", extra="scipy")
    for label in np.unique(labels):
        if label == VOID:
            continue
        numbers, _ = ndimage.label(labels == label)
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbers), 1):
            yield Region(int(label), rows, columns, numbers[rows, columns] == number)


def marks_of_labels(labels: Array, kind: str, radius: int, rng: np.random.Generator) -> Array:
    """Return labels with a mark in each region, and void elsewhere.

    Args:
        labels: ints `(H, W)`, 255 = void.
        kind: `"scribbles"` or `"points"`.
        radius: int >= 0, by which marks are thickened within their region.
        rng: NumPy generator.

    >>> labels = np.array([[1] * 5 + [255] * 2])
    >>> marks_of_labels(labels, "scribbles", 0, np.random.default_rng(0)).tolist()
    [[1, 1, 1, 1, 1, 255, 255]]
    """
    ndimage = require("scipy.ndimage", extra="scipy")
    draw = scribble if kind == "scribbles" else point
    marks = np.full(labels.shape, VOID, labels.dtype)
    for region in regions(labels):
        drawn = draw(region.mask, rng)
        if radius:
            drawn = ndimage.distance_transform_edt(~drawn) <= radius
        marks[region.rows, region.columns][drawn & region.mask] = region.label
    return marks


def point(mask: Array, rng: np.random.Generator) -> Array:
    """Return a random pixel of the inner half of a region, as bool `(H, W)`.

    >>> point(np.array([[0, 1, 0]], bool), np.random.default_rng(0)).tolist()
    [[False, True, False]]
    """
    depth = require("scipy.ndimage", extra="scipy").distance_transform_edt(np.pad(mask, 1))
    depth = depth[1:-1, 1:-1]
    places = np.argwhere(mask & (depth >= depth.max() / 2))
    found = np.zeros(mask.shape, bool)
    found[tuple(places[rng.integers(len(places))])] = True
    return found


def scribble(mask: Array, rng: np.random.Generator) -> Array:
    """Return a line along the longer side of a region, through its middle, as bool `(H, W)`.

    In each row (or column) it marks the innermost of the region's pixels, pushed aside by a smooth
    random curve; the outer tenth at both ends is left out.

    >>> scribble(np.ones((1, 10), bool), np.random.default_rng(0))[0].astype(int).tolist()
    [0, 1, 1, 1, 1, 1, 1, 1, 1, 0]
    """
    if mask.shape[0] < mask.shape[1]:
        return scribble(mask.T, rng).T
    found = np.zeros(mask.shape, bool)
    length = len(mask)
    margin = length // 10
    bend = rng.uniform(-0.3, 0.3, 5)
    bends = np.interp(np.linspace(0, 4, length), np.arange(5), bend)
    last = None
    for row in range(margin, length - margin):
        runs = np.flatnonzero(np.diff(np.concatenate([[0], mask[row].astype(int), [0]])))
        starts, ends = runs[::2], runs[1::2]
        if not len(starts):
            continue
        longest = np.argmax(ends - starts)
        start, end = int(starts[longest]), int(ends[longest])
        place = int(np.clip(start + (end - start) * (0.5 + bends[row]), start, end - 1))
        low, high = (place, place) if last is None else sorted((place, last))
        if high - low > mask.shape[1] // 3:  # a jump to another arm of the region
            low = high = place
        found[row, low : high + 1] = True
        last = place
    return found & mask


def boxes_of_labels(labels: Array, background: int = 0, core: float = 0.2) -> Array:
    """Return the labels that boxes around the regions of classes tell; see `weaken`.

    >>> boxes_of_labels(np.array([[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 0, 0]])).tolist()
    [[0, 0, 0, 0], [0, 1, 255, 0], [0, 255, 255, 0]]
    """
    found = [r for r in regions(labels) if r.label != background]
    boxes = [(r.label, r.rows.start, r.columns.start, r.rows.stop, r.columns.stop) for r in found]
    return labels_of_boxes(boxes, labels.shape, background, core).astype(labels.dtype)


def labels_of_boxes(
    boxes: Sequence[tuple[int, int, int, int, int]],
    size: tuple[int, int],
    background: int | None = 0,
    core: float = 0.2,
) -> Array:
    """Return labels `(H, W)` of boxes: void inside, but for a core, and background outside.

    Args:
        boxes: list of `(label, top, left, bottom, right)` in pixels, the last ones excluded.
        size: `(height, width)`.
        background: int, the label outside; `None`: void.
        core: float from 0 to below 1, side of the core relative to the box. Where cores overlap,
            that of the smaller box is in front.

    >>> labels_of_boxes([(3, 0, 1, 1, 4)], (1, 6), core=0.4).tolist()
    [[0, 255, 3, 255, 0, 0]]
    """
    labels: Array = np.full(size, VOID if background is None else background, np.uint8)
    for _, top, left, bottom, right in boxes:
        labels[top:bottom, left:right] = VOID
    for label, top, left, bottom, right in sorted(
        boxes, key=lambda b: -(b[3] - b[1]) * (b[4] - b[2])
    ):
        if core:
            labels[_middle(top, bottom, core), _middle(left, right, core)] = label
    return labels


def _middle(start: int, end: int, share: float) -> slice:
    """Return the middle `share` of a range, at least one pixel."""
    length = min(max(1, round((end - start) * share)), end - start)
    first = start + (end - start - length) // 2
    return slice(first, first + length)

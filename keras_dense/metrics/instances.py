"""Matching of numbered objects, with NumPy and SciPy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike

THRESHOLDS = tuple(n / 100 for n in range(50, 100, 5))
_TIE = 1e-9  # IoUs are quotients of integers: none is closer to a threshold and not equal to it


class Overlaps(NamedTuple):
    """Areas of two sets of objects and where they overlap, in pixels.

    Attributes:
        truth: int64 `(T,)`, areas of the true objects.
        found: int64 `(P,)`, areas of the predicted objects, without void pixels.
        pairs: int64 `(K, 2)`, the objects that overlap, by their places in `truth` and `found`.
        shared: int64 `(K,)`, areas of the overlaps.
    """

    truth: Array
    found: Array
    pairs: Array
    shared: Array

    def iou(self) -> Array:
        """Intersection over union of each pair, float64 `(K,)`."""
        union = self.truth[self.pairs[:, 0]] + self.found[self.pairs[:, 1]] - self.shared
        return self.shared / union


def overlaps(truth: ArrayLike, found: ArrayLike, *, void: int | None = -1) -> Overlaps:
    """Overlaps of true and predicted objects of an image.

    Pixels that are `void` in the truth count nowhere; a predicted object that is void by more than
    half is left out, as in the panoptic benchmarks.

    Args:
        truth: ints `(H, W)`: 0 is background, every object has its own number.
        found: the same, of the prediction; numbers need not agree.
        void: int, number of void pixels in the truth, or `None`.

    Raises:
        TypeError, ValueError: if a map is not of whole numbers >= 0, or shapes differ.

    >>> overlaps([[1, 1, 1, 0, 2]], [[7, 7, 0, 0, 9]]).shared.tolist()
    [2, 1]
    """
    truth, found = _objects(truth, "truth", void), _objects(found, "found", None)
    if truth.shape != found.shape:
        raise ValueError(
            f"`found` must have the shape of the truth, {truth.shape}. Received: {found.shape}"
        )
    known = np.ones(truth.shape, bool) if void is None else truth != void
    whole = np.unique(found[found > 0], return_counts=True)
    inside = np.unique(found[known & (found > 0)], return_counts=True)
    area = dict(zip(*(x.tolist() for x in inside), strict=True))
    kept = np.array([n for n, size in zip(*whole, strict=True) if 2 * area.get(n, 0) >= size], int)
    truth, found = truth[known].astype(np.int64), found[known].astype(np.int64)
    found = np.where(np.isin(found, kept), found, 0)
    wanted, truth_area = np.unique(truth[truth > 0], return_counts=True)
    got, found_area = np.unique(found[found > 0], return_counts=True)
    both = (truth > 0) & (found > 0)
    places = np.searchsorted(wanted, truth[both]) * len(got) + np.searchsorted(got, found[both])
    places, shared = np.unique(places, return_counts=True)
    pairs = np.stack(np.divmod(places, max(len(got), 1)), axis=-1)
    return Overlaps(truth_area, found_area, pairs, shared)


def _objects(numbers, name, void):
    numbers = as_labels(numbers, name)
    low = numbers[numbers < 0] if void is None else numbers[(numbers < 0) & (numbers != void)]
    if numbers.ndim != 2 or low.size:
        also = "" if void is None else f", or {void} (void)"
        raise ValueError(
            f"`{name}` must be numbers of objects >= 0{also}, of shape (height, width). "
            f"Received: shape {numbers.shape}" + (f", with {low.flat[0]}" if low.size else "")
        )
    return numbers


def check_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    """Thresholds of the IoU as floats, each above 0 and below 1.

    >>> check_thresholds([0.5])
    (0.5,)
    """
    values = np.atleast_1d(np.asarray(thresholds)).tolist()
    if not values or values != sorted(set(values)):
        raise _check.fail("thresholds", "increasing numbers above 0 and below 1", thresholds)
    return tuple(_check.number(value, "thresholds", above=0, below=1) for value in values)


def matched(found: Overlaps, threshold: float) -> Array:
    """IoUs of the pairs of a one-to-one matching, all of them above a threshold.

    Above 1/2 an object has one partner at most. Below, the most pairs are taken, and among such
    matchings one with the largest sum of IoUs.

    >>> matched(overlaps([[1, 1, 1, 0, 2]], [[7, 7, 0, 0, 9]]), 0.75).tolist()
    [1.0]
    """
    iou = found.iou()
    near = iou > threshold + _TIE
    if threshold >= 0.5:
        return iou[near]
    # One pair more outweighs all IoUs.
    chosen = _assigned(found.pairs[near], 1.0 + iou[near] / (2.0 * max(len(iou), 1)))
    return iou[near][chosen]


def aggregated_jaccard(found: Overlaps, *, one_to_one: bool = False) -> float:
    """Aggregated Jaccard index (AJI) of an image, or AJI+; NaN without objects.

    Each true object is paired with the predicted one of the largest IoU, which may have several
    partners; with `one_to_one` (AJI+), by the matching with the largest sum of IoUs. Overlaps of
    the pairs over their unions, and all objects without a partner are added to the unions.

    Reference: Kumar et al., "A Dataset and a Technique for Generalized Nuclear Segmentation for
    Computational Pathology", TMI 2017, algorithm 1; Graham et al., "HoVer-Net", MedIA 2019,
    section 4.2.

    >>> half = overlaps([[1, 1, 2, 2]], [[5, 5, 5, 0]])
    >>> round(aggregated_jaccard(half), 3), round(aggregated_jaccard(half, one_to_one=True), 3)
    (0.429, 0.4)
    """
    if not len(found.truth) and not len(found.found):
        return float("nan")
    iou = found.iou()
    if one_to_one:
        chosen = _assigned(found.pairs, iou)
    else:
        # The last of each true object after sorting by IoU; of equal ones, the first predicted.
        order = np.lexsort((-found.pairs[:, 1], iou, found.pairs[:, 0]))
        last = np.flatnonzero(np.diff(found.pairs[order, 0], append=-1))
        chosen = order[last]
    wanted, got = found.pairs[chosen].T
    shared = int(found.shared[chosen].sum())
    union = int(found.truth[wanted].sum() + found.found[got].sum()) - shared
    union += int(np.delete(found.truth, wanted).sum() + np.delete(found.found, got).sum())
    return shared / union


def _assigned(pairs, gain):
    """The pairs of a one-to-one matching with the largest sum of gains (all above 0)."""
    if not len(pairs):
        return np.zeros(0, int)
    graph = require("scipy.sparse", extra="scipy")
    components = require("scipy.sparse.csgraph", extra="scipy").connected_components
    assignment = require("scipy.optimize", extra="scipy").linear_sum_assignment
    rows, columns = pairs[:, 0], pairs[:, 1] + pairs[:, 0].max() + 1
    size = columns.max() + 1
    links = graph.coo_matrix((np.ones(len(pairs)), (rows, columns)), (size, size))
    group = components(links, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    chosen = []
    # Objects overlap with few others: many small problems instead of one large one.
    for part in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(part) == 1:
            chosen.append(part)
            continue
        names = [np.unique(pairs[part, side], return_inverse=True) for side in (0, 1)]
        table = np.zeros([len(name) for name, _ in names])
        number = np.full(table.shape, -1)
        place = tuple(inverse.ravel() for _, inverse in names)
        table[place], number[place] = gain[part], part
        found = number[assignment(table, maximize=True)]
        chosen.append(found[found >= 0])
    return np.concatenate(chosen)

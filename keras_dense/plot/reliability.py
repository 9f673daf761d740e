"""Drawings of the confidence of a network beside its accuracy."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import Array
from keras_dense.heads.drawing import WRONG
from keras_dense.plot.text import INK, PAPER, write_all

_BAR, _LINE, _GRID = (88, 134, 186), (120, 120, 126), (228, 228, 232)
_LEFT, _TOP, _GAP = 46, 34, 26


def reliability(scores: Mapping[str, Any], *, size: int = 320, title: str = "") -> Array:
    """Draw the accuracy of a network over its confidence, and the share of pixels of each bin.

    Bars are the accuracy of the pixels of a bin; red is the difference to their mean confidence.
    A network that knows how sure it is keeps to the diagonal; bars below it are overconfident.

    Args:
        scores: result of `kd.metrics.CalibrationError.scores()`, or of `kd.training.evaluate` with
            such a metric.
        size: int >= 120, side of the diagram in pixels.
        title: str, above it; the expected calibration error follows.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if the scores are not those of a calibration.

    >>> bins = {"calibration_accuracy": [0.5, 0.7], "calibration_confidence": [0.4, 0.9]}
    >>> reliability({**bins, "calibration_share": [0.2, 0.8]}, size=120).shape[2]
    3
    """
    size = _check.integer(size, "size", low=120)
    accuracy, confidence, share = (_bins(scores, name) for name in _NAMES)
    bins = len(accuracy)
    if len({len(x) for x in (accuracy, confidence, share)}) > 1:
        raise ValueError(f"`scores` must have as many {_NAMES} of each. Received: {bins}, …")
    low = size // 4
    height, width = _TOP + size + _GAP + low + 46, _LEFT + size + 16
    drawing = np.full((height, width, 3), PAPER, np.uint8)
    edges = np.rint(np.linspace(0, size, bins + 1)).astype(int)
    upper, lower = (drawing[y : y + n, _LEFT : _LEFT + size] for y, n in _boxes(size, low))
    for quarter in (0.25, 0.5, 0.75):
        upper[size - round(quarter * size)] = _GRID
        upper[:, round(quarter * size)] = _GRID
    highest = max(float(np.nanmax(share)), 1e-9)
    for n, (left, right) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        if share[n] > 0:
            columns = slice(left + 1, max(right - 1, left + 2))
            _bar(upper, columns, 0.0, accuracy[n], _BAR)
            bottom, top = sorted((accuracy[n], confidence[n]))
            _bar(upper, columns, bottom, top, WRONG, 0.45)
            _bar(lower, columns, 0.0, share[n] / highest, _BAR)
    steps = np.arange(size)
    dashes = steps[steps % 10 < 6]
    upper[size - 1 - dashes, dashes] = _LINE
    for box in (upper, lower):
        box[:, 0] = box[-1] = _LINE
    difference = np.abs(np.where(share > 0, accuracy - confidence, 0.0))
    error = f"{100 * float((share * difference).sum()):.1f} % calibration error"
    lines = [(f"{title}: {error}" if title else error, (_LEFT, 10), INK, "la")]
    return _written(drawing, lines, size, low, highest)


_NAMES = ("calibration_accuracy", "calibration_confidence", "calibration_share")


def _bins(scores, name):
    values = scores.get(name) if isinstance(scores, Mapping) else None
    if np.ndim(values) != 1 or not len(values):
        found = sorted(scores) if isinstance(scores, Mapping) else type(scores).__name__
        raise ValueError(
            f"`scores` must be of kd.metrics.CalibrationError, with {name!r}. Received: {found}"
        )
    return np.asarray(values, "float64")


def _boxes(size, low):
    """Top and height of the diagram and of the shares."""
    return (_TOP, size), (_TOP + size + _GAP, low)


def _bar(box, columns, bottom, top, color, cover=1.0):
    height = len(box)
    rows = slice(height - round(top * height), height - round(bottom * height))
    mixed = box[rows, columns] * (1 - cover) + np.array(color) * cover
    box[rows, columns] = (mixed + 0.5).astype(np.uint8)


def _written(drawing, lines, size, low, highest):
    """A drawing with the numbers along its axes, and their names."""
    for value in (0.0, 0.5, 1.0):
        y, x = _TOP + size * (1 - value), _LEFT + size * value
        lines.append((f"{value:g}", (_LEFT - 6, y), INK, "rm"))
        lines.append((f"{value:g}", (x, _TOP + size + 12), INK, "mm"))
    top = _TOP + size + _GAP
    lines.append((f"{100 * highest:.0f} %", (_LEFT - 6, top + 6), INK, "rm"))
    place = (_LEFT + size / 2, top + low + 14)
    lines.append(("confidence (below: share of pixels)", place, INK, "mm"))
    turned = np.rot90(write_all(drawing, lines, 12), -1)
    place = (turned.shape[1] - _TOP - size / 2, 12)
    turned = write_all(turned, [("accuracy", place, INK, "mm")], 12)
    return np.ascontiguousarray(np.rot90(turned))

"""Drawings of confusion matrices."""

from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import Array, ArrayLike
from keras_dense.heads.drawing import RIGHT, WRONG, hatch
from keras_dense.plot.text import INK, PAPER, shorten, text_width, write_all

_GAP, _LONGEST = 8, 150  # pixels between parts; the longest name
_CAPTIONS = {
    "truth": "rows: truth, columns: prediction, in % of the row",
    "prediction": "rows: truth, columns: prediction, in % of the column",
    "all": "rows: truth, columns: prediction, in % of all pixels",
}


def confusion_matrix(
    matrix: ArrayLike,
    class_names: Sequence[str] | None = None,
    *,
    normalize: str = "truth",
    cell: int = 44,
) -> Array:
    """Draw a confusion matrix: shares in percent, right pixels green, wrong ones red.

    Args:
        matrix: `(C, C)` counts, truth i and prediction j at [i, j], such as
            `kd.metrics.ConfusionMatrix.matrix()`.
        class_names: names, one for each class; default: numbers.
        normalize: `"truth"`: shares of each row, so the diagonal is the accuracy of the classes;
            `"prediction"`: of each column, so it is their precision; or `"all"`. Rows or columns
            without a pixel are hatched.
        cell: int >= 24, side of a cell in pixels.

    Returns:
        uint8 `(h, w, 3)`.

    Raises:
        ValueError: if the matrix is not square, has a number below 0, or names do not fit.

    >>> confusion_matrix([[8, 2], [0, 10]], ["sky", "tree"]).shape[2]
    3
    """
    matrix = _counts(matrix)
    count = len(matrix)
    _check.choice(normalize, "normalize", tuple(_CAPTIONS))
    cell = _check.integer(cell, "cell", low=24)
    names = [str(n) for n in (range(count) if class_names is None else class_names)]
    if len(names) != count:
        raise ValueError(
            f"`class_names` must be one for each of {count} classes. Received: {len(names)} names"
        )
    axis = {"truth": 1, "prediction": 0, "all": None}[normalize]
    total = matrix.sum(axis, keepdims=True) * np.ones_like(matrix)
    share = np.divide(matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)
    size = int(np.clip(cell / 3.6, 9, 15))
    names = [shorten(name, size, _LONGEST) for name in names]
    side = max(text_width(name, size) for name in names) + 2 * _GAP
    caption = _CAPTIONS[normalize]
    width = max(side + count * cell + _GAP, text_width(caption, size) + 2 * _GAP)
    drawing = np.full((side + count * cell + size + 3 * _GAP, width, 3), PAPER, np.uint8)
    lines = []
    for i, j in np.ndindex(share.shape):
        top, left = side + i * cell, side + j * cell
        inside = np.s_[top + 1 : top + cell, left + 1 : left + cell]
        drawing[inside], ink = _colors(share[i, j], i == j, cell - 1)
        if share[i, j] >= 0.0005:
            text = f"{100 * share[i, j]:.1f}" if share[i, j] < 0.9995 else "100"
            lines.append((text, (left + cell / 2, top + cell / 2), ink, "mm"))
    middles = [side + (n + 0.5) * cell for n in range(count)]
    names = list(zip(names, middles, strict=True))
    lines += [(name, (side - _GAP, middle), INK, "rm") for name, middle in names]
    lines.append((caption, (_GAP, side + count * cell + _GAP), INK, "la"))
    drawing = np.rot90(write_all(drawing, lines, size), -1)
    # Names of the columns: turned, they go from the cells to the right.
    start = drawing.shape[1] - side + _GAP
    lines = [(name, (start, middle), INK, "lm") for name, middle in names]
    return np.ascontiguousarray(np.rot90(write_all(drawing, lines, size)))


def _counts(matrix):
    matrix = as_array(matrix, "matrix").astype("float64")
    right = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and matrix.size
    if not right or not (matrix >= 0).all():
        least = f", smallest {matrix.min():g}" if matrix.size else ""
        raise ValueError(
            "`matrix` must be counts (C, C), each at least 0. "
            f"Received: shape {matrix.shape}{least}"
        )
    return matrix


def _colors(share, right, size):
    """Colors of a cell, and of the text in it."""
    if np.isnan(share):
        return hatch(size, size), INK
    # Small shares of wrong pixels are the ones to look for: they are drawn darker.
    depth = share if right else np.sqrt(share)
    color = np.array(PAPER) + depth * (np.array(RIGHT if right else WRONG) - np.array(PAPER))
    return np.where(share > 0, color, 247).astype(np.uint8), PAPER if depth > 0.6 else INK

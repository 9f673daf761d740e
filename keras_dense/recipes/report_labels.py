"""Parts of a report about labels: classes, images, confusions, calibration."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

import keras_dense.plot as plot
from keras_dense._types import Array
from keras_dense.datasets import check_sample
from keras_dense.heads import Heads
from keras_dense.recipes import page
from keras_dense.recipes.rounds import window
from keras_dense.recipes.scores import Scored, predict

TILE = 250
LARGEST = 1400  # pixels of the side of an image that is drawn; of larger ones the center
_SHOWN = 4  # best and worst images
_CONFUSIONS = 8  # pairs of classes that are listed
_COLUMNS = ("iou", "dice", "accuracy", "precision")
_MATRIX = 40  # classes of the largest matrix that is drawn


def labels_parts(
    model: keras.Model,
    heads: Heads,
    key: str,
    val: Any,
    scored: Scored,
    results: Mapping[str, Any],
) -> list[str]:
    """Return the sections about labels; see `write_report`.

    Args:
        model: with its final weights.
        heads: of the model.
        key: that of the head of labels.
        val: data set that was scored.
        scored: scores of the model.
        results: as in `results.json`.
    """
    head, matrix = heads[key], scored.matrix
    if matrix is None:
        return []
    values, ends = scored.heads[key], results["intervals"].get(key, {})
    shares = matrix.sum(1) / max(matrix.sum(), 1)
    return [
        page.section(
            "Classes", classes_table(head.class_names, values, ends, head.palette, shares)
        ),
        page.section("Worst and best images", _extremes(model, heads, key, val, scored)),
        page.section("Where classes are confused", _confusion(head, matrix)),
        page.section("Calibration", _calibration(scored)),
    ]


def classes_table(
    names: Sequence[str],
    values: Mapping[str, Any],
    intervals: Mapping[str, Any],
    palette: Any = None,
    shares: Any = None,
) -> str:
    """Return a table of the scores of classes.

    Args:
        names: of the classes.
        values: scores by their names; of "iou", … one for each class.
        intervals: `[low, high]` by the names of scores, where known.
        palette: colors of the classes, for a swatch of each.
        shares: share of the pixels of each class, for a column of its own.
    """

    def row(name: str, prefix: str, of: Any, ends: Any) -> list[str]:
        scores = [page.percent(of(values[prefix + column])) for column in _COLUMNS]
        return [name, scores[0], page.interval(ends), *scores[1:]]

    def one(i: int) -> list[str]:
        ends = intervals["iou"][i] if "iou" in intervals else None
        cells = row(names[i], "", lambda x: x[i], ends)
        cells += [] if shares is None else [f"{100 * shares[i]:.2f}"]
        return cells if palette is None else [page.swatch(palette[i]), *cells]

    mean = row("mean", "mean_", lambda x: x, intervals.get("mean_iou"))
    mean += [] if shares is None else [""]
    titles = ["class", "IoU", "95 % interval", "Dice", "recall", "precision"]
    titles += [] if shares is None else ["share of pixels"]
    first = [] if palette is None else [""]
    rows = [*map(one, range(len(names))), [*first, *mean]]
    note = "Percent; a class that does not occur in the held-out images has a dash."
    table = page.table([*first, *titles], rows, 1 + len(first))
    return table + page.paragraphs([f"{note} {page.INTERVALS}"])


def _extremes(model: keras.Model, heads: Heads, key: str, val: Any, scored: Scored) -> str:
    """Image, truth, prediction and error of the images with the lowest and the highest IoU."""
    return "".join(
        page.inline_image(
            _panel(model, heads, key, val, which),
            "; ".join(caption(scored, i, "mean IoU") for i in which),
        )
        for which in extremes(scored)
    )


def extremes(scored: Scored) -> list[list[int]]:
    """Return the images with the lowest scores, and those with the highest."""
    order = sorted(
        (i for i, (_, value) in enumerate(scored.images) if value == value),
        key=lambda i: scored.images[i][1],
    )
    worst = order[:_SHOWN]
    best = [i for i in order[::-1][:_SHOWN] if i not in worst]
    return [which for which in (worst, best) if which]


def caption(scored: Scored, index: int, score: str) -> str:
    """Return the name of an image and its score."""
    name, value = scored.images[index]
    return f"{pathlib.Path(name).name}: {score} {value:.3f}"


def _panel(model: keras.Model, heads: Heads, key: str, val: Any, which: Sequence[int]) -> Array:
    head, rows = heads[key], []
    for index in which:
        sample = window(check_sample(val[index]), most=LARGEST)
        logits = predict(model, sample["image"], heads)[key]
        labels = keras.ops.convert_to_numpy(head.decode(logits, sample["image"][None]))[0]
        rows.append((sample["image"], np.asarray(head.encode(sample)), labels))
    images, truths, guesses = (list(column) for column in zip(*rows, strict=True))
    return plot.panel(
        images, truths, guesses, head.palette, class_names=head.class_names, tile=TILE
    )


def _confusion(head: Any, matrix: Array) -> str:
    names = head.class_names
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    wrong = [(shares[i, j], i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    wrong = [(share, i, j) for share, i, j in sorted(wrong, reverse=True) if share > 0.005]
    lines = [
        f"{100 * share:.1f} % of {names[i]} is taken for {names[j]} ({matrix[i, j]:,} pixels)."
        for share, i, j in wrong[:_CONFUSIONS]
    ]
    if len(names) > _MATRIX:
        return page.paragraphs(lines)
    rows = []
    for i, name in enumerate(names):
        cells: list[str] = [name]
        cells += [_cell(shares[i, j], i == j) for j in range(len(names))]
        rows.append(cells)
    note = "Rows are the truth, columns the prediction, in percent of the row."
    return page.paragraphs([*lines, note]) + page.table(("", *names), rows, 1)


def _cell(share: float, right: bool) -> str:
    color = "106,154,60" if right else "200,55,45"
    style = f"background: rgba({color},{0.75 * share:.2f})"
    if share < 0.005:
        return ""
    return page.Markup(f'<span style="{style}">{100 * share:.0f}</span>')


def _calibration(scored: Scored) -> str:
    if scored.labels is None:
        return ""
    count, confidence, right = scored.labels.bins.sum(1)
    error = scored.calibration_error
    tends = "too sure" if confidence > right else "not sure enough"
    line = (
        f"Confidence is {100 * confidence / max(count, 1):.1f} % on average, and "
        f"{100 * right / max(count, 1):.1f} % of the pixels are right: the model is {tends}. The "
        f"expected calibration error is {100 * error:.1f} %."
    )
    title = "Share of right pixels over their confidence; the line is a model that knows"
    return page.paragraphs([line]) + page.reliability(scored.labels.bins, title)

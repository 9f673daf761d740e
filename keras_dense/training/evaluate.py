"""Scores over a whole data set, and how they are printed."""

import collections
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_dense._arrays import as_array
from keras_dense.datasets import DatasetWarning
from keras_dense.datasets.check import known_pixels
from keras_dense.datasets.findings import BLACK_AND_WHITE, black_and_white
from keras_dense.heads import Heads, of
from keras_dense.heads.model_heads import Given


def evaluate(model: Any, batches: Iterable, heads: Given = None) -> dict[str, Any]:
    """All scores of the heads' metrics, those of single classes as well.

    `model.evaluate` gives one number for each metric; this also gives all of a metric's `scores()`,
    such as those of each class. Images keep their size, so a loader with `batch_size=1` scores a
    data set at its native sizes.

    Args:
        model: a Keras model with the heads' raw outputs.
        batches: pairs `(images, targets)`: a `keras_dense.datasets.Loader`, or any iterable.
            Weights after them are ignored.
        heads: its heads; default: those that the model carries.

    Returns:
        Dict from names to floats, or to arrays (such as one value for each class); for a dict of
        heads a dict of such dicts, without heads that have no metrics (auxiliary ones).

    Warns:
        DatasetWarning: if labels look like those of black and white masks, whose white is void.

    Raises:
        ValueError: if there is no batch, a label is out of range, or a head knows no pixel, so that
            its scores would mean nothing.

    ```python
    scores = kd.training.evaluate(model, kd.datasets.Loader(val, head, 1))
    print(kd.training.class_table(scores, val.class_names))
    ```
    """
    heads = Heads(of(model) if heads is None else heads)
    metrics = {key: head.metrics() for key, head in heads.items()}
    seen = {key: _Seen(head) for key, head in heads.items()}
    count = 0
    for batch in batches:
        if not isinstance(batch, (tuple, list)) or len(batch) < 2:
            raise ValueError(
                "`batches` must be pairs (images, targets). Received: a batch without targets; has "
                "the loader heads?"
            )
        images, targets = batch[0], heads.unpack(batch[1])
        for key, target in targets.items():
            seen[key].look(target)
        outputs = heads.unpack(model.predict_on_batch(images))
        for key, group in metrics.items():
            for metric in group:
                metric.update_state(targets[key], outputs[key])
        count += 1
    if not count:
        raise ValueError("`batches` is empty: there is nothing to evaluate.")
    for key, group in metrics.items():
        if group:
            seen[key].judge(key)
    if heads.single:
        return _results(metrics[""])
    return {key: _results(group) for key, group in metrics.items() if group}


class _Seen:
    """Contents of the targets of a head, to tell whether scores mean anything."""

    def __init__(self, head):
        self.head = head
        self.known = 0
        self.labels = collections.Counter()

    def look(self, targets):
        targets = as_array(targets, "targets")
        self.head.check_targets(targets)
        if self.head.mode is not None:
            self.labels.update(np.unique(targets).tolist())
        for target in targets if self.known is not None else ():
            found = known_pixels(self.head, target)
            self.known = None if found is None else self.known + found

    def judge(self, key):
        name = f"head {key!r}" if key else "the head"
        if self.known == 0:
            raise ValueError(
                f"No pixel of any target is known to {name}: every score would mean nothing. Are "
                "all labels void, or the numbers out of its range?"
            )
        if black_and_white(self.labels, self.head.ignore_class):
            warnings.warn(BLACK_AND_WHITE, DatasetWarning, stacklevel=3)


def _results(metrics):
    found = {}
    for metric in metrics:
        result = metric.result()
        found.update(result if isinstance(result, dict) else {metric.name: result})
    for metric in metrics:
        if hasattr(metric, "scores"):
            found.update(metric.scores())
    return {name: _plain(value) for name, value in found.items()}


def _plain(value):
    """A float, or an array of several numbers."""
    array = keras.ops.convert_to_numpy(value)
    return float(array) if array.ndim == 0 else array


def class_table(
    scores: Mapping[str, Any],
    class_names: Sequence[str] | None = None,
    *,
    columns: Sequence[str] = ("iou", "accuracy", "precision"),
) -> str:
    """Markdown table of scores in percent: one row for each class, then the means.

    Args:
        scores: result of `evaluate` or `ConfusionMatrix.scores()`.
        class_names: names, one for each class; default: numbers.
        columns: names of the scores to show.

    Returns:
        The table, a string without a line break at its end. A class that does not occur has "–".

    Raises:
        ValueError: If there are not as many names as classes, or a column is not among the scores.

    >>> print(class_table({"iou": [0.5, 1.0], "mean_iou": 0.75}, ["sky", "tree"], columns=["iou"]))
    | class |  IoU |
    |:------|-----:|
    | sky   | 50.0 |
    | tree  | 100.0 |
    | mean  | 75.0 |
    """
    columns = list(columns)
    for column in columns:
        if np.ndim(scores.get(column)) != 1:
            known = [key for key, value in scores.items() if np.ndim(value) == 1]
            raise ValueError(f"`columns` can be {known}. Received: columns={columns}")
    count = len(scores[columns[0]])
    names = [str(i) for i in range(count)] if class_names is None else list(class_names)
    if len(names) != count:
        raise ValueError(f"`class_names` has {len(names)} names for {count} classes: {names}")
    titles = {"iou": "IoU", "accuracy": "accuracy", "precision": "precision", "dice": "Dice"}
    head = [titles.get(column, column) for column in columns]
    width = max(map(len, [*names, "class"]))
    widths = [max(len(title), 4) for title in head]

    def row(name, values):
        cells = [f"{text:>{w}}" for text, w in zip(values, widths, strict=True)]
        return f"| {name:<{width}} | " + " | ".join(cells) + " |"

    def percent(value):
        return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"

    lines = [row("class", head)]
    lines.append(f"|:{'-' * (width + 1)}|" + "|".join("-" * (w + 1) + ":" for w in widths) + "|")
    for i, name in enumerate(names):
        lines.append(row(name, [percent(float(scores[column][i])) for column in columns]))
    lines.append(row("mean", [percent(scores.get(f"mean_{column}")) for column in columns]))
    return "\n".join(lines)

"""Scores over a whole data set, and how they are printed."""

import collections
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import Nested
from keras_dense.datasets import DatasetWarning
from keras_dense.datasets.check import known_pixels
from keras_dense.datasets.findings import BLACK_AND_WHITE, black_and_white
from keras_dense.heads import Heads, of
from keras_dense.heads.model_heads import Given


def evaluate(
    model: Any, batches: Iterable, heads: Given = None, *, metrics: Nested | None = None
) -> dict[str, Any]:
    """All scores of the heads' metrics, those of single classes as well.

    `model.evaluate` gives one number for each metric; this also gives all of a metric's `scores()`,
    such as those of each class. Images keep their size, so a loader with `batch_size=1` scores a
    data set at its native sizes.

    Args:
        model: a Keras model with the heads' raw outputs.
        batches: pairs `(images, targets)`: a `keras_dense.datasets.Loader`, or any iterable.
            Weights after them are ignored.
        heads: its heads; default: those that the model carries.
        metrics: more metrics beside those of the head, such as `kd.metrics.HausdorffDistance`: a
            metric or a list of them; for a dict of heads a dict of such. They are reset.

    Returns:
        Dict from names to floats, or to arrays (such as one value for each class); for a dict of
        heads a dict of such dicts, without heads that have no metrics (auxiliary ones).

    Warns:
        DatasetWarning: if labels look like those of black and white masks, whose white is void.

    Raises:
        ValueError: if there is no batch, a label is out of range, `metrics` are of an unknown head,
            or a head knows no pixel, so that its scores would mean nothing.

    `kd.training.score_images` gives intervals of all scores, too.

    ```python
    scores = kd.training.evaluate(model, kd.datasets.Loader(val, head, 1))
    print(kd.training.class_table(scores, val.class_names))
    ```
    """

    def update(groups, targets, outputs):
        for key, group in groups.items():
            for metric in group:
                metric.update_state(targets[key], outputs[key])

    groups, single = measure(model, batches, heads, metrics, update)
    return results(groups[""]) if single else {key: results(g) for key, g in groups.items()}


def measure(
    model: Any,
    batches: Iterable,
    heads: Given,
    more: Nested | None,
    update: Callable[[dict[str, list], dict[str, Any], dict[str, Any]], None],
) -> tuple[dict[str, list], bool]:
    """Predict batches, and hand targets and predictions to `update(metrics, targets, outputs)`.

    Args:
        model, batches, heads: see `evaluate`.
        more: its `metrics`.
        update: called for each batch; three dicts by the key of a head ("" for a single one).

    Returns:
        `(metrics, single)`: the metrics of each head that has any, and whether there is one head
        without a key.
    """
    heads = Heads(of(model) if heads is None else heads)
    groups = {key: list(head.metrics()) for key, head in heads.items()}
    for key, group in _by_head(more, heads).items():
        groups[key] += group
    groups = {key: group for key, group in groups.items() if group}
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
        update(groups, targets, heads.unpack(model.predict_on_batch(images)))
        count += 1
    if not count:
        raise ValueError("`batches` is empty: there is nothing to evaluate.")
    for key in groups:
        seen[key].judge(key)
    return groups if groups or not heads.single else {"": []}, heads.single


def _by_head(metrics, heads):
    """More metrics as a dict of lists."""
    if metrics is None:
        return {}
    given = {"": metrics} if heads.single else metrics
    if not isinstance(given, Mapping) or set(given) - set(heads):
        keys = "a metric or a list of them" if heads.single else f"a dict by head, of {list(heads)}"
        raise _check.fail("metrics", keys, metrics)
    lists = {key: x if isinstance(x, (list, tuple)) else [x] for key, x in given.items()}
    for metric in (metric for group in lists.values() for metric in group):
        if not isinstance(metric, keras.metrics.Metric):
            raise _check.fail("metrics", "keras.metrics.Metric instances", metric)
        metric.reset_state()
    return lists


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
            warnings.warn(BLACK_AND_WHITE, DatasetWarning, stacklevel=4)


def results(metrics: list) -> dict[str, Any]:
    """All scores of metrics, as plain floats and arrays."""
    found = {}
    tables = [metric.scores() if hasattr(metric, "scores") else {} for metric in metrics]
    for metric, table in zip(metrics, tables, strict=True):
        if metric.name in table:
            found[metric.name] = table[metric.name]
            continue
        result = metric.result()
        found.update(result if isinstance(result, dict) else {metric.name: result})
    for table in tables:
        found.update(table)
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

"""Curves of a training run."""

import csv
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from keras_dense._optional import require
from keras_dense._types import PathLike

_COLORS = {"": "#8a8f98", "val_": "#c8372d"}


def curves(
    history: Any,
    path: PathLike,
    *,
    metrics: Sequence[str] | None = None,
    title: str | None = None,
) -> pathlib.Path:
    """Draw loss and metrics over the epochs, of training and validation.

    Args:
        history: the result of `fit`, its `.history` dict, or the path of a `CSVLogger` file.
        path: path of the file to write: `.png`, `.pdf`, `.svg`.
        metrics: names of the metrics to draw beside the loss; default: the first three that have a
            validation curve.
        title: str, above all curves.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        FileNotFoundError: if the CSV file is missing.
        ValueError: if there is no epoch, or a metric is unknown.

    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = curves({"loss": [2.0, 1.0], "val_loss": [2.1, 1.5]}, folder + "/curves.png")
    ...     os.path.getsize(path) > 1000
    True
    """
    columns, first = _columns(history)
    names = _names(columns, metrics)
    # A figure of its own: no window, and nothing left in pyplot.
    figure = require("matplotlib.figure", extra="examples").Figure(
        figsize=(4.6 * len(names), 3.6), dpi=110, layout="constrained"
    )
    if title:
        figure.suptitle(title, fontsize=11)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for prefix, label in (("", "training"), ("val_", "validation")):
            if prefix + name in columns:
                values = columns[prefix + name]
                epochs = range(first, first + len(values))
                # A dot for each epoch while they can be told apart.
                marker = "o" if len(values) <= 40 else None
                look = {"color": _COLORS[prefix], "marker": marker, "markersize": 3}
                axes.plot(epochs, values, label=label, **look)
                if prefix and name != "loss":
                    _mark_best(axes, epochs, values)
        _decorate(axes, name)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _names(columns, metrics):
    """Names of the curves to draw."""
    names = ["loss"] if "loss" in columns else []
    if metrics is None:
        with_validation = [key for key in columns if f"val_{key}" in columns]
        metrics = [key for key in with_validation if not key.endswith("loss")][:3]
    for name in metrics:
        if name not in columns and f"val_{name}" not in columns:
            raise ValueError(f"`metrics` must be among {sorted(columns)}. Received: {name!r}")
    names += list(metrics)
    if not names:
        raise ValueError(
            f"`history` must hold a loss or a metric. Received: columns {sorted(columns)}"
        )
    return names


def _mark_best(axes, epochs, values):
    """Write the best value beside its dot."""
    known = [(v, e) for v, e in zip(values, epochs, strict=True) if v == v]
    best = max(known, default=(math.nan, epochs.start))
    axes.annotate(
        f"{best[0]:.3f}",
        (best[1], best[0]),
        xytext=(0, -13),
        textcoords="offset points",
        ha="center",
        fontsize=8,
        color=_COLORS["val_"],
    )


def _decorate(axes, name):
    ticker = require("matplotlib.ticker", extra="examples")
    axes.set_title(name.replace("_", " "), fontsize=10)
    axes.set_xlabel("epoch", fontsize=9)
    axes.tick_params(labelsize=8)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _columns(history: Any) -> tuple[Mapping[str, Any], int]:
    """Lists of floats by name, and the number of the first epoch, counted from 1."""
    if isinstance(history, str | pathlib.Path):
        columns = _columns_of_file(pathlib.Path(history))
        epochs = columns.get("epoch")
    else:
        columns = dict(getattr(history, "history", history))
        epochs = getattr(history, "epoch", None)
    first = int(epochs[0]) + 1 if epochs else 1
    columns.pop("epoch", None)
    if not columns or not any(len(values) for values in columns.values()):
        raise ValueError("`history` must hold at least one epoch. Received: none")
    return columns, first


def _columns_of_file(path: pathlib.Path) -> dict[str, list[float]]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {str(path)!r}.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {key: [_as_float(row[key]) for row in rows] for key in (rows[0] if rows else {})}


def _as_float(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan

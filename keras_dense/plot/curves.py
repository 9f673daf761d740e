"""How a training went."""

import csv
import math
import pathlib

from keras_dense._optional import require


def curves(history, path, *, metrics=None, title=None):
    """Draw loss and metrics over the epochs, training and validation.

    Args:
        history: what `fit` returned, its `.history` dict, or the path of a `CSVLogger` file.
        path: where to write it: `.png`, `.pdf`, `.svg`.
        metrics: names of the metrics to draw beside the loss; all that have a validation curve
            unless given (up to three).
        title: str.

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
    figure_module = require("matplotlib.figure", extra="examples")
    ticker = require("matplotlib.ticker", extra="examples")
    names = ["loss"] if "loss" in columns else []
    if metrics is None:
        metrics = [key for key in columns if f"val_{key}" in columns and not key.endswith("loss")][
            :3
        ]
    for name in metrics:
        if name not in columns and f"val_{name}" not in columns:
            raise ValueError(f"curves: there is no metric {name!r}. There are: {sorted(columns)}")
    names += list(metrics)
    if not names:
        raise ValueError(f"curves: there is neither loss nor metric. There are: {sorted(columns)}")

    # A figure of its own: no window, and nothing left in pyplot.
    figure = figure_module.Figure(figsize=(4.6 * len(names), 3.6), dpi=110, layout="constrained")
    if title:
        figure.suptitle(title, fontsize=11)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for key, label, color in (
            (name, "training", "#8a8f98"),
            (f"val_{name}", "validation", "#c8372d"),
        ):
            if key not in columns:
                continue
            values = columns[key]
            epochs = range(first, first + len(values))
            # A dot for each epoch while they can be told apart.
            marker = "o" if len(values) <= 40 else None
            axes.plot(epochs, values, color=color, marker=marker, markersize=3, label=label)
            if name != "loss" and key.startswith("val_"):
                known = [(v, e) for v, e in zip(values, epochs, strict=True) if v == v]
                best = max(known, default=(math.nan, first))
                axes.annotate(
                    f"{best[0]:.3f}",
                    (best[1], best[0]),
                    xytext=(0, -13),
                    textcoords="offset points",
                    ha="center",
                    fontsize=8,
                    color=color,
                )
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.margins(y=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _columns(history):
    """Lists of floats by name, and the number of the first epoch (people count from 1)."""
    if isinstance(history, str | pathlib.Path):
        path = pathlib.Path(history)
        if not path.is_file():
            raise FileNotFoundError(f"curves: there is no file {str(path)!r}")
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {key: [_number(row[key]) for row in rows] for key in (rows[0] if rows else {})}
        first = int(columns.get("epoch", [0])[0]) + 1 if rows else 1
    else:
        columns = dict(getattr(history, "history", history))
        epochs = getattr(history, "epoch", None)
        first = (epochs[0] if epochs else 0) + 1
    columns.pop("epoch", None)
    if not columns or not any(len(values) for values in columns.values()):
        raise ValueError("curves: the history holds no epoch")
    return columns, first


def _number(text):
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan

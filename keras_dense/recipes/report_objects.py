"""Parts of a report about numbered objects: scores with intervals, and images."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

import keras_dense.plot as plot
from keras_dense.datasets import check_sample
from keras_dense.heads import Heads
from keras_dense.recipes import page
from keras_dense.recipes.report_labels import LARGEST, TILE, caption, extremes
from keras_dense.recipes.rounds import window
from keras_dense.recipes.scores import Scored, predict

# Title and meaning of the scores of objects, in the order of the table.
SCORES = {
    "ap50": ("AP50", "TP / (TP + FP + FN) at an IoU above 0.5, mean over images"),
    "ap": ("AP", "the same, mean over thresholds of 0.5 to 0.95"),
    "pq": ("PQ", "panoptic quality of all objects; weights are chosen by it"),
    "aji": ("AJI", "aggregated Jaccard index, mean over images"),
    "recall": ("found", "share of the true objects with an IoU above 0.5"),
    "precision": ("right", "share of the predicted objects with an IoU above 0.5"),
    "sq": ("fit", "mean IoU of the found objects"),
    "foreground_iou": ("foreground IoU", "of pixels, of all objects together"),
}


def objects_parts(
    model: keras.Model,
    heads: Heads,
    key: str,
    val: Any,
    scored: Scored,
    results: Mapping[str, Any],
) -> list[str]:
    """Return the sections about numbered objects; see `write_report`.

    Args:
        model: with its final weights.
        heads: of the model.
        key: that of the head of objects.
        val: data set that was scored.
        scored: scores of the model.
        results: as in `results.json`.
    """
    table = objects_table(scored.heads[key], results["intervals"].get(key, {}))
    drawings = [
        page.inline_image(_drawing(model, heads, key, val[i]), caption(scored, i, "PQ"))
        for which in extremes(scored)
        for i in which
    ]
    return [
        page.section("Objects", table),
        page.section("Worst and best images", *drawings),
    ]


def objects_table(values: Mapping[str, float], intervals: Mapping[str, list[float]]) -> str:
    """Return a table of the scores of objects.

    Args:
        values: scores by their names.
        intervals: `[low, high]` by the names of scores, where known.
    """
    rows = []
    for name, (title, meaning) in SCORES.items():
        ends = page.interval(intervals.get(name))
        rows.append((title, meaning, page.percent(values.get(name, float("nan"))), ends))
    notes = ["A true and a predicted object match if their IoU is above 0.5.", page.INTERVALS]
    columns = ("score", "what it is", "percent", "95 % interval")
    return page.table(columns, rows, 2) + page.paragraphs(notes)


def _drawing(model: keras.Model, heads: Heads, key: str, sample: Any) -> Any:
    """Image, true objects, found objects and errors, as the head draws them."""
    head = heads[key]
    sample = window(check_sample(sample), most=LARGEST)
    image, truth = sample["image"], sample[head.target]
    raw = predict(model, image, heads)[key]
    found = head.objects(keras.ops.convert_to_numpy(head.decode(raw, image[None]))[0])
    number, count = (len(np.unique(x[x > 0])) for x in (truth, found))
    shown = {
        f"{number} objects": head.overlay(truth, image),
        f"{count} predicted": head.overlay(found, image),
        "errors": head.error(truth, found, image),
    }
    return plot.tasks(image, shown, tile=TILE)

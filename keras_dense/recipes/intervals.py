"""Counts of each image: their file, and the intervals of scores that are drawn from them."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import keras_dense.training as training
from keras_dense._files import whole
from keras_dense._types import Array
from keras_dense.metrics.instance_scores import InstanceScores
from keras_dense.metrics.scores import scores

IMAGES = "images.npz"
OWN = {"labels": "iou", "instances": "pq"}  # scores that only heads of this annotation have


def save_images(counts: Mapping[str, Array], names: Sequence[str], out: pathlib.Path) -> None:
    """Write the counts of each image to `images.npz`.

    Args:
        counts: by annotation: "labels", confusion matrices `(N, C, C)`, or "instances", rows of
            `kd.metrics.InstanceScores`.
        names: names of the images.
        out: folder of the run.
    """
    with whole(out / IMAGES) as draft, draft.open("wb") as file:
        arrays: dict[str, Any] = {**counts, "names": np.array(names, str)}
        np.savez_compressed(file, **arrays)


def load_images(folders: Sequence[pathlib.Path]) -> dict[str, Array]:
    """Read the counts of all images of several runs."""
    parts: list[dict[str, Array]] = []
    for folder in folders:
        with np.load(folder / IMAGES) as file:
            parts.append({key: file[key] for key in file.files})
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def scores_of(annotation: str, counts: Array) -> dict[str, Any]:
    """Return the scores of all images: numbers, and lists with one for each class."""
    if annotation == "labels":
        found = scores(counts.sum(0).astype(float), np)
        return {n: v.tolist() if np.ndim(v) else float(v) for n, v in found.items()}
    found = InstanceScores().of_sums(counts.sum(0))
    return {name: float(value) for name, value in found.items() if np.ndim(value) == 0}


def intervals_of(annotation: str, counts: Array) -> dict[str, list]:
    """Return 95 % intervals over images of scores.

    Returns:
        A dict from the name of a score to `[low, high]`, or a list of these, one for each class.
        Empty for fewer than two images.

    >>> matrices = np.array([[[9, 1], [0, 5]], [[6, 2], [1, 6]], [[8, 0], [0, 4]]])
    >>> low, high = intervals_of("labels", matrices)["mean_iou"]
    >>> low < scores_of("labels", matrices)["mean_iou"] < high
    True
    """
    if len(counts) < 2:
        return {}
    if annotation == "labels":
        drawn = {name: training.bootstrap(counts, score=name) for name in ("mean_iou", "iou")}
    else:
        found = training.bootstrap(_Rows(counts))
        drawn = {name: x for name, x in found.items() if np.ndim(x.value) == 0}
    return {name: np.stack([x.low, x.high], -1).tolist() for name, x in drawn.items()}


class _Rows:
    """Rows of images in the form of `kd.metrics.InstanceScores`, for `kd.training.bootstrap`."""

    def __init__(self, rows: Array) -> None:
        self._rows = rows
        self.of_sums = InstanceScores().of_sums

    def rows(self) -> Array:
        return self._rows

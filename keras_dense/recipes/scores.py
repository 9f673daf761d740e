"""Scores of a model on a data set, image by image."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_dense._types import Array, Sample
from keras_dense.datasets import check_sample
from keras_dense.datasets.parts import describe
from keras_dense.datasets.sample import crop_sample
from keras_dense.heads import Heads
from keras_dense.recipes.counters import Labels, Objects, counter_of
from keras_dense.recipes.intervals import OWN, intervals_of
from keras_dense.recipes.numbers import LARGE_PIXELS


@dataclasses.dataclass
class Scored:
    """Scores of one model on one data set.

    Attributes:
        score: float, by which models are compared: the mean over heads of mean IoU, of the panoptic
            quality of objects, of the share of depth within 25 %, of the share of normals within
            11.25 degrees.
        heads: dict from the key of each head to a dict of numbers, and lists with one for each
            class.
        images: for each image its name, and its mean IoU over the classes that it has, or the
            panoptic quality of its objects; empty without labels and objects.
        labels: counts of the labels, or `None`.
        objects: counts of numbered objects, or `None`.
    """

    score: float
    heads: dict[str, dict[str, Any]]
    images: list[tuple[str, float]]
    labels: Labels | None = None
    objects: Objects | None = None

    @property
    def matrix(self) -> Array | None:
        """Int array `(classes, classes)`, truth by prediction, or `None`."""
        return None if self.labels is None else self.labels.counts().sum(0)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean difference of confidence and accuracy."""
        if self.labels is None or not self.labels.bins[0].sum():
            return float("nan")
        count, confidence, right = self.labels.bins
        return float(np.abs(confidence - right).sum() / count.sum())

    @property
    def counts(self) -> dict[str, Array]:
        """Counts of each image by annotation, for `kd.recipes.intervals`."""
        found = {"labels": self.labels, "instances": self.objects}
        return {name: counter.counts() for name, counter in found.items() if counter is not None}

    def intervals(self) -> dict[str, dict[str, Any]]:
        """95 % intervals of the scores of labels and objects, by the key of the head."""
        found = {}
        for key, values in self.heads.items():
            for annotation, counts in self.counts.items():
                if OWN[annotation] in values:
                    found[key] = intervals_of(annotation, counts)
        return found


def pieces(sample: Sample) -> Iterator[Sample]:
    """Cut a large image into pieces, so that memory holds their predictions.

    >>> sample = {"image": np.zeros((1000, 5000, 3), "uint8")}
    >>> [piece["image"].shape[:2] for piece in pieces(sample)]
    [(1000, 1668), (1000, 1668), (1000, 1664)]
    """
    sides = sample["image"].shape[:2]
    if sides[0] * sides[1] <= LARGE_PIXELS:
        yield sample
        return
    most = math.sqrt(LARGE_PIXELS)
    # Parts of equal size, in multiples of four.
    height, width = (4 * math.ceil(side / math.ceil(side / most) / 4) for side in sides)
    for top in range(0, sides[0], height):
        for left in range(0, sides[1], width):
            size = min(height, sides[0] - top), min(width, sides[1] - left)
            yield crop_sample(sample, top, left, *size)


def predict(model: keras.Model, image: Array, heads: Heads) -> dict[str, Array]:
    """Predict one image: raw predictions by the key of the head."""
    found = model.predict_on_batch(image[None])
    return {k: keras.ops.convert_to_numpy(y) for k, y in heads.unpack(found).items()}


def score(
    model: keras.Model,
    dataset: Any,
    given: Any,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Score a model on images at their own size."""
    heads = Heads(given).final()
    counters = {key: counter_of(head) for key, head in heads.items()}
    names = []
    for index in range(len(dataset)):
        for counter in counters.values():
            counter.start()
        for sample in pieces(check_sample(dataset[index])):
            found = predict(model, sample["image"], heads)
            for key, counter in counters.items():
                counter.add(sample, found[key][0])
        names.append(describe(dataset, index))
        if progress is not None:
            progress(index + 1, len(dataset))
    results = {key: counter.scores() for key, counter in counters.items()}
    mains = [results[key][counter.score] for key, counter in counters.items()]
    mains = [value for value in mains if np.isfinite(value)]
    labels = next((c for c in counters.values() if isinstance(c, Labels)), None)
    objects = next((c for c in counters.values() if isinstance(c, Objects)), None)
    which = labels or objects
    images = [] if which is None else list(zip(names, which.each(), strict=True))
    return Scored(float(np.mean(mains)) if mains else 0.0, results, images, labels, objects)

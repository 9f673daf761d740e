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
from keras_dense.metrics.scores import scores
from keras_dense.recipes.numbers import LARGE_PIXELS

BINS = 15


@dataclasses.dataclass
class Scored:
    """Scores of one model on one data set.

    Attributes:
        score: float, by which models are compared: the mean over heads of mean IoU, of the share
            of depth within 25 %, of the share of normals within 11.25 degrees.
        heads: dict from the key of each head to a dict of numbers, and arrays with one for each
            class.
        matrix: int array `(classes, classes)`, truth by prediction, or `None`.
        images: for each image its name and the mean IoU over the classes that it has.
        bins: float array `(3, BINS)`: pixels, sum of confidences, right pixels; or `None`.
    """

    score: float
    heads: dict[str, dict[str, Any]]
    matrix: Array | None
    images: list[tuple[str, float]]
    bins: Array | None

    @property
    def calibration_error(self) -> float:
        """Expected calibration error: mean difference of confidence and accuracy."""
        if self.bins is None or not self.bins[0].sum():
            return float("nan")
        count, confidence, right = self.bins
        return float(np.abs(confidence - right).sum() / count.sum())


# The score of a head that models are compared by.
_MAIN = {"labels": "mean_iou", "depth": "delta1", "array": "within_11.25"}


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
    metrics = {key: head.metrics() for key, head in heads.items()}
    key, head = next(((k, h) for k, h in heads.items() if h.annotation == "labels"), ("", None))
    classes = len(head.class_names) if head is not None else 0
    matrix: Array = np.zeros((classes, classes), np.int64)
    bins: Array = np.zeros((3, BINS))
    images = []
    for index in range(len(dataset)):
        whole: Array = np.zeros_like(matrix)
        for sample in pieces(check_sample(dataset[index])):
            found = predict(model, sample["image"], heads)
            for k, h in heads.items():
                if h is not head:
                    target = np.asarray(h.encode(sample))[None]
                    for metric in metrics[k]:
                        metric.update_state(target, found[k])
            if head is not None:
                one, counted = _labels(head, sample, found[key][0])
                whole += one
                bins += counted
        if head is not None:
            matrix += whole
            images.append((describe(dataset, index), _mean_iou(whole)))
        if progress is not None:
            progress(index + 1, len(dataset))
    results = {
        k: {m.name: float(keras.ops.convert_to_numpy(m.result())) for m in group}
        for k, group in metrics.items()
        if heads[k] is not head
    }
    if head is not None:
        results[key] = {
            name: value.tolist() if np.ndim(value) else float(value)
            for name, value in scores(matrix.astype(float), np).items()
        }
    mains = [results[k][_MAIN[heads[k].annotation]] for k in heads]
    mains = [value for value in mains if np.isfinite(value)]
    mean = float(np.mean(mains)) if mains else 0.0
    if head is None:
        return Scored(mean, results, None, images, None)
    return Scored(mean, results, matrix, images, bins)


def _labels(head: Any, sample: dict, logits: Array) -> tuple[Array, Array]:
    """Confusion matrix of one image, and its pixels by confidence."""
    count = len(head.class_names)
    truth = np.asarray(head.encode(sample))
    known = truth != head.ignore_class
    chances = keras.ops.convert_to_numpy(head.to_mean(logits[known][None]))[0]
    guess, confidence = chances.argmax(-1), chances.max(-1)
    truth = truth[known]
    matrix = np.bincount(truth * count + guess, minlength=count * count).reshape(count, count)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        np.bincount(place, weights=w, minlength=BINS)
        for w in (np.ones_like(confidence), confidence, (guess == truth).astype(float))
    ]
    return matrix, np.stack(bins)


def _mean_iou(matrix: Array) -> float:
    return float(scores(matrix.astype(float), np)["mean_iou"]) if matrix.any() else float("nan")

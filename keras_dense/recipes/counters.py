"""Counts of each head, image by image."""

from typing import Any

import keras
import numpy as np

from keras_dense._types import Array, Sample
from keras_dense.metrics.instance_scores import InstanceScores
from keras_dense.recipes.intervals import scores_of

BINS = 15


def counter_of(head: Any) -> "Labels | Objects | Others":
    """Return a counter for a head."""
    if head.annotation == "labels":
        return Labels(head)
    return Objects(head) if head.annotation == "instances" else Others(head)


class Others:
    """The metrics of a head over a data set.

    Args:
        head: a head.
    """

    main = {"depth": "delta1", "array": "within_11.25"}  # the score that models are compared by

    def __init__(self, head: Any) -> None:
        self.head = head
        self.metrics = head.metrics()

    @property
    def score(self) -> str:
        """Name of the score that models are compared by."""
        return self.main[self.head.annotation]

    def start(self) -> None:
        """Begin an image, which has a piece or several."""

    def add(self, sample: Sample, raw: Array) -> None:
        """Count a piece: a sample, and the raw prediction `(H, W, C)`."""
        target = np.asarray(self.head.encode(sample))[None]
        for metric in self.metrics:
            metric.update_state(target, raw[None])

    def scores(self) -> dict[str, Any]:
        """Scores of all images."""
        return {m.name: float(keras.ops.convert_to_numpy(m.result())) for m in self.metrics}


class Labels:
    """Confusion matrices of the images, and pixels by their confidence.

    `kd.metrics.CalibrationError` would read the logits of an image a second time.

    Args:
        head: a head of labels.
    """

    score = "mean_iou"

    def __init__(self, head: Any) -> None:
        self.head = head
        self.count = len(head.class_names)
        self.matrices: list[Array] = []
        self.bins: Array = np.zeros((3, BINS))

    def start(self) -> None:
        """Begin an image, which has a piece or several."""
        self.matrices.append(np.zeros((self.count, self.count), np.int64))

    def add(self, sample: Sample, raw: Array) -> None:
        """Count a piece: a sample, and logits `(H, W, C)`."""
        head, count = self.head, self.count
        truth = np.asarray(head.encode(sample))
        known = truth != head.ignore_class
        chances = keras.ops.convert_to_numpy(head.to_mean(raw[known][None]))[0]
        guess, confidence = chances.argmax(-1), chances.max(-1)
        truth = truth[known]
        cells = np.bincount(truth * count + guess, minlength=count * count)
        self.matrices[-1] += cells.reshape(count, count)
        place = np.minimum((confidence * BINS).astype(int), BINS - 1)
        for row, weight in enumerate((np.ones_like(confidence), confidence, guess == truth)):
            self.bins[row] += np.bincount(place, weights=weight.astype(float), minlength=BINS)

    def counts(self) -> Array:
        """Confusion matrices, int64 `(images, classes, classes)`."""
        return np.stack(self.matrices)

    def scores(self) -> dict[str, Any]:
        """Scores of all images."""
        return scores_of("labels", self.counts())

    def each(self) -> list[float]:
        """Mean IoU of each image, over the classes that it has."""
        return [
            scores_of("labels", m[None])["mean_iou"] if m.any() else float("nan")
            for m in self.matrices
        ]


class Objects(Others):
    """Objects that are found in the images, and errors of the maps that they are decoded from.

    Pieces of a large image are decoded one by one, so an object over a seam counts as two.

    Args:
        head: a `kd.heads.Instances`.
    """

    main = {"instances": "pq"}

    def __init__(self, head: Any) -> None:
        super().__init__(head)
        self.images: list[InstanceScores] = []

    def start(self) -> None:
        """Begin an image, which has a piece or several."""
        self.images.append(InstanceScores())

    def add(self, sample: Sample, raw: Array) -> None:
        """Count a piece: a sample, and logits `(H, W, 2)`."""
        super().add(sample, raw)
        maps = keras.ops.convert_to_numpy(self.head.decode(raw[None]))[0]
        self.images[-1].update(sample[self.head.target], self.head.objects(maps))

    def scores(self) -> dict[str, Any]:
        """Scores of all images: of the objects, then of the maps."""
        return scores_of("instances", self.counts()) | super().scores()

    def counts(self) -> Array:
        """Rows of `kd.metrics.InstanceScores`, one for each image."""
        return np.stack([image.rows().sum(0) for image in self.images])

    def each(self) -> list[float]:
        """Panoptic quality of each image."""
        return [scores_of("instances", row[None])["pq"] for row in self.counts()]

"""What is counted of each head, image by image."""

from typing import Any

import keras
import numpy as np

from keras_dense._types import Array, Sample
from keras_dense.metrics.instance_scores import InstanceScores
from keras_dense.metrics.scores import scores

BINS = 15


def counter_of(head: Any) -> "Labels | Objects | Others":
    """Return a counter for a head."""
    return {"labels": Labels, "instances": Objects}.get(head.annotation, Others)(head)


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

    def scores(self) -> dict[str, Any]:
        """Scores of all images."""
        return {
            name: value.tolist() if np.ndim(value) else float(value)
            for name, value in scores(sum(self.matrices).astype(float), np).items()
        }

    def each(self) -> list[float]:
        """Mean IoU of each image, over the classes that it has."""
        return [
            float(scores(m.astype(float), np)["mean_iou"]) if m.any() else float("nan")
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
        sums = self.sums()
        found = sums.of_sums(sums.rows().sum(0))
        found = {name: float(value) for name, value in found.items() if np.ndim(value) == 0}
        return found | super().scores()

    def sums(self) -> "Sums":
        """Sums of each image, for `kd.training.bootstrap`."""
        return Sums([image.rows().sum(0) for image in self.images])

    def each(self) -> list[float]:
        """Panoptic quality of each image."""
        sums = self.sums()
        return [float(sums.of_sums(row)["pq"]) for row in sums.rows()]


class Sums:
    """Sums of each image, in the form of `kd.metrics.InstanceScores`.

    Args:
        rows: arrays of its `rows()`, one for each image.
    """

    def __init__(self, rows: list[Array]) -> None:
        self._rows = np.stack(rows)
        self.of_sums = InstanceScores().of_sums

    def rows(self) -> Array:
        """Sums of each image."""
        return self._rows

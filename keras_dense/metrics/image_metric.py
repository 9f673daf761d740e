"""Base of metrics that score each image by itself: the mean over images, for each class."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.metrics.masks import FAULTS, check_faults, read_masks
from keras_dense.ops.labels import check_ignore_class, check_mode


class ImageMetric(keras.metrics.Metric):
    """Base of metrics with a value for each image and class.

    The score of a class is its mean over the images in which it has a value, that of the metric the
    mean over the classes that have one. Sums are kept in two float32 words, so no digits are lost
    over a large data set. Subclasses implement `measure(truth, found, known)`.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        name: name of the metric.
        direction: "up" if more is better, else "down".
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mode: str | None,
        ignore_class: int | None,
        name: str,
        direction: str,
    ):
        super().__init__(name=name, dtype="float32")
        self._direction = direction
        self.num_classes = _check.integer(num_classes, "num_classes", 1)
        self.mode = check_mode(mode, self.num_classes)
        self.ignore_class = check_ignore_class(ignore_class, self.mode)
        shape = (self.num_classes,)
        self._sums = self.add_variable(shape, "zeros", name="sums")
        self._rests = self.add_variable(shape, "zeros", name="rests")
        self._images = self.add_variable(shape, "zeros", dtype="int32", name="images")
        self._faults = self.add_variable((len(FAULTS),), "zeros", dtype="int32", name="faults")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Measure a batch."""
        masks = read_masks(
            y_true, y_pred, sample_weight, self.num_classes, self.mode, self.ignore_class
        )
        values = self.measure(masks.truth, masks.found, masks.known)
        counted = ops.logical_not(ops.isnan(values))
        added = ops.sum(ops.where(counted, values, 0.0), axis=0)
        # The sum of two floats is a float and a rest, exactly (Knuth); infinity has no rest.
        sums, rests = ops.convert_to_tensor(self._sums), ops.convert_to_tensor(self._rests)
        total = sums + added
        seen = total - sums
        rest = rests + ((sums - (total - seen)) + (added - seen))
        self._sums.assign(total)
        self._rests.assign(ops.where(ops.isfinite(total), rest, 0.0))
        images = ops.sum(ops.cast(counted, "int32"), axis=0)
        self._images.assign(ops.add(self._images, ops.cast(images, "int32")))
        self._faults.assign(ops.add(self._faults, masks.faults))

    def measure(self, truth: Tensor, found: Tensor, known: Tensor) -> Tensor:
        """Values of images and classes: float32 `(B, C)`, NaN where there is none.

        Args:
            truth, found, known: bool `(B, H, W, C)`, see `masks.Masks`.
        """
        raise TypeError(f"{type(self).__name__} must implement measure(truth, found, known)")

    def result(self) -> Tensor:
        """The mean over classes, a float32 scalar; NaN if no class has a value."""
        sums = ops.add(self._sums, self._rests)
        images = ops.cast(self._images, "float32")
        counted = images > 0
        means = ops.where(counted, sums / ops.maximum(images, 1.0), 0.0)
        number = ops.sum(ops.cast(counted, "float32"))
        mean = ops.sum(means) / ops.maximum(number, 1.0)
        right = ops.logical_and(number > 0, ops.sum(ops.convert_to_tensor(self._faults)) == 0)
        return ops.where(right, mean, float("nan"))

    def scores(self) -> dict[str, float | Array]:
        """`{name: mean, f"{name}_per_class": array}`, in float64.

        Raises:
            ValueError: if labels of no class, predictions of NaN or wrong weights were counted.
        """
        sums, rests, images, faults = (
            ops.convert_to_numpy(v.value).astype("float64") for v in self.variables
        )
        check_faults(faults.astype(int).tolist(), self.num_classes, self.ignore_class)
        each = np.full(self.num_classes, np.nan)
        np.divide(sums + rests, images, out=each, where=images > 0)
        known = each[images > 0]
        mean = float(known.mean()) if known.size else float("nan")
        return {self.name: mean, f"{self.name}_per_class": each}

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "mode": self.mode,
            "ignore_class": self.ignore_class,
            "name": self.name,
        }

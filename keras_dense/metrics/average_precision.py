"""Average precision of tags, from counts in bins of the score."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.metrics.masks import FAULTS, check_faults
from keras_dense.ops.count import count
from keras_dense.ops.labels import as_label_input, read_labels, target_form
from keras_dense.ops.targets import as_input, as_sample_weight, read_weight


@keras.saving.register_keras_serializable("keras_dense")
class MeanAveragePrecision(keras.metrics.Metric):
    """Mean average precision (mAP) of tags: the area below precision over recall, by class.

    ```
    AP = sum over scores s of (recall at s - recall above s) * precision at s
    ```

    for each class, with all images whose score is at least s taken for images of the class; then
    the mean over classes that occur. Scores in the same of `bins` bins count as equal, which are
    narrow: at a probability of 0.5, logits that differ by 0.0005. Unknown tags are left out.

    Args:
        num_classes: int >= 1.
        bins: int >= 2, number of bins of the score.
        ignore_class: int, value of an unknown tag.
        name: name of the metric.

    Call arguments:
        y_true: 1, 0 or unknown, `(B, num_classes)`, or maps `(B, H, W, num_classes)`.
        y_pred: logits of this shape.
        sample_weight: `(B,)`: images of weight 0 are not counted, all others once.

    Raises:
        ValueError: for numbers out of range; when called, for shapes that do not fit.

    Reference: Everingham et al., "The PASCAL visual object classes challenge: a retrospective",
        2015, section 2.2 (all recalls, as from 2010 on).

    >>> metric = MeanAveragePrecision(1)
    >>> metric.update_state([[1], [0], [1], [0]], [[3.0], [2.0], [1.0], [0.0]])
    >>> round(float(metric.result()), 3)  # (1/1 + 2/3) / 2
    0.833
    """

    def __init__(
        self,
        num_classes: int,
        *,
        bins: int = 4096,
        ignore_class: int = 255,
        name: str = "mean_average_precision",
    ):
        super().__init__(name=name, dtype="float32")
        self._direction = "up"
        self.num_classes = _check.integer(num_classes, "num_classes", 1)
        self.bins = _check.integer(bins, "bins", 2)
        self.ignore_class = _check.integer(ignore_class, "ignore_class")
        # By class and bin, images without and with the class; then the faulty ones.
        size = (2 * self.num_classes * self.bins + len(FAULTS),)
        self._counts = self.add_variable(size, "zeros", dtype="int32", name="counts")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Count a batch."""
        sample_weight = as_sample_weight(sample_weight)
        y_pred = ops.cast(ops.convert_to_tensor(as_input(y_pred, "y_pred")), "float32")
        y_true = ops.convert_to_tensor(as_label_input(y_true))
        if tuple(y_true.shape) != tuple(y_pred.shape) or y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"`y_true` and `y_pred` must be (B, {self.num_classes}). Received: y_true of shape "
                f"{tuple(y_true.shape)}, y_pred of shape {tuple(y_pred.shape)}"
            )
        form = target_form(y_true.shape, y_pred.shape, "multilabel")
        truth, known, wrong = read_labels(
            ops.cast(y_true, "float32"), form, self.num_classes, "multilabel", self.ignore_class
        )
        no_weight = ops.zeros_like(wrong)
        if sample_weight is not None:
            weight, bad = read_weight(ops.convert_to_tensor(sample_weight), y_pred.shape)
            no_weight = ops.logical_and(ops.logical_or(known, wrong), bad)
            known = ops.logical_and(known, weight > 0.0)
            wrong = ops.logical_and(wrong, weight > 0.0)
        no_number = ops.logical_and(known, ops.isnan(y_pred))
        known = ops.logical_and(known, ops.logical_not(no_number))
        score = ops.where(known, y_pred, 0.0)
        share = 0.5 + 0.5 * score / (1.0 + ops.absolute(score))  # a narrow bin at every score
        share = ops.where(ops.isnan(share), ops.cast(score > 0, "float32"), share)
        place = ops.clip(ops.cast(ops.floor(share * self.bins), "int32"), 0, self.bins - 1)
        cell = 2 * (place + self.bins * ops.arange(self.num_classes, dtype="int32")) + truth
        size = 2 * self.num_classes * self.bins
        # The last counter takes tags that do not count.
        counts = count(ops.where(known, cell, size), size + 1)[:-1]
        faults = [ops.sum(ops.cast(f, "int32")) for f in (wrong, no_number, no_weight)]
        more = ops.concatenate([counts, ops.cast(ops.stack(faults), "int32")])
        self._counts.assign(ops.add(self._counts, more))

    def result(self) -> Tensor:
        """The mean average precision, a float32 scalar; NaN if no class occurred."""
        counts = ops.convert_to_tensor(self._counts)
        precision, there = self._by_class(ops.cast(counts[: -len(FAULTS)], "float32"), ops)
        classes = ops.sum(ops.cast(there, "float32"))
        value = ops.sum(ops.where(there, precision, 0.0)) / ops.maximum(classes, 1.0)
        good = ops.logical_and(classes > 0, ops.sum(counts[-len(FAULTS) :]) == 0)
        return ops.where(good, value, float("nan"))

    def _by_class(self, counts, xp):
        """The average precision of each class, and whether it occurs."""
        counts = xp.flip(xp.reshape(counts, (self.num_classes, self.bins, 2)), axis=1)
        hits = xp.cumsum(counts[..., 1], axis=1)
        found = xp.cumsum(counts[..., 0] + counts[..., 1], axis=1)
        total = xp.sum(counts[..., 1], axis=1)
        precision = hits / xp.maximum(found, 1.0)
        area = xp.sum(counts[..., 1] * precision, axis=1)
        return area / xp.maximum(total, 1.0), total > 0

    def scores(self) -> dict[str, float | Array]:
        """Every score so far, in float64.

        Returns:
            Dict with `mean_average_precision` and `average_precision` of each class `(classes,)`,
            NaN for classes that did not occur.

        Raises:
            ValueError: if tags of another value, predictions of NaN or wrong weights were counted.
        """
        counts = ops.convert_to_numpy(self._counts.value).astype("float64")
        check_faults(counts[-len(FAULTS) :].astype(int), self.num_classes, self.ignore_class)
        precision, there = self._by_class(counts[: -len(FAULTS)], np)
        mean = float(precision[there].mean()) if there.any() else float("nan")
        return {self.name: mean, "average_precision": np.where(there, precision, np.nan)}

    def get_config(self) -> Config:
        return {
            "name": self.name,
            "num_classes": self.num_classes,
            "bins": self.bins,
            "ignore_class": self.ignore_class,
        }

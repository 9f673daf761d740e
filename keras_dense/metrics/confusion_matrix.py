"""A streaming confusion matrix: every segmentation score from one count."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Tensor
from keras_dense.metrics.masks import FAULTS, check_faults
from keras_dense.metrics.scores import PER_CLASS, SCORES, scores
from keras_dense.metrics.shared import SharedMetric
from keras_dense.ops.count import count, first_largest
from keras_dense.ops.labels import (
    as_label_input,
    check_ignore_class,
    check_mode,
    read_labels,
    target_form,
)
from keras_dense.ops.targets import read_weight

_WORD = 24  # bits of the low word: sums of 100 replicas still fit in int32


@keras.saving.register_keras_serializable("keras_dense")
class ConfusionMatrix(SharedMetric):
    """Confusion matrix counted over a whole data set, and the scores it gives.

    Counts are integers in two int32 words, exact up to 2^55 pixels on every backend, so one batch
    or many give the same number. A score is NaN while nothing was counted. Labels that name no
    class, and predictions of NaN and weights below 0 at known pixels, are never dropped silently:
    `result()` is NaN from then on, `scores()` and `matrix()` raise.

    Args:
        num_classes: int >= 1, classes of the prediction; 1 when binary.
        mode: `"multiclass"` (the largest of C logits), `"binary"` (one logit; the matrix is 2 x 2,
            background and foreground) or `"multilabel"` (C logits, C matrices of 2 x 2); `None`
            means binary for `num_classes=1`, else multi-class.
        ignore_class: int, label of void pixels (counted nowhere), or `None`.
        score: result of `result()`: `"mean_iou"`, `"pixel_accuracy"`, `"mean_accuracy"`,
            `"frequency_weighted_iou"`, `"mean_dice"` or `"mean_precision"` (see `scores`).
        threshold: float from 0 to 1, probability above which a label is predicted, unless
            multi-class.
        from_logits: bool; `y_pred` are logits, or already probabilities; unless multi-class.
        name: name of the metric; by default the name of the score.

    Call arguments:
        y_true: integers `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`, see
            `kd.losses.DenseLoss`.
        y_pred: logits or probabilities `(B, H, W, C)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted,
            all others once.

    Example:

    >>> import numpy as np
    >>> metric = ConfusionMatrix(3)
    >>> truth = np.array([[[0, 0, 1, 255]]])
    >>> logits = np.eye(3)[[[[0, 1, 1, 2]]]]
    >>> metric.update_state(truth, logits)
    >>> metric.matrix().tolist()
    [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    >>> round(float(metric.result()), 4)  # class 2 is absent: not in the mean
    0.5
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mode: str | None = None,
        ignore_class: int | None = 255,
        score: str = "mean_iou",
        threshold: float = 0.5,
        from_logits: bool = True,
        name: str | None = None,
    ):
        _check.choice(score, "score", SCORES)
        super().__init__(name or score, "up")
        self.score = score
        self.num_classes = _check.integer(num_classes, "num_classes", 1)
        self.mode = check_mode(mode, self.num_classes)
        self.ignore_class = check_ignore_class(ignore_class, self.mode)
        self.threshold = _check.number(threshold, "threshold", 0, 1)
        self.from_logits = _check.flag(from_logits, "from_logits")
        self._shape = {
            "multiclass": (self.num_classes, self.num_classes),
            "binary": (2, 2),
            "multilabel": (self.num_classes, 2, 2),
        }[self.mode]
        self._cells = math.prod(self._shape)
        size = (self._cells + len(FAULTS),)
        self._low = self.add_variable(size, "zeros", dtype="int32", name="low")
        self._high = self.add_variable(size, "zeros", dtype="int32", name="high")

    def measure(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Tensor:
        """Pixels in each cell of the matrix, and the faulty ones: int32."""
        y_pred = ops.convert_to_tensor(y_pred)
        y_true = ops.convert_to_tensor(as_label_input(y_true))
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"`y_pred` must have num_classes={self.num_classes} channels. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        form = target_form(y_true.shape, y_pred.shape, self.mode)
        if len(y_true.shape) < len(y_pred.shape):
            y_true = ops.expand_dims(y_true, -1)
        y_true = ops.cast(y_true, "float32")
        label, valid, wrong = read_labels(
            y_true, form, self.num_classes, self.mode, self.ignore_class
        )
        cell, no_number = self._cell(label, y_pred)
        cell = ops.where(no_number, self._cells + 1, cell)
        cell = ops.where(wrong, self._cells, cell)
        counted = ops.logical_or(valid, wrong)
        if sample_weight is not None:
            last = (1, self.num_classes) if self.mode == "multilabel" else (1,)
            weight, no_weight = read_weight(
                ops.convert_to_tensor(sample_weight), y_pred.shape, last
            )
            cell = ops.where(no_weight, self._cells + 2, cell)
            counted = ops.logical_and(counted, ops.logical_or(weight > 0.0, no_weight))
        # Faulty pixels have cells of their own. The last counter takes pixels that do not count,
        # and is left out.
        size = self._cells + len(FAULTS)
        return count(ops.where(counted, cell, size), size + 1)[:-1]

    def _cell(self, label, y_pred):
        """The cell of each pixel, int32, and where its prediction is NaN."""
        if self.mode == "multiclass":
            no_number = ops.any(ops.isnan(y_pred), axis=-1, keepdims=True)
            return label * self.num_classes + first_largest(y_pred), no_number
        predicted = ops.cast(ops.cast(y_pred, "float32") > self._limit(), "int32")
        index = ops.arange(self.num_classes, dtype="int32")
        return index * 4 + label * 2 + predicted, ops.isnan(y_pred)

    def _limit(self):
        """The threshold in the units of the predictions."""
        if not self.from_logits:
            return self.threshold
        if 0 < self.threshold < 1:
            return math.log(self.threshold / (1.0 - self.threshold))
        return -math.inf if self.threshold == 0 else math.inf

    def add(self, counts: Tensor) -> None:
        low = ops.add(self._low, counts)
        carry = ops.right_shift(low, _WORD)
        self._low.assign(low - ops.left_shift(carry, _WORD))
        self._high.assign(ops.add(self._high, carry))

    def result(self) -> Tensor:
        """The chosen score, a float32 scalar."""
        low, high = ops.cast(self._low, "float32"), ops.cast(self._high, "float32")
        counts = high * float(2**_WORD) + low
        value = scores(ops.reshape(counts[: self._cells], self._shape), ops)[self.score]
        return ops.where(ops.sum(counts[self._cells :]) > 0, float("nan"), value)

    def matrix(self) -> Array:
        """Counts so far: int64 array `(C, C)`, truth i and prediction j at [i, j].

        Binary: `(2, 2)`. Multi-label: `(C, 2, 2)`.

        Raises:
            ValueError: if labels of no class, predictions of NaN or wrong weights were counted.
        """
        low, high = (ops.convert_to_numpy(v.value).astype("int64") for v in (self._low, self._high))
        counts = (high << _WORD) + low
        check_faults(counts[self._cells :], self.num_classes, self.ignore_class)
        return counts[: self._cells].reshape(self._shape)

    def scores(self) -> dict[str, float | Array]:
        """Every score so far, in float64: a dict of floats and of per-class arrays.

        Raises:
            ValueError: see `matrix`.
        """
        values = scores(self.matrix().astype("float64"), np)
        return {k: v if k in PER_CLASS else float(v) for k, v in values.items()}

    def assign_sums(self, sums: Sequence[Array]) -> None:
        """Set the counts to sums over the variables of several metrics, in their order."""
        low, high = (np.asarray(x).astype("int64") for x in sums)
        counts = (high << _WORD) + low
        self._low.assign((counts & (2**_WORD - 1)).astype("int32"))
        self._high.assign((counts >> _WORD).astype("int32"))

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "mode": self.mode,
            "ignore_class": self.ignore_class,
            "score": self.score,
            "threshold": self.threshold,
            "from_logits": self.from_logits,
            "name": self.name,
        }

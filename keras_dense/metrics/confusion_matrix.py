"""A streaming confusion matrix: every segmentation score from one count."""

import math

import keras
import numpy as np
from keras import ops

from keras_dense._arrays import as_labels
from keras_dense.losses.contract import (
    check_flag,
    check_ignore_class,
    check_mode,
    check_number,
    target_form,
)
from keras_dense.losses.weighted import read_weight
from keras_dense.metrics.scores import PER_CLASS, SCORES, scores
from keras_dense.metrics.shared import SharedMetric
from keras_dense.ops.count import count, first_largest

_WORD = 24  # bits of the low word: sums of 100 replicas still fit in int32

# What cannot be counted has cells of its own, after those of the matrix.
_FAULTS = (
    "{count} pixels of y_true name no class: neither of the {classes} classes nor void "
    "(ignore_class={ignore_class})",
    "y_pred is NaN at {count} known pixels",
    "sample_weight is negative or not finite at {count} known pixels",
)


@keras.saving.register_keras_serializable("keras_dense")
class ConfusionMatrix(SharedMetric):
    """Confusion matrix counted over a whole data set, and the scores it gives.

    Counts are integers in two int32 words, exact up to 2^55 pixels on every backend, so one batch
    or many give the same number. A score is NaN while nothing was counted. Labels that name no
    class, and predictions of NaN and weights below 0 at known pixels, are never dropped silently:
    `result()` turns NaN, `scores()` and `matrix()` raise.

    Args:
        num_classes: Classes of the prediction; 1 when binary.
        ignore_class: Label of void pixels (counted nowhere), or `None`.
        score: What `result()` returns: `"mean_iou"`, `"pixel_accuracy"`, `"mean_accuracy"`,
            `"frequency_weighted_iou"`, `"mean_dice"` or `"mean_precision"` (see `scores`).
        mode: `"multiclass"` (the largest of C logits), `"binary"` (one logit; the matrix is 2 x 2,
            background and foreground) or `"multilabel"` (C logits, C matrices of 2 x 2); `None`
            means binary for `num_classes=1`, else multi-class.
        threshold: Probability above which a label is predicted, unless multi-class.
        from_logits: Whether `y_pred` are logits, or already probabilities; unless multi-class.
        name: Name of the metric; by default the name of the score.

    Call arguments:
        y_true: Integers `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`.
        y_pred: Logits or probabilities `(B, H, W, C)`.
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
        num_classes,
        ignore_class=255,
        score="mean_iou",
        mode=None,
        threshold=0.5,
        from_logits=True,
        name=None,
    ):
        if isinstance(num_classes, bool) or not isinstance(num_classes, (int, np.integer)):
            raise TypeError(f"num_classes must be an integer; received: {num_classes!r}")
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1; received: {num_classes}")
        if score not in SCORES:
            raise ValueError(f"score must be one of {SCORES}; received: score={score!r}")
        if mode is None:
            mode = "binary" if num_classes == 1 else "multiclass"
        if (mode == "binary") != (num_classes == 1) and mode != "multilabel":
            raise ValueError(
                "mode='binary' goes with num_classes=1 and mode='multiclass' with at least 2; "
                f"received: mode={mode!r}, num_classes={num_classes}"
            )
        super().__init__(name or score, "up")
        self.mode = check_mode(mode)
        self.num_classes = int(num_classes)
        self.ignore_class = check_ignore_class(ignore_class, mode)
        self.score = score
        self.threshold = check_number("threshold", threshold, 0.0, 1.0)
        self.from_logits = check_flag("from_logits", from_logits)
        self._shape = {
            "multiclass": (self.num_classes, self.num_classes),
            "binary": (2, 2),
            "multilabel": (self.num_classes, 2, 2),
        }[mode]
        self._cells = math.prod(self._shape)
        size = (self._cells + len(_FAULTS),)
        self._low = self.add_variable(size, "zeros", dtype="int32", name="low")
        self._high = self.add_variable(size, "zeros", dtype="int32", name="high")

    def measure(self, y_true, y_pred, sample_weight):
        """Pixels in each cell, and the faulty ones: int32."""
        y_pred = ops.convert_to_tensor(y_pred)
        if isinstance(y_true, np.ndarray) and y_true.dtype.kind in "iu":
            y_true = as_labels(y_true, "y_true")  # JAX would cut 64 bits to 32
        y_true = ops.convert_to_tensor(y_true)
        if y_pred.shape[-1] != self.num_classes:
            raise ValueError(
                f"y_pred must have num_classes={self.num_classes} channels; "
                f"received shape {tuple(y_pred.shape)}"
            )
        form = target_form(y_true.shape, y_pred.shape, self.mode)
        if len(y_true.shape) < len(y_pred.shape):
            y_true = ops.expand_dims(y_true, -1)
        y_true = ops.cast(y_true, "float32")
        if self.mode == "multiclass":
            cell, known, void = self._multiclass(y_true, y_pred, form)
            no_number = ops.any(ops.isnan(y_pred), axis=-1, keepdims=True)
        else:
            cell, known, void = self._labels(y_true, y_pred, form)
            no_number = ops.isnan(y_pred)
        cell = ops.where(no_number, self._cells + 1, cell)
        cell = ops.where(known, cell, self._cells)
        if sample_weight is not None:
            last = (1, self.num_classes) if self.mode == "multilabel" else (1,)
            weight, no_weight = read_weight(
                ops.convert_to_tensor(sample_weight), y_pred.shape, last
            )
            cell = ops.where(no_weight, self._cells + 2, cell)
            nothing = ops.logical_and(ops.equal(weight, 0.0), ops.logical_not(no_weight))
            void = ops.logical_or(void, nothing)
        # The last counter takes what is void and is left out.
        size = self._cells + len(_FAULTS)
        return count(ops.where(void, size, cell), size + 1)[:-1]

    def _multiclass(self, y_true, y_pred, form):
        """`(cell, known, void)`, each `(B, H, W, 1)`: where a pixel counts, whether it does."""
        classes = self.num_classes
        predicted = first_largest(y_pred)
        if form == "labels":
            inside = ops.logical_and(y_true >= 0, y_true < classes)
            label = ops.cast(ops.where(inside, y_true, 0.0), "int32")
            known = ops.logical_and(inside, ops.equal(ops.cast(label, "float32"), y_true))
            void = self._is_void(y_true)
        else:
            label = first_largest(y_true)
            total = ops.sum(y_true, axis=-1, keepdims=True)
            inside = ops.logical_and(y_true >= 0, y_true <= 1)
            known = ops.logical_and(
                ops.all(inside, axis=-1, keepdims=True), ops.abs(total - 1.0) < 0.01
            )
            void = ops.all(ops.equal(y_true, 0.0), axis=-1, keepdims=True)
            if self.ignore_class is not None:
                ignored = ops.logical_and(known, ops.equal(label, self.ignore_class))
                void = ops.logical_or(void, ignored)
        return label * classes + predicted, known, void

    def _labels(self, y_true, y_pred, form):
        """The same for independent labels, each `(B, H, W, C)`."""
        if self.from_logits:
            limit = -math.inf if self.threshold == 0 else math.inf
            if 0 < self.threshold < 1:
                limit = math.log(self.threshold / (1.0 - self.threshold))
        else:
            limit = self.threshold
        predicted = ops.cast(ops.cast(y_pred, "float32") > limit, "int32")
        index = ops.arange(self.num_classes, dtype="int32")
        void = self._is_void(y_true)
        if form == "labels":
            label = ops.cast(ops.equal(y_true, ops.cast(index, "float32")), "int32")
            known = ops.any(ops.equal(label, 1), axis=-1, keepdims=True)
        else:
            label = ops.cast(ops.equal(y_true, 1.0), "int32")
            known = ops.logical_or(ops.equal(y_true, 0.0), ops.equal(y_true, 1.0))
        return index * 4 + label * 2 + predicted, known, void

    def _is_void(self, y_true):
        if self.ignore_class is None:
            return ops.zeros_like(y_true, dtype="bool")
        return ops.equal(y_true, float(self.ignore_class))

    def add(self, counts):
        low = ops.add(self._low, counts)
        carry = ops.right_shift(low, _WORD)
        self._low.assign(low - ops.left_shift(carry, _WORD))
        self._high.assign(ops.add(self._high, carry))

    def result(self):
        """The chosen score, a float32 scalar."""
        low, high = ops.cast(self._low, "float32"), ops.cast(self._high, "float32")
        counts = high * float(2**_WORD) + low
        value = scores(ops.reshape(counts[: self._cells], self._shape), ops)[self.score]
        return ops.where(ops.sum(counts[self._cells :]) > 0, float("nan"), value)

    def matrix(self):
        """Counts so far: int64 array `(C, C)`, truth i and prediction j at [i, j].

        Binary: `(2, 2)`. Multi-label: `(C, 2, 2)`.

        Raises:
            ValueError: When labels were seen that name no class, or predictions of NaN.
        """
        low, high = (ops.convert_to_numpy(v.value).astype("int64") for v in (self._low, self._high))
        counts = (high << _WORD) + low
        for number, fault in zip(counts[self._cells :], _FAULTS, strict=True):
            if number:
                raise ValueError(
                    fault.format(
                        count=number, classes=self.num_classes, ignore_class=self.ignore_class
                    )
                )
        return counts[: self._cells].reshape(self._shape)

    def scores(self):
        """Every score so far, in float64: a dict of floats and of per-class arrays.

        Raises:
            ValueError: As of `matrix`.
        """
        values = scores(self.matrix().astype("float64"), np)
        return {k: v if k in PER_CLASS else float(v) for k, v in values.items()}

    def get_config(self):
        return {
            "num_classes": self.num_classes,
            "ignore_class": self.ignore_class,
            "score": self.score,
            "mode": self.mode,
            "threshold": self.threshold,
            "from_logits": self.from_logits,
            "name": self.name,
        }

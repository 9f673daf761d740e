"""Agreement of a network's confidence with its accuracy."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.metrics.masks import FAULTS, check_faults, read_masks
from keras_dense.ops.count import count
from keras_dense.ops.labels import check_ignore_class, check_mode
from keras_dense.ops.targets import as_input

_WORD = 24  # bits of the low word: sums of 100 replicas still fit in int32


@keras.saving.register_keras_serializable("keras_dense")
class CalibrationError(keras.metrics.Metric):
    """Expected calibration error (ECE) over all known pixels of a data set.

    ```
    ECE = sum_b n_b / n |accuracy_b - confidence_b|
    ```

    over bins of equal width of the confidence, the probability of the predicted class: of all
    pixels that the network is 90 % sure of, 90 % should be right. When binary, and with several
    labels, the predicted class is the more probable of absent and present, so confidences are at
    least 1/2. Pixels are counted in two int32 words, exact up to 2^55 pixels on every backend. Void
    pixels and faulty inputs as in `ConfusionMatrix`. `kd.plot.reliability` draws `scores()`.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        bins: int >= 1; `confidence * bins`, rounded down, is the bin (a confidence of 1 is in the
            last one).
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        name: name of the metric.

    Call arguments:
        y_true: integers `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`.
        y_pred: logits `(B, H, W, C)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted,
            all others once.

    Raises:
        ValueError: for bins that are none; when called, for shapes that do not fit.

    Reference: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, equations 2 and 3.

    >>> truth = np.array([[[1, 1, 1, 0]]])
    >>> metric = CalibrationError(1)
    >>> metric.update_state(truth, np.full((1, 1, 4, 1), np.log(9)))  # 90 % sure, 3 of 4 right
    >>> round(float(metric.result()), 3)
    0.15
    """

    def __init__(
        self,
        num_classes: int,
        *,
        bins: int = 15,
        mode: str | None = None,
        ignore_class: int | None = 255,
        name: str = "calibration_error",
    ):
        super().__init__(name=name, dtype="float32")
        self._direction = "down"
        self.num_classes = _check.integer(num_classes, "num_classes", 1)
        self.bins = _check.integer(bins, "bins", 1)
        self.mode = check_mode(mode, self.num_classes)
        self.ignore_class = check_ignore_class(ignore_class, self.mode)
        # Wrong and right pixels of each bin, then the faulty ones.
        size = (2 * self.bins + len(FAULTS),)
        self._low = self.add_variable(size, "zeros", dtype="int32", name="low")
        self._high = self.add_variable(size, "zeros", dtype="int32", name="high")
        # Sums of the differences between confidences and the middles of their bins.
        self._rest = self.add_variable((self.bins,), "zeros", name="rest")

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Measure a batch."""
        y_pred = ops.convert_to_tensor(as_input(y_pred, "y_pred"))
        masks = read_masks(
            y_true, y_pred, sample_weight, self.num_classes, self.mode, self.ignore_class
        )
        confidence, right, known = self._read(masks, ops.cast(y_pred, "float32"))
        finite = ops.logical_not(ops.isnan(confidence))
        known = ops.logical_and(known, finite)
        confidence = ops.where(known, confidence, 0.5)
        place = ops.cast(ops.floor(confidence * self.bins), "int32")
        place = ops.clip(place, 0, self.bins - 1)
        rest = confidence - (ops.cast(place, "float32") + 0.5) / self.bins
        cell = 2 * place + ops.cast(right, "int32")
        # The last counter takes pixels that do not count.
        counts = count(ops.where(known, cell, 2 * self.bins), 2 * self.bins + 1)[:-1]
        rests = ops.segment_sum(
            ops.reshape(ops.where(known, rest, 0.0), (-1,)),
            ops.reshape(place, (-1,)),
            num_segments=self.bins,
        )
        low = ops.add(self._low, ops.concatenate([counts, masks.faults]))
        carry = ops.right_shift(low, _WORD)
        self._low.assign(low - ops.left_shift(carry, _WORD))
        self._high.assign(ops.add(self._high, carry))
        self._rest.assign(ops.add(self._rest, rests))

    def _read(self, masks, y_pred):
        """Confidence of each prediction, whether it is right, and whether it is known."""
        agree = ops.equal(masks.truth, masks.found)
        if self.mode != "multiclass":
            return ops.sigmoid(ops.abs(y_pred)), agree, masks.known
        confidence = ops.max(ops.softmax(y_pred), axis=-1)
        return confidence, ops.all(agree, axis=-1), masks.known[..., 0]

    def result(self) -> Tensor:
        """The expected calibration error, a float32 scalar; NaN if nothing was counted."""
        low, high = ops.cast(self._low, "float32"), ops.cast(self._high, "float32")
        counts = high * float(2**_WORD) + low
        faults = ops.sum(counts[2 * self.bins :])
        total, difference = self._differences(counts, ops.convert_to_tensor(self._rest), ops)
        value = ops.sum(ops.abs(difference)) / ops.maximum(total, 1.0)
        return ops.where(ops.logical_and(total > 0, faults == 0), value, float("nan"))

    def _differences(self, counts, rest, xp):
        """The number of pixels, and hits less confidence summed over each bin."""
        wrong, right = counts[: 2 * self.bins : 2], counts[1 : 2 * self.bins : 2]
        middle = (np.arange(self.bins) + 0.5) / self.bins
        if xp is ops:
            middle = ops.convert_to_tensor(middle, "float32")
        number = wrong + right
        return xp.sum(number), right - number * middle - rest

    def scores(self) -> dict[str, float | Array]:
        """Every score so far, in float64.

        Returns:
            Dict with, for a metric of the name `calibration_error`: `calibration_error` (ECE),
            `calibration_error_max` (the largest difference in a bin) and, for each bin,
            `calibration_accuracy`, `calibration_confidence` (NaN if empty) and
            `calibration_share`, the share of the pixels.

        Raises:
            ValueError: if labels of no class, predictions of NaN or wrong weights were counted.
        """
        low, high = (ops.convert_to_numpy(v.value).astype("int64") for v in (self._low, self._high))
        counts = (high << _WORD) + low
        check_faults(counts[2 * self.bins :], self.num_classes, self.ignore_class)
        counts = counts.astype("float64")
        rest = ops.convert_to_numpy(self._rest.value).astype("float64")
        total, difference = self._differences(counts, rest, np)
        right = counts[1 : 2 * self.bins : 2]
        number = counts[: 2 * self.bins : 2] + right
        with np.errstate(invalid="ignore", divide="ignore"):
            accuracy, gap = right / number, difference / number
            share, error = number / total, float(np.abs(difference).sum() / total)
        return {
            self.name: error,
            f"{self.name}_max": float(np.abs(gap[number > 0]).max()) if total else float("nan"),
            "calibration_accuracy": accuracy,
            "calibration_confidence": accuracy - gap,
            "calibration_share": share,
        }

    def assign_sums(self, sums: Sequence[Array]) -> None:
        """Set the counts to sums over the variables of several metrics, in their order."""
        low, high = (np.asarray(x).astype("int64") for x in sums[:2])
        counts = (high << _WORD) + low
        self._low.assign((counts & (2**_WORD - 1)).astype("int32"))
        self._high.assign((counts >> _WORD).astype("int32"))
        self._rest.assign(np.asarray(sums[2], "float32"))

    def get_config(self) -> Config:
        return {
            "num_classes": self.num_classes,
            "bins": self.bins,
            "mode": self.mode,
            "ignore_class": self.ignore_class,
            "name": self.name,
        }

"""Angular errors of predicted normals, over a whole data set."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Tensor
from keras_dense.metrics.shared import SharedMetric
from keras_dense.ops.count import count
from keras_dense.ops.geometry import angle_between
from keras_dense.ops.targets import known_normals, read_map

_WORD = 24  # bits of the low word: sums of 100 replicas still fit in int32
_BINS = 18000
_STEP = 0.01  # degrees

LIMITS = {"within_5": 5.0, "within_7.5": 7.5, "within_11.25": 11.25}
LIMITS.update({"within_22.5": 22.5, "within_30": 30.0})
SCORES = ("mean", "median", "rmse", *LIMITS)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsErrors(SharedMetric):
    """Angles between true and predicted normals, in degrees, over all known pixels of a data set.

    ```
    E = acos(n · m)     mean, median, rmse = sqrt(mean E²)     within_t: share of pixels with E < t
    ```

    Pixels are pooled, not averaged by image. They are counted in 18,000 bins of 0.01 degrees, in
    two int32 words, exact up to 2^55 pixels on every backend: the median is the middle of a bin
    (off by 0.005 degrees at most), the shares are exact, and for mean and rmse the differences to
    the middles of the bins are summed as well. A score is NaN while nothing was counted, and once a
    prediction or a weight at a known pixel was not finite (or a weight negative). A prediction of
    length 0 has an error of 90 degrees.

    Fouhey, Gupta and Hebert, "Data-Driven 3D Primitives for Single Image Understanding", ICCV 2013;
    5 and 7.5 degrees as in Bae, Budvytis and Cipolla, ICCV 2021.

    Args:
        score: result of `result()`: `"mean"`, `"median"`, `"rmse"`, `"within_5"`,
            `"within_7.5"`, `"within_11.25"`, `"within_22.5"` or `"within_30"` (shares from 0 to 1).
        name: name of the metric; by default the name of the score.

    Call arguments:
        y_true: `(B, H, W, 3)`; a norm below 1/2 (or NaN) is unknown.
        y_pred: `(B, H, W, 3)` in the same frame, of any length; a fourth channel is not used.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted,
            all others once.

    Raises:
        ValueError: for an unknown score; when called, for shapes that do not fit.

    Example:

    >>> truth = np.array([[[[0, 0, -1], [0, 0, -1], [0, 0, 0]]]])  # the last is unknown
    >>> prediction = np.array([[[[0, 0, -1], [0, 1, -1], [1, 0, 0]]]])
    >>> metric = NormalsErrors("mean")
    >>> metric.update_state(truth, prediction)
    >>> round(float(metric.result()), 3), metric.scores()["within_30"]
    (22.5, 0.5)
    """

    def __init__(self, score: str = "mean", *, name: str | None = None):
        _check.choice(score, "score", SCORES)
        super().__init__(name or score, "up" if score in LIMITS else "down")
        self.score = score
        # One more bin counts predictions and weights that are not finite.
        self._low = self.add_variable((_BINS + 1,), "zeros", dtype="int32", name="low")
        self._high = self.add_variable((_BINS + 1,), "zeros", dtype="int32", name="high")
        # Sums of the differences between E and the middle of its bin, and likewise for E².
        self._rest = self.add_variable((2,), "zeros", dtype="float32", name="rest")

    def measure(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Pixels in each bin, int32, and the sums of the rests of E and E²."""
        y_pred = ops.cast(y_pred, "float32")
        y_true = ops.convert_to_tensor(y_true)
        if y_pred.shape[-1] not in (3, 4):
            raise ValueError(
                "`y_pred` must have 3 channels, or 4 with a concentration. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
        y_true, weight, wrong = read_map(y_true, y_pred, sample_weight, 3, known_normals)
        counted = weight > 0
        finite = ops.all(ops.isfinite(y_pred[..., :3]), axis=-1, keepdims=True)
        used = ops.logical_and(counted, finite)
        truth, predicted = (ops.where(used, y, 1.0) for y in (y_true, y_pred[..., :3]))
        error = angle_between(truth, predicted) * (180.0 / np.pi)
        bins = ops.clip(ops.cast(ops.floor(error / _STEP), "int32"), 0, _BINS - 1)
        middle = (ops.cast(bins, "float32") + 0.5) * _STEP
        rest = ops.where(used, error - middle, 0.0)
        rests = ops.stack([ops.sum(rest), ops.sum(rest * (error + middle))])
        bins = ops.where(used, bins, ops.where(counted, _BINS, _BINS + 1))
        if wrong is not None:
            bins = ops.where(wrong, _BINS, bins)
        # The last counter takes unknown pixels, and is left out.
        return count(bins, _BINS + 2)[:-1], rests

    def add(self, measured: tuple[Tensor, Tensor]) -> None:
        counts, rests = measured
        low = ops.add(self._low, counts)
        carry = ops.right_shift(low, _WORD)
        self._low.assign(low - ops.left_shift(carry, _WORD))
        self._high.assign(ops.add(self._high, carry))
        self._rest.assign(ops.add(self._rest, rests))

    def result(self) -> Tensor:
        """The chosen score, a float32 scalar."""
        low, high = ops.cast(self._low, "float32"), ops.cast(self._high, "float32")
        counts = high * float(2**_WORD) + low
        rest = ops.convert_to_tensor(self._rest)
        value = _score(self.score, counts[:-1], rest, ops)
        return ops.where(counts[-1] > 0, float("nan"), value)

    def scores(self) -> dict[str, float]:
        """Every score so far, in float64: a dict of floats.

        Raises:
            ValueError: if predictions or weights were counted that are not finite.
        """
        low, high = (ops.convert_to_numpy(v.value).astype("int64") for v in (self._low, self._high))
        counts = (high << _WORD) + low
        if counts[-1]:
            raise ValueError(
                f"`y_pred` or `sample_weight` is not finite (or negative) at {counts[-1]} known "
                "pixels"
            )
        counts = counts[:-1].astype("float64")
        rest = ops.convert_to_numpy(self._rest.value).astype("float64")
        return {score: float(_score(score, counts, rest, np)) for score in SCORES}

    def assign_sums(self, sums: Sequence[Array]) -> None:
        """Set the counts to sums over the variables of several metrics, in their order."""
        low, high = (np.asarray(x).astype("int64") for x in sums[:2])
        counts = (high << _WORD) + low
        self._low.assign((counts & (2**_WORD - 1)).astype("int32"))
        self._high.assign((counts >> _WORD).astype("int32"))
        self._rest.assign(np.asarray(sums[2], "float32"))

    def get_config(self) -> Config:
        return {"score": self.score, "name": self.name}


def _score(score, counts, rest, xp):
    """A score from counts and rests, with one formula for NumPy and for a graph."""
    total = xp.sum(counts)
    empty = total == 0
    safe = xp.where(empty, 1.0, total)
    middle = (np.arange(_BINS) + 0.5) * _STEP
    if xp is ops:
        middle = ops.convert_to_tensor(middle, "float32")
    if score == "mean":
        value = xp.sum(counts / safe * middle) + rest[0] / safe
    elif score == "rmse":
        value = xp.sqrt(xp.maximum(xp.sum(counts / safe * middle**2) + rest[1] / safe, 0.0))
    elif score == "median":
        # The bins of the two middle pixels, or twice the bin of the middle one.
        seen = xp.cumsum(counts)
        ranks = (xp.floor((safe - 1) / 2), xp.floor(safe / 2))
        value = sum(xp.sum(xp.where(seen <= rank, 1.0, 0.0)) + 0.5 for rank in ranks) / 2 * _STEP
    else:
        inside = round(LIMITS[score] / _STEP)
        value = xp.sum(counts[:inside]) / safe
    return xp.where(empty, float("nan"), value)

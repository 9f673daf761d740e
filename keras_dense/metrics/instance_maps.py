"""Errors of the maps from which numbered objects are decoded, over a whole data set."""

import math

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.metrics.shared import SharedMetric
from keras_dense.ops.targets import known_colors, nan_where, read_map

SCORES = ("foreground_iou", "distance_error")


@keras.saving.register_keras_serializable("keras_dense")
class InstanceMapErrors(SharedMetric):
    """Errors of the maps of `kd.heads.Instances`, over all known pixels of a data set.

    | score | |
    |---|---|
    | `"foreground_iou"` | intersection of true and predicted foreground over their union |
    | `"distance_error"` | mean \\|p - t\\| of the relative distance to the border, over pixels of true objects |

    They show in `fit` how well the maps are learned. How well the objects themselves are found is
    counted after decoding. Sums are kept in two float32 words, so no digits are lost over a large
    data set. A score is NaN while there is nothing to count, and once a prediction was NaN at a
    known pixel, or a weight negative or not finite.

    Args:
        score: result of `result()`, one of the above.
        threshold: float > 0 and < 1, probability above which a pixel is foreground.
        name: name of the metric; by default the name of the score.

    Call arguments:
        y_true: `(B, H, W, 2)`, as `kd.heads.Instances` encodes them; NaN is unknown.
        y_pred: logits `(B, H, W, 2)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are not counted,
            all others once.

    Raises:
        ValueError: for an unknown score or a threshold out of range; when called, for shapes that
            do not fit.

    Example:

    >>> truth = np.array([[[[1.0, 1.0], [1.0, 0.5], [0, 0], [np.nan, np.nan]]]])
    >>> logits = np.array([[[[5.0, 0.0], [-5.0, 0.0], [-5.0, 0.0], [5.0, 0.0]]]])
    >>> metric = InstanceMapErrors()
    >>> metric.update_state(truth, logits)
    >>> float(metric.result()), metric.scores()["distance_error"]
    (0.5, 0.25)
    """  # noqa: E501

    def __init__(
        self,
        score: str = "foreground_iou",
        *,
        threshold: float = 0.5,
        name: str | None = None,
    ):
        _check.choice(score, "score", SCORES)
        super().__init__(name or score, "up" if score == "foreground_iou" else "down")
        self.score = score
        self.threshold = _check.number(threshold, "threshold", above=0, below=1)
        # Intersection, union, sum of the errors, pixels of objects.
        self._sums = self.add_variable((4,), "zeros", name="sums")
        self._rests = self.add_variable((4,), "zeros", name="rests")

    def measure(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Tensor:
        """The four sums of a batch."""
        y_pred = ops.cast(y_pred, "float32")
        if y_pred.shape[-1] != 2:
            raise ValueError(
                "`y_pred` must have 2 channels, foreground and distance. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        y_true = ops.convert_to_tensor(y_true)
        if sample_weight is not None:
            sample_weight = ops.convert_to_tensor(sample_weight)
        y_true, weight, wrong = read_map(y_true, y_pred, sample_weight, 2, known_colors)
        known = weight > 0
        y_true, y_pred = ops.where(known, y_true, 0.0), ops.where(known, y_pred, 0.0)
        lost = ops.any(ops.isnan(y_pred))
        counted = known[..., 0]
        true = ops.logical_and(y_true[..., 0] > 0.5, counted)
        limit = math.log(self.threshold / (1.0 - self.threshold))
        found = ops.logical_and(y_pred[..., 0] > limit, counted)
        error = ops.abs(ops.sigmoid(y_pred[..., 1]) - y_true[..., 1])
        terms = [ops.logical_and(true, found), ops.logical_or(true, found), error, true]
        terms = [ops.cast(term, "float32") for term in terms]
        terms[2] = terms[2] * terms[3]
        # Row by row: a single float32 sum over all pixels would lose a digit on some backends.
        sums = ops.sum(ops.sum(ops.stack(terms, axis=-1), axis=2), axis=(0, 1))
        sums = nan_where(sums, lost)
        return sums if wrong is None else nan_where(sums, ops.any(wrong))

    def add(self, measured: Tensor) -> None:
        # The sum of two floats is a float and a rest, exactly (Knuth).
        sums, rests = ops.convert_to_tensor(self._sums), ops.convert_to_tensor(self._rests)
        total = sums + measured
        added = total - sums
        rest = rests + ((sums - (total - added)) + (measured - added))
        whole = total + rest
        self._rests.assign(rest - (whole - total))
        self._sums.assign(whole)

    def result(self) -> Tensor:
        """The chosen score, a float32 scalar."""
        return _scores(ops.add(self._sums, self._rests), ops)[self.score]

    def scores(self) -> dict[str, float]:
        """Every score so far, computed in float64: a dict of floats.

        Raises:
            ValueError: if predictions or weights were counted that are not finite.
        """
        sums = sum(
            ops.convert_to_numpy(v.value).astype("float64") for v in (self._sums, self._rests)
        )
        if np.isnan(sums).any():
            raise ValueError(
                "`y_pred` is NaN at a known pixel, or `sample_weight` is not finite (or negative)"
            )
        return {name: float(value) for name, value in _scores(sums, np).items()}

    def get_config(self) -> Config:
        return {"score": self.score, "threshold": self.threshold, "name": self.name}


def _scores(sums, xp):
    """Both scores from the sums; NaN where nothing was counted, or something is NaN."""
    values = []
    for part, of in ((sums[0], sums[1]), (sums[2], sums[3])):
        empty = xp.logical_not(of > 0)
        values.append(xp.where(empty, float("nan"), part / xp.where(empty, 1.0, of)))
    return dict(zip(SCORES, values, strict=True))

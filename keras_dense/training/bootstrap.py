"""Intervals of scores, and paired comparisons of two models, by drawing images anew."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import Array
from keras_dense.metrics.scores import PER_CLASS, SCORES, scores


class Interval(NamedTuple):
    """A score and its interval; arrays for scores of several numbers.

    Attributes:
        value: the score of all images.
        low: lower end.
        high: upper end.

    >>> interval = bootstrap([1.0, 1.0, 1.0])
    >>> f"{interval.value:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
    '1.00 [1.00, 1.00]'
    """

    value: Any
    low: Any
    high: Any


class Difference(NamedTuple):
    """A difference between two models and its interval; arrays for scores of several numbers.

    Attributes:
        value: the score of the second less that of the first.
        low: lower end.
        high: upper end.
        p: float from 0 to 1, twice the smaller share of drawings on either side of 0.

    >>> paired_bootstrap([0.5, 0.6], [0.5, 0.6])
    Difference(value=0.0, low=0.0, high=0.0, p=1.0)
    """

    value: Any
    low: Any
    high: Any
    p: Any


def bootstrap(
    images: Any,
    *,
    score: str = "mean_iou",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Any:
    """Intervals of scores: percentiles over data sets whose images are drawn with replacement.

    They say how much a score would differ on other images like these, which is often more than two
    papers differ by. They do not say how much it would differ after another training.

    Args:
        images: the result of `kd.training.score_images`, `kd.metrics.InstanceScores`, or an array:
            a score of each image, `(N,)`; of each image and class, `(N, C)`; or a confusion matrix
            of each image, `(N, C, C)`, of which a pooled score is computed. A NaN is no value: the
            mean is over the others.
        score: str, score of confusion matrices, see `kd.metrics.ConfusionMatrix`.
        level: float above 0 and below 1, probability of the interval.
        resamples: int >= 1, drawings.
        seed: int.

    Returns:
        An `Interval` for an array; else a dict of an `Interval` for each score, of the structure of
        `images.scores()`.

    Raises:
        ValueError: for fewer than two images, an array of another shape, a score that is none, or a
            level out of range.

    Reference: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    >>> found = bootstrap([0.5, 0.7, 0.6, 0.9, 0.4, 0.8])
    >>> [round(float(x), 2) for x in found]
    [0.65, 0.52, 0.78]
    """
    source, plain = _source(images, score), not hasattr(images, "of_sums")
    _check_drawing(len(source), level, resamples)
    drawn = _drawn([source], resamples, seed)
    ends = _ends(level)

    def interval(value, values):
        low, high = _percentiles(values, ends)
        return Interval(value, low, high)

    (whole,) = next(drawn)
    found = _combined(interval, whole, [values for (values,) in drawn])
    return found["score"] if plain else found


def paired_bootstrap(
    first: Any,
    second: Any,
    *,
    score: str = "mean_iou",
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Any:
    """Differences between two models on the same images, with intervals.

    Both are scored on the same drawings of images, so what makes images hard for both cancels out.
    If the interval has 0 outside, one is better on images like these.

    Args:
        first: see `bootstrap`.
        second: the same of another model, with the same images in the same order.
        score: see `bootstrap`.
        level: float above 0 and below 1, probability of the interval.
        resamples: int >= 1, drawings.
        seed: int.

    Returns:
        A `Difference` for arrays; else a dict of a `Difference` for each score that both have.

    Raises:
        ValueError: if they are not equally many images; see `bootstrap`.

    >>> found = paired_bootstrap([0.5, 0.7, 0.6, 0.9, 0.4], [0.6, 0.7, 0.7, 0.9, 0.6])
    >>> round(float(found.value), 3), bool(found.low > 0)
    (0.08, True)
    """
    sources = [_source(images, score) for images in (first, second)]
    plain = not hasattr(first, "of_sums")
    if len(sources[0]) != len(sources[1]) or plain != (not hasattr(second, "of_sums")):
        raise ValueError(
            "`first` and `second` must be of the same images, in the same form. "
            f"Received: {len(sources[0])} and {len(sources[1])} images, {type(first).__name__} and "
            f"{type(second).__name__}"
        )
    _check_drawing(len(sources[0]), level, resamples)
    drawn = _drawn(sources, resamples, seed)
    ends = _ends(level)

    def difference(value, values):
        low, high = _percentiles(values, ends)
        values = np.asarray(values)
        known = np.maximum((values == values).sum(0), 1)
        tail = np.minimum((values <= 0).sum(0), (values >= 0).sum(0))
        p = np.minimum(2.0 * (tail + 1) / (known + 1), 1.0)
        return Difference(value, low, high, _float(np.where(np.isnan(value), np.nan, p)))

    pairs = (_combined(lambda b, a: b - a[0], second, [first]) for first, second in drawn)
    found = _combined(difference, next(pairs), list(pairs))
    return found["score"] if plain else found


def _combined(function, first, others):
    """A function of the numbers at each place of dicts of one structure: `(first, [others])`."""
    found = {}
    for key, value in first.items():
        rest = [other[key] for other in others if key in other]
        if len(rest) == len(others):
            plain = not isinstance(value, dict)
            found[key] = function(value, rest) if plain else _combined(function, value, rest)
    return found


class _Rows:
    """Scores of an array of images, in the form of `score_images`."""

    def __init__(self, values: Array, score: str) -> None:
        self.values, self.score = values, score
        if values.ndim == 3:
            self.table = values.reshape(len(values), -1)
        else:
            known = values == values
            self.table = np.concatenate(
                [x.reshape(len(values), -1) for x in (np.where(known, values, 0.0), known)], axis=1
            )

    def rows(self) -> Array:
        return self.table

    def of_sums(self, sums: Array) -> dict[str, Any]:
        shape = self.values.shape[1:]
        if self.values.ndim == 3:
            found = scores(sums.reshape(shape), np)[self.score]
        else:
            total, number = np.split(sums, 2)
            with np.errstate(invalid="ignore", divide="ignore"):
                found = (total / number).reshape(shape)
        return {"score": _float(found)}


def _source(images: Any, score: str) -> Any:
    if hasattr(images, "of_sums"):
        return _Sized(images)
    values: Array = as_array(images, "images").astype("float64")
    if values.ndim not in (1, 2, 3) or values.ndim == 3 and values.shape[1] != values.shape[2]:
        wanted = "scores (N,) or (N, C), or confusion matrices (N, C, C)"
        raise ValueError(f"`images` must be {wanted}. Received: shape {values.shape}")
    if values.ndim == 3:
        _check.choice(score, "score", (*SCORES, *PER_CLASS))
    return _Sized(_Rows(values, score))


class _Sized:
    """A source of scores with its rows at hand."""

    def __init__(self, images: Any) -> None:
        self.table = np.asarray(images.rows(), "float64")
        self.of_sums = images.of_sums

    def __len__(self) -> int:
        return len(self.table)


def _check_drawing(number, level, resamples):
    _check.number(level, "level", above=0, below=1)
    _check.integer(resamples, "resamples", 1)
    if number < 2:
        raise ValueError(f"`images` must be at least 2, to draw from. Received: {number}")


def _drawn(sources: list, resamples: int, seed: int) -> Iterator[list[dict]]:
    """Scores of all images, then those of each drawing, of every source."""
    number = len(sources[0])
    random = np.random.default_rng(_check.integer(seed, "seed", 0))
    yield [source.of_sums(source.table.sum(0)) for source in sources]
    for _ in range(resamples):
        weight = np.bincount(random.integers(0, number, number), minlength=number)
        yield [source.of_sums(weight @ source.table) for source in sources]


def _ends(level: float) -> tuple[float, float]:
    rest = 100 * (1 - level) / 2
    return rest, 100 - rest


def _percentiles(values: list, ends: tuple[float, float]) -> list:
    """Percentiles along the drawings; NaN where a class occurs in none."""
    table = np.asarray(values, "float64")
    rows = table.reshape(len(table), -1).T
    found = np.full((2, len(rows)), np.nan)
    for n, row in enumerate(rows):
        known = row[~np.isnan(row)]
        if known.size:
            found[:, n] = np.percentile(known, ends)
    return [_float(x.reshape(table.shape[1:])) for x in found]


def _float(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value

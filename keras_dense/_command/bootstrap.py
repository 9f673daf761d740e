"""Paired differences of scores with intervals, from confusion matrices of single images."""

from typing import Any

import numpy as np

from keras_dense._types import Array
from keras_dense.metrics.scores import scores


def paired_bootstrap(
    first: Array,
    second: Array,
    *,
    samples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Scores of two predictions of the same images, and the interval of their difference.

    Images are drawn with replacement, the same ones for both, so that what is hard for both cancels
    (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 13).

    Args:
        first, second: `(images, C, C)` confusion matrices, truth i and prediction j at [i, j].
        samples: int, number of draws.
        level: float, the share of draws within the interval.
        seed: int, of the draws.

    Returns:
        For each score of `kd.metrics.ConfusionMatrix.scores` a dict of "first", "second",
        "difference" (the second minus the first), "low" and "high": floats, or arrays of C.

    >>> first = np.array([[[3, 1], [0, 4]], [[2, 2], [1, 3]]])
    >>> found = paired_bootstrap(first, np.array([[[4, 0], [0, 4]]] * 2))["pixel_accuracy"]
    >>> found["difference"], found["low"], found["high"]
    (0.25, 0.125, 0.375)
    """
    rng = np.random.default_rng(seed)
    count = len(first)
    whole = [scores(x.sum(0).astype("float64"), np) for x in (first, second)]
    drawn: dict[str, list] = {name: [] for name in whole[0]}
    for _ in range(samples):
        times = np.bincount(rng.integers(0, count, count), minlength=count).astype("float64")
        a, b = (scores(np.tensordot(times, x, 1), np) for x in (first, second))
        for name in drawn:
            drawn[name].append(b[name] - a[name])
    found = {}
    edges = (50 * (1 - level), 50 * (1 + level))
    for name, differences in drawn.items():
        low, high = _percentiles(np.array(differences), edges)
        one, other = (_plain(x[name]) for x in whole)
        found[name] = {"first": one, "second": other, "difference": other - one}
        found[name] |= {"low": _plain(low), "high": _plain(high)}
    return found


def _percentiles(values: Array, edges: tuple[float, float]) -> tuple[Array, Array]:
    """Percentiles without draws in which a class does not occur."""
    known = ~np.isnan(values).all(0)
    filled = np.where(known, values, 0)
    return tuple(np.where(known, np.nanpercentile(filled, edge, axis=0), np.nan) for edge in edges)


def _plain(x: Any) -> Any:
    return float(x) if np.ndim(x) == 0 else np.asarray(x)

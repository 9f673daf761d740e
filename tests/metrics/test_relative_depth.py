"""Errors of relative inverse depth, beside an evaluation in NumPy."""

import numpy as np
import pytest

from keras_dense.metrics import RelativeDepthErrors
from keras_dense.metrics.depth import SCORES
from keras_dense.testing import check_metric

from .test_depth import batch, errors


def inverse(seed=0):
    """Inverse depth with unknown pixels, and predictions on scales of their own."""
    truth, prediction = batch(seed=seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        truth = np.where(truth > 0, 1 / truth, truth).astype("float32")
    relative = 40 / prediction + np.arange(3).reshape(3, 1, 1, 1) - 1
    return truth, relative.astype("float32")


def evaluate(truth, prediction, low, high):
    rows = []
    for t, p in zip(truth.astype("float64"), prediction[..., 0].astype("float64"), strict=True):
        known = np.isfinite(t) & (t > 1 / high) & (t < 1 / low)
        t, p = t[known], p[known]
        scale, shift = np.polyfit(p, t, 1)
        p = 1 / np.maximum(scale * p + shift, 1 / high)
        rows.append(errors(1 / t, np.clip(p, low, high)))
    return {name: np.mean([row[name] for row in rows]) for name in SCORES}


def test_contract():
    # Twice the same row, so that an image has the same scale and shift as its halves.
    truth, prediction = (np.repeat(x[:2, :1], 2, axis=1) for x in inverse())
    metric = RelativeDepthErrors(max_depth=10.0, reduction="pixel")
    check_metric(metric, truth, prediction)


@pytest.mark.everywhere
def test_scores_by_the_definitions():
    truth, prediction = inverse()
    metric = RelativeDepthErrors("rmse", min_depth=0.8, max_depth=7.0)
    metric.update_state(truth, prediction)
    scores = metric.scores()
    for name, value in evaluate(truth, prediction, 0.8, 7.0).items():
        assert scores[name] == pytest.approx(value, rel=1e-4), name
    # Another scale and shift make no difference.
    other = RelativeDepthErrors("rmse", min_depth=0.8, max_depth=7.0)
    other.update_state(truth, 3 * prediction + 5)
    assert other.scores()["rmse"] == pytest.approx(scores["rmse"], rel=1e-4)


def test_settings():
    assert RelativeDepthErrors().max_depth == 1000.0
    metric = RelativeDepthErrors("delta1", protocol="nyu_bts")
    assert (metric.max_depth, metric.crop) == (10.0, (45, 471, 41, 601))
    again = RelativeDepthErrors.from_config(metric.get_config())
    assert again.get_config() == metric.get_config() and not again.median_scaling


def test_bad_score():
    with pytest.raises(ValueError, match="`score` must be one of"):
        RelativeDepthErrors("whdr")

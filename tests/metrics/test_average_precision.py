"""Mean average precision against sorting in NumPy."""

import numpy as np
import pytest

from keras_dense.metrics import MeanAveragePrecision
from keras_dense.testing import check_metric

RNG = np.random.default_rng(0)


def reference(truth, score):
    """The sum over thresholds, from the definition."""
    found = []
    for c in range(truth.shape[1]):
        known = truth[:, c] != 255
        t, s = truth[known, c], score[known, c]
        if not (t == 1).any():
            continue
        area = last = 0.0
        for threshold in np.unique(s)[::-1]:
            taken = s >= threshold
            recall = t[taken].sum() / t.sum()
            area += (recall - last) * t[taken].mean()
            last = recall
        found.append(area)
    return np.mean(found)


@pytest.mark.everywhere
def test_definition_with_ties_and_unknown_tags():
    truth = RNG.choice([0, 1, 255], (80, 5), p=[0.5, 0.3, 0.2])
    truth[:, 4] = 0  # a class that does not occur
    score = RNG.integers(-20, 20, (80, 5)) / 3.0
    metric = MeanAveragePrecision(5)
    for part in (slice(0, 30), slice(30, 80)):
        metric.update_state(truth[part], score[part])
    assert float(metric.result()) == pytest.approx(reference(truth, score), rel=1e-5)
    scores = metric.scores()
    assert scores["mean_average_precision"] == pytest.approx(reference(truth, score), rel=1e-9)
    assert np.isnan(scores["average_precision"]).tolist() == [False] * 4 + [True]


def test_contract():
    truth = RNG.integers(0, 2, (2, 4, 5, 3))
    check_metric(
        MeanAveragePrecision(3), truth, RNG.normal(size=(2, 4, 5, 3)), perfect=truth * 8.0 - 4
    )


def test_infinite_scores_and_images_without_weight():
    metric = MeanAveragePrecision(1)
    metric.update_state([[1], [0], [0]], [[np.inf], [-np.inf], [9.0]])
    assert float(metric.result()) == 1.0
    metric.update_state([[1]], [[-5.0]], [0.0])
    assert float(metric.result()) == 1.0


def test_bad_inputs():
    with pytest.raises(ValueError, match="`bins` must be an integer >= 2"):
        MeanAveragePrecision(3, bins=1)
    with pytest.raises(ValueError, match=r"must be \(B, 3\). Received: y_true of shape \(2, 2\)"):
        MeanAveragePrecision(3).update_state(np.zeros((2, 2)), np.zeros((2, 3)))
    metric = MeanAveragePrecision(2)
    metric.update_state([[7, 0]], [[0.0, 0.0]])
    assert np.isnan(float(metric.result()))
    with pytest.raises(ValueError, match="1 pixels of y_true name no class"):
        metric.scores()

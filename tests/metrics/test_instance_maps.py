"""Errors of the maps of objects against NumPy."""

import numpy as np
import pytest

from keras_dense.metrics import InstanceMapErrors
from keras_dense.testing import check_metric


def batch(shape=(2, 9, 11)):
    rng = np.random.default_rng(0)
    truth = rng.uniform(0, 1, (*shape, 2))
    truth[..., 0] = truth[..., 0] > 0.6
    truth[..., 1] *= truth[..., 0]
    return truth.astype("float32"), rng.normal(0, 2, (*shape, 2)).astype("float32")


@pytest.mark.parametrize(
    "score", ["foreground_iou", pytest.param("distance_error", marks=pytest.mark.exhaustive)]
)
def test_contract(score):
    truth, logits = batch()
    perfect = np.log(truth.clip(1e-6, 1 - 1e-6) / (1 - truth.clip(1e-6, 1 - 1e-6)))
    check_metric(InstanceMapErrors(score), truth, logits, perfect=perfect)


@pytest.mark.everywhere
@pytest.mark.parametrize("threshold", [0.2])
def test_values(threshold):
    truth, logits = batch()
    truth[0, 3:5] = np.nan
    metric = InstanceMapErrors(threshold=threshold)
    metric.update_state(truth, logits)
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    known = np.isfinite(truth[..., 0])
    true, found = truth[..., 0] == 1, (p[..., 0] > threshold) & known
    wanted = (true & found).sum() / (true | found).sum()
    assert float(metric.result()) == pytest.approx(wanted, rel=1e-6)
    scores = metric.scores()
    error = np.abs(p - truth)[true][:, 1].mean()
    assert scores == pytest.approx({"foreground_iou": wanted, "distance_error": error}, rel=1e-6)
    # Weights choose pixels.
    weight = np.where(known, np.nan_to_num(truth[..., 1]) > 0.5, 1.0)
    metric.reset_state()
    metric.update_state(truth, logits, weight)
    kept = known & (weight > 0)
    wanted = (true & found & kept).sum() / ((true | found) & kept).sum()
    assert float(metric.result()) == pytest.approx(wanted, rel=1e-6)


def test_without_objects():
    truth, logits = np.zeros((1, 3, 4, 2)), np.full((1, 3, 4, 2), -3.0)
    metric = InstanceMapErrors()
    metric.update_state(truth, logits)
    assert np.isnan(float(metric.result())) and np.isnan(metric.scores()["distance_error"])


def test_bad_arguments():
    with pytest.raises(ValueError, match="`score` must be one of 'foreground_iou'"):
        InstanceMapErrors("ap50")
    with pytest.raises(ValueError, match="`threshold` must be a number > 0 and < 1"):
        InstanceMapErrors(threshold=1)
    with pytest.raises(ValueError, match="`y_pred` must have 2 channels"):
        InstanceMapErrors().update_state(np.zeros((1, 3, 4, 2)), np.zeros((1, 3, 4, 3)))

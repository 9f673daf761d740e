"""The loss of the maps of objects against its formula in NumPy, float64."""

import numpy as np
import pytest

from keras_dense import losses
from keras_dense.testing import check_loss
from keras_dense.testing.expect import value_and_gradient


def batch(shape=(2, 5, 7), seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.uniform(0, 1, (*shape, 2))
    truth[..., 0] = truth[..., 0].round()
    return truth.astype("float32"), rng.normal(0, 2, (*shape, 2)).astype("float32")


def expected(truth, logits, distance_weight, weight=None):
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    cost = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)) @ [1.0, distance_weight]
    known = np.isfinite(truth).all(-1)
    return np.average(cost[known], weights=None if weight is None else weight[known])


def test_contract():
    check_loss(losses.InstanceCrossEntropy(), *batch(), void=np.nan)


@pytest.mark.everywhere
@pytest.mark.parametrize("distance_weight", [0.0, 1.0, 2.5])
def test_values(distance_weight):
    truth, logits = batch()
    truth[0, 1:3, 2] = np.nan
    truth[1, 0, 0, 1] = np.nan
    loss = losses.InstanceCrossEntropy(distance_weight)
    wanted = expected(truth, logits, distance_weight)
    assert float(loss(truth, logits)) == pytest.approx(wanted, rel=1e-5)
    weight = np.random.default_rng(1).uniform(0, 2, (2, 5, 7))
    wanted = expected(truth, logits, distance_weight, weight)
    assert float(loss(truth, logits, weight)) == pytest.approx(wanted, rel=1e-5)


def test_the_least_loss_is_that_of_the_truth():
    truth, _ = batch()
    logits = np.log(truth.clip(1e-6, 1 - 1e-6) / (1 - truth.clip(1e-6, 1 - 1e-6)))
    _, gradient = value_and_gradient(losses.InstanceCrossEntropy(), truth, logits)
    assert np.abs(gradient).max() < 1e-6


def test_bad_arguments():
    with pytest.raises(ValueError, match="`distance_weight` must be a number >= 0"):
        losses.InstanceCrossEntropy(-1)
    truth, logits = batch()
    with pytest.raises(ValueError, match="`y_pred` must have 2 channels, foreground and distance"):
        losses.InstanceCrossEntropy()(truth, logits[..., :1])
    with pytest.raises(ValueError, match=r"`y_true` must be \(B, H, W, 2\)"):
        losses.InstanceCrossEntropy()(truth[:, 1:], logits)

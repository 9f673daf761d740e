import numpy as np
import pytest

from keras_dense.losses import CrossEntropy, Focal
from keras_dense.testing.expect import value_and_gradient

from . import reference

COST = {"multiclass": [1.0, 2.0, 0.5, 4.0], "binary": [0.75, 0.25], "multilabel": [1, 2, 3, 4]}


@pytest.mark.parametrize("mode", ["multiclass", "binary", "multilabel"])
def test_gamma_0_is_cross_entropy(mode):
    """The softmax form, not one sigmoid a class; and normalized once, weights or not."""
    labels, logits = reference.batch(mode)
    for cost in (None, COST[mode]):
        ours = float(Focal(mode, class_weight=cost, gamma=0.0)(labels, logits))
        assert ours == pytest.approx(float(CrossEntropy(mode, class_weight=cost)(labels, logits)))


@pytest.mark.everywhere
@pytest.mark.parametrize("mode", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("gamma", [0.5, 2.0, 3.0])
def test_against_numpy(mode, gamma):
    labels, logits = reference.batch(mode)
    weight = np.random.default_rng(1).random(logits.shape[:-1])
    cost = None if mode == "multilabel" else COST[mode]
    loss = Focal(mode, class_weight=cost, gamma=gamma)
    expected = reference.cross_entropy(labels, logits, weight, cost, gamma=gamma)
    assert float(loss(labels, logits, weight)) == pytest.approx(expected, rel=2e-5)


def test_equal_weights_change_nothing():
    labels, logits = reference.batch()
    plain = float(Focal()(labels, logits))
    assert float(Focal(class_weight=[1, 1, 1, 1])(labels, logits)) == pytest.approx(plain)
    assert float(Focal(class_weight=[7, 7, 7, 7])(labels, logits)) == pytest.approx(plain)


def test_gradient():
    labels, logits = reference.batch(shape=(1, 2, 3))
    _, gradient = value_and_gradient(Focal(gamma=1.5), labels, logits)
    expected = reference.numeric_gradient(
        lambda x: reference.cross_entropy(labels, x, gamma=1.5), logits
    )
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


@pytest.mark.parametrize("gamma", [pytest.param(0.1, marks=pytest.mark.everywhere), 0.5, 1.0])
def test_small_powers_of_certainty_have_a_finite_slope(gamma):
    logits = np.array([[[[1e4, -1e4], [-1e4, 1e4], [60.0, 0.0]]]], "float32")
    value, gradient = value_and_gradient(Focal(gamma=gamma), np.array([[[0, 0, 0]]]), logits)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_negative_gamma():
    with pytest.raises(ValueError, match="`gamma` must be a number >= 0"):
        Focal(gamma=-1.0)

import keras
import pytest

from keras_dense.losses import CrossEntropy, Dice, Sum

from . import reference


def test_value_and_nesting():
    labels, logits = reference.batch()
    a, b = CrossEntropy(), Dice()
    expected = 2.0 * float(a(labels, logits)) + 0.5 * float(b(labels, logits))
    assert float(Sum([a, b], [2.0, 0.5])(labels, logits)) == pytest.approx(expected, rel=1e-6)
    nested = Sum([Sum([a], [2.0]), Sum([b], [0.5])])
    assert float(nested(labels, logits)) == pytest.approx(expected, rel=1e-6)
    copy = Sum.from_config(nested.get_config())
    assert float(copy(labels, logits)) == pytest.approx(expected, rel=1e-6)


def test_losses_of_keras_too():
    labels, logits = reference.batch(void=False)
    theirs = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    value = float(Sum([theirs, CrossEntropy()])(labels, logits))
    assert value == pytest.approx(2.0 * float(CrossEntropy()(labels, logits)), rel=1e-5)


def test_bad_options():
    with pytest.raises(ValueError, match="list of at least one loss"):
        Sum([])
    with pytest.raises(ValueError, match="list of at least one loss"):
        Sum("mse")
    with pytest.raises(ValueError, match="`weights` must be one number for each of 2 losses"):
        Sum([CrossEntropy(), Dice()], [1.0])
    with pytest.raises(ValueError, match="keras.losses.Loss instances"):
        Sum([lambda y_true, y_pred: 0.0])

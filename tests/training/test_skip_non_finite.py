import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.training import SkipNonFinite


def network():
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    # No bias before batch normalization: its gradient is mere rounding, which Adam would scale up.
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(4, 3, padding="same", use_bias=False)(x)
    x = layers.Conv2D(3, 1)(layers.BatchNormalization()(x))
    model = keras.Model(image, x)
    head = kd.heads.Segmentation(3)
    model.compile(keras.optimizers.Adam(0.01), **kd.objectives(head))
    return model


def data(bad=None):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (8, 5, 6, 3)).astype("float32")
    y = rng.integers(0, 3, (8, 5, 6)).astype("int32")
    if bad is not None:
        x[2, 1, 1, 0] = bad
    return x, y


def fit(model, x, y, **options):
    options = {"batch_size": 2, "shuffle": False, "verbose": 0, **options}
    return model.fit(x, y, **options).history


def state(model):
    values = [*model.variables, *model.optimizer.variables]
    return [ops.convert_to_numpy(v.value) for v in values]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_batch_is_as_if_it_had_not_been(bad):
    """Weights, averages of batch normalization, the optimizer and the metrics."""
    x, y = data(bad)
    model = network()
    with pytest.warns(UserWarning, match="1 of 4 steps of epoch 1 were skipped"):
        history = fit(model, x, y, callbacks=[SkipNonFinite()])
    good = [0, 1, 4, 5, 6, 7]
    other = network()
    wanted = fit(other, x[good], y[good])
    for a, b in zip(state(model), state(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    assert history["skipped_steps"] == [1.0]
    for key, values in wanted.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5)


def test_good_batches_train_as_without_it_and_nothing_stays():
    model, other = network(), network()
    x, y = data()
    history = fit(model, x, y, epochs=2, callbacks=[SkipNonFinite()])
    assert history["skipped_steps"] == [0.0, 0.0]
    wanted = fit(other, x, y, epochs=2)
    for a, b in zip(state(model), state(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    assert len(model.metrics_variables) == len(other.metrics_variables)
    assert "skipped_steps" not in fit(model, x, y) and set(wanted) < set(history)


def test_too_many_bad_batches_are_an_error():
    x, y = data()
    x[:5, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="3 of 4 steps of epoch 1 were skipped"):
        fit(network(), x, y, callbacks=[SkipNonFinite()])
    with pytest.raises(ValueError, match="`limit` must be a number > 0 and <= 1. Received: limi"):
        SkipNonFinite(limit=0)

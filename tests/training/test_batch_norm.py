import keras
import numpy as np
import pytest

from keras_dense.training import (
    batch_norm_gap,
    batch_norm_momentum,
    freeze_batch_norm,
    recalibrate_batch_norm,
)


def network():
    image = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(name="inner")(keras.layers.Conv2D(4, 1)(image))
    backbone = keras.Model(image, x, name="backbone")
    x = keras.layers.BatchNormalization(name="outer")(backbone(image))
    return keras.Model(image, keras.layers.Conv2D(1, 1)(x))


def test_frozen_layers_stay(tmp_path):
    model = network()
    assert freeze_batch_norm(model) == 2
    model.compile("sgd", loss="mse")
    layers = [model.get_layer("outer"), model.get_layer("backbone").get_layer("inner")]
    before = [keras.ops.convert_to_numpy(w) for layer in layers for w in layer.weights]
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 4, 4, 3)).astype("float32")
    model.fit(x, x[..., :1], epochs=2, verbose=0)
    after = [keras.ops.convert_to_numpy(w) for layer in layers for w in layer.weights]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    # Moving statistics, also while training.
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(x, training=True)),
        keras.ops.convert_to_numpy(model(x, training=False)),
    )

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not again.get_layer("backbone").get_layer("inner").trainable
    assert len(again.trainable_variables) == len(model.trainable_variables) == 4


def test_in_a_sequential():
    inner = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    model = keras.Sequential([keras.Input((2,)), inner])
    assert freeze_batch_norm(model) == 1


def test_bad_arguments():
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        freeze_batch_norm("resnet50")


@pytest.mark.once
def test_momentum_of_every_layer_survives_saving(tmp_path):
    inner = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.BatchNormalization()])
    outer = keras.Sequential([keras.Input((4, 4, 2)), inner, keras.layers.BatchNormalization()])
    assert batch_norm_momentum(outer, 0.5) == 2
    outer.compile("sgd", "mse")
    x = np.full((2, 4, 4, 2), 8.0, "float32")
    outer.train_on_batch(x, x)
    # From 0 half of the way to the mean of the batch.
    np.testing.assert_allclose(inner.layers[0].get_weights()[2], [4.0, 4.0])
    outer.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.layers[0].layers[0].momentum == again.layers[1].momentum == 0.5


@pytest.mark.once
@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_momentum_out_of_range(momentum):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match=r"`momentum` must be a number >= 0 and < 1"):
        batch_norm_momentum(model, momentum)


def test_recalibrated_statistics_are_means_over_the_batches():
    model = network()
    batch_norm_momentum(model, 0.9)
    model.get_layer("outer").trainable = False
    rng = np.random.default_rng(0)
    batches = [(rng.normal(3.0, 2.0, (4, 4, 4, 3)).astype("float32"), None) for _ in range(3)]
    before = [keras.ops.convert_to_numpy(w) for w in model.trainable_variables]
    assert recalibrate_batch_norm(model, batches) == 1
    inner = model.get_layer("backbone").get_layer("inner")
    convolution = keras.Model(model.get_layer("backbone").input, inner.input)
    maps = [keras.ops.convert_to_numpy(convolution(x)) for x, _ in batches]
    mean = np.mean([m.mean((0, 1, 2)) for m in maps], 0)
    variance = np.mean([m.var((0, 1, 2)) for m in maps], 0)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(inner.moving_mean), mean, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(inner.moving_variance), variance, rtol=1e-4, atol=1e-5
    )
    assert inner.momentum == 0.9
    for a, b in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, keras.ops.convert_to_numpy(b))
    recalibrate_batch_norm(model, batches, steps=1)
    got = keras.ops.convert_to_numpy(inner.moving_mean)
    np.testing.assert_allclose(got, maps[0].mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="`batches` must hold at least one batch"):
        recalibrate_batch_norm(model, [])


def test_recalibration_that_keeps_the_function():
    model, rng = network(), np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, (4, 4, 4, 3)).astype("float32") for _ in range(3)]
    for layer in _norms(model):
        weights = [rng.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()]
        layer.set_weights(weights)
    inner = model.get_layer("backbone").get_layer("inner")
    convolution = keras.Model(model.get_layer("backbone").input, inner.input)
    maps = np.concatenate([keras.ops.convert_to_numpy(convolution(x)) for x in batches])
    before = [model.predict(x, verbose=0) for x in batches]
    assert recalibrate_batch_norm(model, batches, keep_function=True) == 2
    after = [model.predict(x, verbose=0) for x in batches]
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4 * np.abs(before).max())
    gamma, beta, mean, variance = inner.get_weights()
    np.testing.assert_allclose(mean, maps.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(variance, maps.var((0, 1, 2)), rtol=1e-4, atol=1e-5)
    # A step of training starts where inference is: statistics of a batch are about the same.
    whole = np.concatenate(batches)
    trained = keras.ops.convert_to_numpy(model(whole, training=True))
    np.testing.assert_allclose(
        trained, np.concatenate(after), atol=2e-2 * np.abs(before).max(), rtol=0
    )
    assert "call" not in vars(inner)


@pytest.mark.once
def test_a_function_that_cannot_be_kept():
    image = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(scale=False, name="bare")(image)
    with pytest.raises(ValueError, match="`keep_function` must be False.*Received: bare"):
        recalibrate_batch_norm(keras.Model(image, x), [np.ones((1, 4, 4, 3))], keep_function=True)


def _norms(model):
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    nested = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return layers + [norm for inner in nested for norm in _norms(inner)]


@pytest.mark.once
def test_numbers_that_would_be_every_statistic():
    model = keras.Sequential([keras.Input((2,)), keras.layers.BatchNormalization()])
    good, bad = np.array([[1.0, 5.0]]), np.array([[1.0, np.nan]])
    with pytest.raises(ValueError, match="`batches` must be finite.* Batch 1 is not"):
        recalibrate_batch_norm(model, [good, bad])
    assert recalibrate_batch_norm(model, [good] * 3, steps=np.int64(2)) == 1
    assert batch_norm_momentum(model, np.float32(0.5)) == 1 and model.layers[0].momentum == 0.5
    with pytest.raises(ValueError, match="`steps` must be an integer >= 1. Received: steps=0"):
        recalibrate_batch_norm(model, [good], steps=0)
    with pytest.raises(
        ValueError, match=r"`momentum` must be a number >= 0 and < 1. Received: .*True"
    ):
        batch_norm_momentum(model, True)


def test_the_gap_between_moving_and_batch_statistics():
    model = network()
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, (4, 4, 4, 3)).astype("float32") for _ in range(3)]
    before = [w.copy() for w in model.get_weights()]
    wide = batch_norm_gap(model, batches, steps=2)
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert wide > 1
    recalibrate_batch_norm(model, batches)
    assert batch_norm_gap(model, batches) < 1e-3 < batch_norm_gap(model, batches[:1]) < wide
    # The second layer twice as wide: a factor of 2 is a gap of log 2.
    model.get_layer("outer").moving_variance.assign(
        4 * keras.ops.convert_to_numpy(model.get_layer("outer").moving_variance)
    )
    assert batch_norm_gap(model, batches) == pytest.approx(np.log(2), abs=0.01)
    freeze_batch_norm(model)
    assert batch_norm_gap(model, batches) == 0


def test_bad_batches_for_the_gap():
    model = network()
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(ValueError, match="must hold at least one batch"):
        batch_norm_gap(model, [])
    with pytest.raises(ValueError, match="must be finite"):
        batch_norm_gap(model, [np.ones((1, 4, 4, 3)), np.full((1, 4, 4, 3), np.nan)])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

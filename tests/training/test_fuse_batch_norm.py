"""Batch norm by one operation against that of Keras, and against NumPy in float64."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.ops.batch_norm import normalize_batch, normalize_batch_by_parts


def network(seed=0, dtype=None):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, strides=2, use_bias=False, dtype=dtype)(image)
    x = layers.BatchNormalization(momentum=0.8, epsilon=1e-3, dtype=dtype)(x)
    x = layers.ReLU(dtype=dtype)(x)
    x = layers.Conv2D(5, 1, dtype=dtype)(x)
    x = layers.BatchNormalization(scale=False, dtype=dtype)(x)
    x = layers.BatchNormalization(dtype=dtype)(x)
    return keras.Model(image, layers.Conv2D(2, 1, dtype="float32")(x))


def trained(model, steps=3):
    rng = np.random.default_rng(0)
    model.compile(keras.optimizers.SGD(0.1), loss="mean_squared_error")
    losses = []
    for _ in range(steps):
        x = rng.normal(20, 30, (2, 13, 17, 3)).astype("float32")
        y = rng.normal(size=(2, 6, 8, 2)).astype("float32")
        losses.append(float(np.asarray(model.train_on_batch(x, y))))
    return losses, model.get_weights()


@pytest.mark.parametrize("dtype", [None, "mixed_bfloat16"])
def test_trains_as_keras_does(dtype):
    plain, fused = network(dtype=dtype), network(dtype=dtype)
    assert kd.training.fuse_batch_norm(fused) == 2  # one of the three has no scale
    (wanted, weights), (losses, found) = trained(plain), trained(fused)
    loose = dtype is not None
    np.testing.assert_allclose(losses, wanted, rtol=2e-2 if loose else 2e-5)
    for a, b in zip(found, weights, strict=True):
        np.testing.assert_allclose(a, b, atol=0.05 if loose else 2e-5, rtol=0.05 if loose else 2e-4)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 2), (3, 1, 4, 1)])
def test_statistics_of_a_batch(shape, dtype):
    rng = np.random.default_rng(0)
    x = ops.cast(rng.normal(1, 2, shape), dtype)
    gamma, beta = rng.uniform(0.5, 2, shape[-1:]), rng.normal(size=shape[-1:])
    exact = np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")), "float64")
    mean, variance = exact.mean((0, 1, 2)), exact.var((0, 1, 2))
    wanted = (exact - mean) / np.sqrt(variance + 1e-2) * gamma + beta
    for function in (normalize_batch, normalize_batch_by_parts):
        y, *found = function(x, gamma.astype("float32"), beta.astype("float32"), 1e-2)
        assert keras.backend.standardize_dtype(y.dtype) == dtype
        atol = {"float32": 2e-6, "bfloat16": 4e-2, "float16": 5e-3}[dtype]
        y = ops.convert_to_numpy(ops.cast(y, "float32"))
        np.testing.assert_allclose(y, wanted, atol=atol)
        for a, b in zip(found, (mean, variance), strict=True):
            np.testing.assert_allclose(ops.convert_to_numpy(a), b, atol=1e-5)


def test_predictions_files_and_frozen_layers_are_those_of_keras(tmp_path):
    model = network()
    trained(model)
    x = np.random.default_rng(1).normal(20, 30, (1, 13, 17, 3)).astype("float32")
    wanted = model.predict(x, verbose=0)
    kd.training.fuse_batch_norm(model)
    np.testing.assert_array_equal(model.predict(x, verbose=0), wanted)
    kd.training.freeze_batch_norm(model)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(x, training=True)), wanted, rtol=1e-5, atol=1e-5
    )
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert all(type(layer).__module__.startswith("keras.") for layer in loaded.layers)
    np.testing.assert_allclose(loaded.predict(x, verbose=0), wanted, rtol=1e-6, atol=1e-6)


def test_statistics_are_recalibrated_alike():
    batches = [np.random.default_rng(n).normal(20, 30, (2, 13, 17, 3)) for n in range(3)]
    models = network(), network()
    kd.training.fuse_batch_norm(models[1])
    for model in models:
        kd.training.recalibrate_batch_norm(model, [b.astype("float32") for b in batches])
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_bad_model():
    with pytest.raises(TypeError, match="`model` must be a Keras model. Received: model=3"):
        kd.training.fuse_batch_norm(3)

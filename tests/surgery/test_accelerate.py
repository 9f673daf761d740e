"""Accelerated layers against those of Keras, and batch norm against NumPy in float64."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.ops.batch_norm import normalize_batch, normalize_batch_by_parts

pytestmark = pytest.mark.everywhere
BACKEND = keras.backend.backend()
LAYERS = {
    "conv": lambda: layers.Conv2D(5, (3, 2), activation="relu"),
    "same": lambda: layers.Conv2D(5, 4, padding="same"),
    "strided": lambda: layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
    "dilated": lambda: layers.Conv2D(4, 3, dilation_rate=(2, 1), padding="same"),
    "grouped": lambda: layers.Conv2D(8, 3, groups=2),
    "single": lambda: layers.Conv2D(7, 1),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2, activation="tanh"),
    "depthwise strided": lambda: layers.DepthwiseConv2D(3, strides=2, padding="same"),
    "separable": lambda: layers.SeparableConv2D(5, 3, padding="same", activation="relu"),
    "transposed": lambda: layers.Conv2DTranspose(5, 2, strides=2, activation="relu"),
    "transposed, same": lambda: layers.Conv2DTranspose(5, 4, strides=2, padding="same"),
    "transposed, odd": lambda: layers.Conv2DTranspose(5, 3, strides=2, padding="same"),
    "transposed, valid": lambda: layers.Conv2DTranspose(5, 4, strides=2, use_bias=False),
    "maximum": lambda: layers.MaxPooling2D(3, strides=2),
    "maximum, same": lambda: layers.MaxPooling2D(3, strides=2, padding="same"),
    "mean": lambda: layers.AveragePooling2D((2, 3)),
    "mean, same": lambda: layers.AveragePooling2D(2, padding="same"),
}


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
    # Of the three normalizations, one has no scale.
    assert kd.surgery.accelerate(fused) == {"torch": 5, "tensorflow": 2}.get(BACKEND, 0)
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
    kd.surgery.accelerate(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), wanted, rtol=1e-5, atol=1e-6)
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
    kd.surgery.accelerate(models[1])
    for model in models:
        kd.training.recalibrate_batch_norm(model, [b.astype("float32") for b in batches])
    for a, b in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def layered(build, dtype):
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 4))
    x = layers.Conv2D(4, 1, name="first", dtype=dtype)(image)  # so that maps have gradients
    layer = build()
    layer = type(layer).from_config({**layer.get_config(), "dtype": dtype})
    return keras.Model(image, layer(x))


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("size", [(8, 12), (9, 13)])
@pytest.mark.parametrize("kind", LAYERS)
def test_layers_compute_as_those_of_keras(kind, size, dtype):
    plain, fast = layered(LAYERS[kind], dtype), layered(LAYERS[kind], dtype)
    if BACKEND == "torch":
        assert kd.surgery.accelerate(fast) == 2
    else:
        kd.surgery.accelerate(fast)
    x = np.random.default_rng(0).normal(size=(2, *size, 4)).astype("float32")
    wanted = ops.convert_to_numpy(ops.cast(plain(x), "float32"))
    loose = {"rtol": 0.03, "atol": 0.03} if dtype != "float32" else {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(ops.convert_to_numpy(ops.cast(fast(x), "float32")), wanted, **loose)
    target = np.random.default_rng(1).normal(size=wanted.shape).astype("float32")
    for model in (plain, fast):  # one step of size 1: the weights move by the gradient
        model.compile(keras.optimizers.SGD(1.0), loss="mean_squared_error")
        model.train_on_batch(x, target)
    for a, b in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, **loose)


@pytest.mark.parametrize(
    "optimizer", ["adam", keras.optimizers.SGD(0.05, momentum=0.9)], ids=["adam", "momentum"]
)
def test_kernels_and_the_optimizer_are_laid_out_alike(optimizer, tmp_path):
    def fitted(fast):
        model = network()
        if fast:
            kd.surgery.accelerate(model)
        config = keras.optimizers.serialize(keras.optimizers.get(optimizer))
        model.compile(keras.optimizers.deserialize(config), loss="mean_squared_error")
        rng = np.random.default_rng(0)
        for _ in range(4):
            x = rng.normal(20, 30, (2, 13, 17, 3)).astype("float32")
            model.train_on_batch(x, rng.normal(size=(2, 6, 8, 2)).astype("float32"))
        return model

    plain, fast = fitted(False), fitted(True)
    # Adam divides by the gradient, and one in front of a batch norm is noise.
    for a, b in zip(fast.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    if BACKEND == "torch":
        import torch

        kernel = fast.layers[1].kernel
        kept = [v for v in fast.optimizer.variables if tuple(v.shape) == tuple(kernel.shape)]
        assert kept and len({v.value.stride() for v in (kernel, *kept)}) == 1
        turned = kernel.value.permute(3, 2, 0, 1)
        assert turned.is_contiguous(memory_format=torch.channels_last)
    fast.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for a, b in zip(loaded.optimizer.variables, fast.optimizer.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b))


@pytest.mark.parametrize("name", ["MobileNetV2", "ResNet50", "DenseNet121"])
def test_networks_keep_their_numbers(name):
    keras.utils.set_random_seed(0)
    shape = {"include_top": False, "weights": None, "input_shape": (None, None, 3)}
    model = getattr(keras.applications, name)(**shape)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 65, 97, 3)).astype("float32")
    wanted = ops.convert_to_numpy(model(x))
    kd.surgery.accelerate(model)
    found = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_builders_accelerate_and_layers_of_ones_own_stay():
    class Mine(layers.Conv2D):
        pass

    image = keras.Input((None, None, 3))
    mine, first = Mine(4, 1), layers.Conv2D(4, 1, data_format="channels_first")
    model = keras.Model(image, mine(image))
    assert kd.surgery.accelerate(model) == 0 and "call" not in vars(mine)
    assert kd.surgery.accelerate(first) == 0
    built = kd.fcn32s(kd.backbone("mobilenet_v2", weights=None, alpha=0.35), 3)
    assert kd.surgery.accelerate(built) == 0  # nothing is left to do


def test_bad_model():
    with pytest.raises(TypeError, match="`model` must be a Keras model. Received: model=3"):
        kd.surgery.accelerate(3)

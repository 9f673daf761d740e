import keras
import numpy as np
import pytest

from keras_dense.training import LayerwiseOptimizer, layerwise

STEPS = 6


def network():
    keras.utils.set_random_seed(3)
    image = keras.Input((6,))
    backbone = keras.Sequential([image, keras.layers.Dense(5, "tanh", name="a")], name="backbone")
    x = keras.layers.Dense(4, "tanh", name="middle")(backbone(image))
    return keras.Model(image, keras.layers.Dense(2, name="head")(x))


def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(24, 6)).astype("float32"), rng.normal(size=(24, 2)).astype("float32")


def train(model, optimizer, epochs=1):
    model.compile(optimizer, loss="mse")
    model.fit(*data(), batch_size=4, epochs=epochs, shuffle=False, verbose=0)
    return [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]


def sgd(rate):
    schedule = keras.optimizers.schedules.PolynomialDecay(rate, STEPS, 0.0, power=0.9)
    return keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True)


def adamw(rate):
    return keras.optimizers.AdamW(rate, weight_decay=0.1)


def clipped(rate):
    return keras.optimizers.Adam(rate, global_clipnorm=0.01)


def accumulating(rate):
    return keras.optimizers.SGD(rate, gradient_accumulation_steps=2)


@pytest.mark.parametrize(
    "make",
    [adamw, accumulating, *(pytest.param(m, marks=pytest.mark.once) for m in (sgd, clipped))],
)
def test_factors_of_one_change_nothing(make):
    plain = train(network(), make(0.05))
    model = network()
    same = train(model, layerwise(model, make(0.05), {"backbone": 1.0}))
    for a, b in zip(plain, same, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("make", [sgd, pytest.param(adamw, marks=pytest.mark.once)])
def test_zero_freezes(make):
    model = network()
    start = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    end = train(model, layerwise(model, make(0.05), {"backbone": 0.0, "middle": 0.0}))
    for a, b in zip(start[:4], end[:4], strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(np.any(a != b) for a, b in zip(start[4:], end[4:], strict=True))


@pytest.mark.parametrize("make", [sgd, adamw, accumulating])
@pytest.mark.parametrize("factor", [0.1, 2.0])
def test_equals_one_optimizer_for_each_group(make, factor):
    """The same gradients through two optimizers, the second at `factor` times the rate."""
    rng = np.random.default_rng(1)
    start = [rng.normal(size=shape).astype("float32") for shape in [(3, 2), (2,), (4, 4)]]
    steps = [[rng.normal(size=v.shape).astype("float32") for v in start] for _ in range(STEPS)]

    together = [keras.Variable(v) for v in start]
    optimizer = LayerwiseOptimizer(make(0.05), [factor, 1.0, factor])
    apart = [keras.Variable(v) for v in start]
    slow, fast = make(0.05 * factor), make(0.05)
    for grads in steps:
        grads = [keras.ops.convert_to_tensor(g) for g in grads]
        optimizer.apply(grads, together)
        slow.apply([grads[0], grads[2]], [apart[0], apart[2]])
        fast.apply([grads[1]], [apart[1]])
    for a, b in zip(together, apart, strict=True):
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), rtol=2e-6, atol=2e-6
        )


@pytest.mark.parametrize("make", [sgd, pytest.param(adamw, marks=pytest.mark.once)])
def test_a_saved_model_goes_on_exactly(make, tmp_path):
    whole = network()
    expected = train(whole, layerwise(whole, make(0.01), {"backbone": 0.1, "head": 2.0}), epochs=2)

    half = network()
    half.compile(layerwise(half, make(0.01), {"backbone": 0.1, "head": 2.0}), loss="mse")
    half.fit(*data(), batch_size=4, epochs=1, shuffle=False, verbose=0)
    half.save(tmp_path / "half.keras")
    again = keras.saving.load_model(tmp_path / "half.keras")
    assert isinstance(again.optimizer, LayerwiseOptimizer)
    assert int(again.optimizer.iterations) == STEPS
    again.fit(*data(), batch_size=4, epochs=1, shuffle=False, verbose=0)
    for a, b in zip(expected, again.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, keras.ops.convert_to_numpy(b))


def test_loss_scaling_around_it():
    """float16 training wraps the optimizer once more, and its own state travels along."""
    plain = network()
    train(plain, keras.optimizers.LossScaleOptimizer(adamw(0.05), initial_scale=4.0))
    model = network()
    inner = layerwise(model, adamw(0.05), {"backbone": 0.1})
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    start = [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]
    end = train(model, optimizer)
    assert all(np.any(a != b) for a, b in zip(start, end, strict=True))
    assert int(inner.iterations) == STEPS

    keras.config.set_dtype_policy("mixed_float16")
    model = network()
    values = train(model, layerwise(model, sgd(0.01), {"backbone": 0.1}))
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert all(np.all(np.isfinite(v)) for v in values)


@pytest.mark.once
def test_the_rate_can_be_read_and_set():
    model = network()
    optimizer = layerwise(model, keras.optimizers.SGD(0.5), {"backbone": 0.1})
    optimizer.learning_rate = 0.25
    assert float(optimizer.learning_rate) == 0.25
    assert float(optimizer.optimizer.learning_rate) == 0.25


@pytest.mark.once
def test_names():
    model = network()
    found = layerwise(model, "sgd", {"backbone": 0.1, "backbone/a": 0.5, "head": 3}).multipliers
    assert found == [0.5, 0.5, 1.0, 1.0, 3.0, 3.0]
    biases = layerwise(model, "sgd", lambda v: 2.0 if v.name == "bias" else 1.0).multipliers
    assert biases == [1.0, 2.0] * 3


def test_bad_arguments():
    model = network()
    with pytest.raises(ValueError, match=r"names \['trunc'\].*'backbone', 'middle', 'head'"):
        layerwise(model, "sgd", {"trunc": 0.1})
    with pytest.raises(ValueError, match="`multipliers` must be a number >= 0. Received"):
        layerwise(model, "sgd", {"backbone": -1})
    with pytest.raises(TypeError, match="`multipliers` must be a dict"):
        layerwise(model, "sgd", 0.1)
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        layerwise("model", "sgd", {})
    with pytest.raises(ValueError, match="use_ema"):
        layerwise(model, keras.optimizers.SGD(use_ema=True), {})
    with pytest.raises(ValueError, match="LossScaleOptimizer"):
        layerwise(model, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), {})
    optimizer = layerwise(model, "sgd", {"backbone": 0.1})
    model.get_layer("backbone").trainable = False
    with pytest.raises(ValueError, match="6 multipliers.*now trains 4"):
        optimizer.build(model.trainable_variables)
    with pytest.raises(ValueError, match="no trainable variables"):
        model.trainable = False
        layerwise(model, "sgd", {})

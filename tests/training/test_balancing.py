"""Balancers: their formulas, in `fit`, saved and taken up again, on every backend."""

import math
import warnings

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.training import (
    DynamicWeightAverage,
    LogSum,
    RandomWeighting,
    UncertaintyWeighting,
    balanced,
)

BALANCERS = [UncertaintyWeighting, DynamicWeightAverage, RandomWeighting, LogSum]
TASKS = ("a", "b", "c")


@keras.saving.register_keras_serializable("test_balancing")
class Given(keras.losses.Loss):
    """The mean of the targets plus 0 times the prediction."""

    def call(self, y_true, y_pred):
        return ops.mean(y_true, axis=(1, 2, 3)) + 0.0 * ops.mean(y_pred, axis=(1, 2, 3))


def network(bias=True, regularizer=None):
    """Three outputs that are constant over the image: each is its bias."""
    image = keras.Input((None, None, 3), name="image")
    outputs = {
        key: keras.layers.Conv2D(
            1, 1, kernel_initializer="zeros", use_bias=bias, name=key, bias_regularizer=regularizer
        )(image)
        for key in reversed(TASKS)
    }
    return keras.Model(image, outputs, name="three")


def data(*values, count=4):
    """Images of zeros, and for each task a constant target."""
    y = {
        key: np.full((count, 2, 2, 1), value, "float32")
        for key, value in zip(TASKS, values, strict=True)
    }
    return np.zeros((count, 2, 2, 3), "float32"), y


def compiled(balancer, loss="mse", optimizer=None, **options):
    model = balanced(network(), balancer)
    loss = dict.fromkeys(TASKS, loss)
    model.compile(optimizer or keras.optimizers.SGD(0.0), loss=loss, **options)
    return model


def values(weights):
    return [weights[key] for key in TASKS]


def biases(model):
    return [float(ops.convert_to_numpy(model.get_layer(key).bias)[0]) for key in TASKS]


def test_uncertainty_takes_the_step_of_its_formula():
    """Losses y², so dL/dp = -2 y at p = 0; s = -0.5."""
    model = compiled(UncertaintyWeighting(), optimizer=keras.optimizers.SGD(0.1))
    x, y = data(1.0, 2.0, 0.5)
    losses, s = np.array([1.0, 4.0, 0.25]), -0.5
    history = model.fit(x, y, verbose=0).history
    np.testing.assert_allclose(
        history["loss"][0], np.sum(losses / (2 * np.exp(s)) + s / 2), rtol=1e-5
    )
    for key, loss in zip(TASKS, losses, strict=True):
        np.testing.assert_allclose(history[f"{key}_loss"][0], loss, rtol=1e-6)
    step = 0.1 * 2 * np.sqrt(losses) / (2 * np.exp(s))
    np.testing.assert_allclose(biases(model), step, rtol=1e-5)
    log_variance = s - 0.1 * (0.5 - losses / (2 * np.exp(s)))
    found = ops.convert_to_numpy(model.balancer.log_variance)
    np.testing.assert_allclose(found, log_variance, rtol=1e-5)
    weights = 0.5 * np.exp(-log_variance)
    np.testing.assert_allclose(values(model.balancer.current()), weights, rtol=1e-5)
    np.testing.assert_allclose([history[f"{k}_weight"][0] for k in TASKS], weights, rtol=1e-5)


@pytest.mark.once
def test_uncertainty_converges_to_the_logarithm_of_the_loss():
    model = compiled(UncertaintyWeighting(), Given(), keras.optimizers.Adam(0.1))
    losses = np.array([3.0, 0.02, 10.0])
    x, y = data(*losses, count=2)
    model.fit(x.repeat(100, 0), {k: v.repeat(100, 0) for k, v in y.items()}, 1, verbose=0)
    model.optimizer.learning_rate = 0.01
    model.fit(x.repeat(50, 0), {k: v.repeat(50, 0) for k, v in y.items()}, 1, verbose=0)
    s = ops.convert_to_numpy(model.balancer.log_variance)
    np.testing.assert_allclose(s, np.log(losses), atol=0.02)


@pytest.mark.once
def test_uncertainty_is_clipped_and_comes_back():
    model = compiled(UncertaintyWeighting(), Given(), keras.optimizers.SGD(1.0))
    model.fit(*data(1e6, 1.0, 1.0), verbose=0)
    s = model.balancer.log_variance
    assert ops.convert_to_numpy(s)[0] == 10.0
    model.fit(*data(1.0, 1.0, 1.0), verbose=0)
    np.testing.assert_allclose(ops.convert_to_numpy(s)[0], 9.5, atol=1e-3)


@pytest.mark.parametrize("wrap", [False, True])
def test_uncertainty_does_not_decay(wrap):
    model = balanced(network(), UncertaintyWeighting(initial=1.0))
    optimizer = keras.optimizers.SGD(0.1, weight_decay=0.5)
    kept = model.get_layer("a").bias
    optimizer.exclude_from_weight_decay(var_list=[kept])
    for key in TASKS:
        model.get_layer(key).bias.assign([1.0])
    outer = kd.training.layerwise(model, optimizer, {"c": 0.5}) if wrap else optimizer
    model.compile(outer, loss=dict.fromkeys(TASKS, Given()))
    model.fit(*data(math.e, math.e, math.e), verbose=0)  # s = 1 is the best already
    np.testing.assert_allclose(ops.convert_to_numpy(model.balancer.log_variance), 1.0, atol=1e-6)
    np.testing.assert_allclose(biases(model), [1.0, 0.95, 0.975 if wrap else 0.95], atol=1e-6)


def averages(history, temperature):
    """The weights after each epoch, from the epochs' losses."""
    out = []
    for last in range(len(history)):
        ratio = history[last] / history[last - 1] if last else np.ones(3)
        share = np.exp(ratio / temperature)
        out.append(3 * share / share.sum())
    return out


def test_dynamic_weight_average_follows_the_formula():
    model = compiled(DynamicWeightAverage(temperature=1.5), Given())
    epochs = np.array([[1.0, 4.0, 2.0], [0.5, 4.0, 1.9], [0.4, 1.0, 2.5], [0.4, 0.5, 2.0]])
    wanted = averages(epochs, 1.5)
    weights = np.ones(3)
    for epoch, (losses, after) in enumerate(zip(epochs, wanted, strict=True)):
        history = model.fit(
            *data(*losses), initial_epoch=epoch, epochs=epoch + 1, verbose=0
        ).history
        used = [history[f"{key}_weight"][0] for key in TASKS]
        np.testing.assert_allclose(used, weights, rtol=1e-5)
        np.testing.assert_allclose(history["loss"][0], np.sum(weights * losses), rtol=1e-5)
        np.testing.assert_allclose(values(model.balancer.current()), after, rtol=1e-5)
        weights = after
    assert np.ptp(weights) > 0.1


def test_dynamic_weight_average_within_one_fit():
    """The weights of epoch 3 come from the logged losses of epochs 1 and 2, without a new trace."""
    model = compiled(DynamicWeightAverage(), optimizer=keras.optimizers.SGD(0.1))
    x, y = data(1.0, 2.0, 0.1, count=5)
    y["c"][::2] += 1.0
    history = model.fit(x, y, batch_size=2, epochs=4, shuffle=False, verbose=0).history
    losses = np.stack([history[f"{key}_loss"] for key in TASKS], 1)
    weights = np.stack([history[f"{key}_weight"] for key in TASKS], 1)
    np.testing.assert_allclose(weights[:2], 1.0)
    wanted = averages(losses, 2.0)
    np.testing.assert_allclose(weights[2], wanted[1], rtol=1e-4)
    np.testing.assert_allclose(weights[3], wanted[2], rtol=1e-4)
    assert np.ptp(weights[3]) > 1e-3


def drawn(seed, count):
    balancer = RandomWeighting(seed)
    balancer.attach(TASKS)
    losses, weights = ops.ones((3,)), []
    for _ in range(count):
        balancer.total(losses, ops.ones(()), training=True)
        weights.append(values(balancer.current()))
    return np.array(weights)


@pytest.mark.once
def test_random_weights_are_softmax_of_normals():
    seen = drawn(7, 1500)
    np.testing.assert_allclose(seen.sum(1), 3.0, rtol=1e-5)
    logs = np.log(seen)
    z = logs - logs.mean(1, keepdims=True)  # normals minus their mean: variance 2 / 3
    # Four standard errors of 1500 draws.
    np.testing.assert_allclose(z.std(0), math.sqrt(2 / 3), rtol=4 / math.sqrt(2 * 1500))
    np.testing.assert_allclose(z.mean(0), 0.0, atol=4 * math.sqrt(2 / 3 / 1500))


@pytest.mark.once
def test_random_weights_follow_the_seed():
    seen = drawn(0, 8)
    np.testing.assert_array_equal(drawn(0, 8), seen)
    for other in (drawn(1, 8), drawn(2, 8)):  # nor the same, some steps later
        assert not np.isclose(other[:, None], seen[None], rtol=1e-4).all(-1).any()


def test_random_weights_in_training():
    model = compiled(RandomWeighting(seed=7), Given())
    x, y = data(1.0, 10.0, 100.0, count=1)
    for weights in drawn(7, 4):
        loss = model.train_on_batch(x, y, return_dict=True)["loss"]
        model.reset_metrics()
        np.testing.assert_allclose(values(model.balancer.current()), weights, rtol=1e-5)
        np.testing.assert_allclose(loss, np.dot(weights, [1, 10, 100]), rtol=1e-4)
    assert model.test_on_batch(x, y, return_dict=True)["loss"] == pytest.approx(111.0)


def test_log_sum_takes_the_step_of_its_formula():
    model = compiled(LogSum(), optimizer=keras.optimizers.SGD(0.1))
    x, y = data(1.0, 2.0, 0.5)
    losses = np.array([1.0, 4.0, 0.25])
    history = model.fit(x, y, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], np.log(losses).sum(), atol=1e-5)
    np.testing.assert_allclose(biases(model), 0.1 * 2 * np.sqrt(losses) / losses, rtol=1e-5)
    np.testing.assert_allclose(values(model.balancer.current()), 1 / losses, rtol=1e-5)


@pytest.mark.once
def test_loss_weights_come_first_and_penalties_stay():
    model = balanced(network(regularizer=keras.regularizers.L2(0.5)), DynamicWeightAverage())
    for key in TASKS:
        model.get_layer(key).bias.assign([1.0])
    model.compile(
        keras.optimizers.SGD(0.0),
        loss={"a": Given(), "b": "mse", "c": "mae"},
        loss_weights={"a": 2.0, "b": 1.0, "c": 0.5},
    )
    x, y = data(3.0, 3.0, 3.0)
    found = model.evaluate(x, y, return_dict=True, verbose=0)
    assert found["loss"] == pytest.approx(2 * 3 + 4 + 0.5 * 2 + 3 * 0.5)
    assert [found[f"{key}_loss"] for key in TASKS] == pytest.approx([3.0, 4.0, 2.0])


@pytest.mark.parametrize(
    "kind", [*BALANCERS[:2], *(pytest.param(k, marks=pytest.mark.once) for k in BALANCERS[2:])]
)
def test_unknown_tasks_are_left_alone(kind):
    """Task b has no known target: its loss is exactly 0."""
    model = compiled(kind(), Given(), keras.optimizers.SGD(0.1))
    before = None
    if kind is UncertaintyWeighting:
        before = ops.convert_to_numpy(model.balancer.log_variance).copy()
    loss = model.fit(*data(0.0, 0.0, 0.0), epochs=3, verbose=0).history["loss"]
    assert loss == [0.0] * 3
    history = model.fit(*data(2.0, 0.0, 1.0), epochs=3, verbose=0).history
    assert np.isfinite([v for values in history.values() for v in values]).all()
    if kind is UncertaintyWeighting:
        after = ops.convert_to_numpy(model.balancer.log_variance)
        assert after[1] == before[1] and after[0] != before[0]
    if kind is DynamicWeightAverage:
        np.testing.assert_allclose(values(model.balancer.current()), 1.0, rtol=1e-6)


@pytest.mark.parametrize("kind", BALANCERS)
def test_saved_and_taken_up_again(kind, tmp_path):
    """Four epochs equal two, a save, a load and two more; without `custom_objects`."""

    def fit(model, epochs, first=0):
        x, y = data(1.0, 2.0, 0.5, count=6)
        return model.fit(
            x, y, 2, epochs=epochs, initial_epoch=first, shuffle=False, verbose=0
        ).history

    adam = lambda: keras.optimizers.AdamW(0.05, weight_decay=0.1)  # noqa: E731
    whole = compiled(kind(), optimizer=adam())
    fit(whole, 4)
    model = compiled(kind(), optimizer=adam())
    fit(model, 2)
    model.save(tmp_path / "m.keras")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded) is type(model) and loaded.name == "three"
    assert loaded.balancer.current() == pytest.approx(model.balancer.current(), rel=1e-6)
    assert loaded.balancer.get_config() == model.balancer.get_config()
    fit(loaded, 4, first=2)
    np.testing.assert_allclose(biases(loaded), biases(whole), rtol=1e-5)
    assert loaded.balancer.current() == pytest.approx(whole.balancer.current(), rel=1e-4)


@pytest.mark.once
def test_weights_are_shared_and_the_graph_stays_functional():
    plain = network()
    model = balanced(plain, LogSum())
    assert model.get_layer("a") is plain.get_layer("a")
    assert set(model.output) == set(TASKS) and model.name == plain.name
    model.compile(keras.optimizers.SGD(0.1), loss=dict.fromkeys(TASKS, "mse"))
    model.fit(*data(1.0, 1.0, 1.0), verbose=0)
    assert biases(plain) == biases(model) != [0.0] * 3
    again = keras.Model(model.input, model.output["a"])
    assert again.output_shape == (None, None, None, 1)
    assert len(network().weights) == len(plain.weights)


def test_heads_a_loader_and_callbacks():
    heads = {"labels": kd.heads.Segmentation(8), "ground": kd.heads.Segmentation(8, weight=0.5)}
    image = keras.Input((None, None, 3))
    outputs = {key: keras.layers.Conv2D(8, 1)(image) for key in heads}
    model = balanced(keras.Model(image, outputs), UncertaintyWeighting())
    model.compile(keras.optimizers.Adam(1e-3), **kd.objectives(heads))

    class Weighted:
        name = "weighted"

        def __len__(self):
            return 4

        def __getitem__(self, i):
            sample = kd.datasets.scenes(4, size=16)[i]
            return {**sample, "weight": np.full((16, 16), 0.5, "float32")}

    seen = []
    spy = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(set(logs)))
    loader = kd.datasets.Loader(Weighted(), heads, 2)
    history = model.fit(
        loader, validation_data=loader, epochs=2, callbacks=spy, shuffle=False, verbose=0
    ).history
    names = {"labels_weight", "labels_loss", "labels_mean_iou", "val_labels_loss", "val_loss"}
    assert names <= seen[0] and names <= set(history)
    assert "val_labels_weight" not in history
    assert np.isfinite(history["loss"]).all()
    callbacks = keras.callbacks.CallbackList([spy], add_history=True, model=model)
    model.fit(loader, callbacks=callbacks, shuffle=False, verbose=0)
    assert "labels_weight" in seen[-1]


def test_with_bfloat16_predictions():
    keras.config.set_dtype_policy("mixed_bfloat16")
    for kind in BALANCERS:
        model = compiled(kind(), optimizer=keras.optimizers.SGD(0.01))
        history = model.fit(*data(1.0, 2.0, 0.5), epochs=3, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        assert {v.dtype for v in model.balancer.weights} == {"float32"}


def test_checkpoint_restores_the_balancer(tmp_path):
    def run(epochs):
        keras.utils.set_random_seed(0)
        model = compiled(DynamicWeightAverage(), optimizer=keras.optimizers.SGD(0.1))
        checkpoint = kd.training.Checkpoint(tmp_path)
        start = checkpoint.restore(model)
        x, y = data(1.0, 2.0, 0.5)
        model.fit(
            x, y, epochs=epochs, initial_epoch=start, callbacks=[checkpoint], shuffle=False,
            verbose=0,
        )  # fmt: skip
        return model.balancer.current(), checkpoint.history

    before, _ = run(3)
    weights, history = run(3)  # only restores
    assert weights == pytest.approx(before, rel=1e-6)
    assert len(history["a_weight"]) == 3


def test_bad_arguments():
    image = keras.Input((4, 4, 3))
    one = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    with pytest.raises(ValueError, match="nothing to balance .* a single output"):
        balanced(one, LogSum())
    with pytest.raises(ValueError, match=r"at least two outputs.*\['a'\]"):
        balanced(keras.Model(image, {"a": one(image)}), LogSum())
    with pytest.raises(TypeError, match="`balancer` must be .*'uncertainty'"):
        balanced(network(), "uncertainty")
    balancer = LogSum()
    model = balanced(network(), balancer)
    with pytest.raises(ValueError, match="already balances the tasks a, b, c"):
        balanced(network(), balancer)
    with pytest.raises(ValueError, match="`loss` must be a dict with the keys a, b, c.*'mse'"):
        model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match="`loss_weights` must be a dict"):
        model.compile("sgd", loss=dict.fromkeys(TASKS, "mse"), loss_weights=[1.0, 1.0, 1.0])
    model.compile("sgd", loss=dict.fromkeys(TASKS, "mse"))
    x, y = data(1.0, 1.0, 1.0)
    with pytest.raises(ValueError, match=r"Targets must be a dict .* Received: \['a', 'b'\]"):
        model.train_on_batch(x, {"a": y["a"], "b": y["b"]})
    for make in (
        lambda: UncertaintyWeighting(initial=11),
        lambda: DynamicWeightAverage(temperature=0),
        lambda: RandomWeighting(seed=1.5),
        lambda: RandomWeighting(seed=-1),
    ):
        with pytest.raises(ValueError, match="must be"):
            make()

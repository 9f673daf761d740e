import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers.cascade import Certainty, KeepCells, PoolKeptCells, Settled, Unsure
from keras_dense.testing import check_layer


def logits(*shape):
    return np.random.default_rng(0).normal(0, 3, shape).astype("float32")


def test_contracts():
    x = logits(2, 5, 7, 3)
    mask = (np.random.default_rng(1).uniform(size=(2, 5, 7, 1)) < 0.5).astype("float32")
    check_layer(Certainty("multilabel"), x)
    check_layer(Unsure(0.7), np.abs(x[..., :1]) / 5, mask)
    check_layer(Settled(), x, x + 1, mask)
    check_layer(KeepCells(), x, mask)
    check_layer(PoolKeptCells((2, 3)), x, mask)


def test_certainty_of_each_mode():
    x = logits(2, 5, 7, 3).astype("float64")
    softmax = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    sigmoid = 1 / (1 + np.exp(-x))
    answers = np.maximum(sigmoid, 1 - sigmoid)
    wanted = {
        "multiclass": softmax.max(-1, keepdims=True),
        "multilabel": answers.min(-1, keepdims=True),
        "binary": answers[..., :1],
    }
    for mode, values in wanted.items():
        y = x[..., :1] if mode == "binary" else x
        got = ops.convert_to_numpy(Certainty(mode)(y.astype("float32")))
        np.testing.assert_allclose(got, values, atol=1e-6)


def test_certainty_in_float32_under_any_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert Certainty()(keras.Input((4, 4, 3))).dtype == "float32"


def test_cells_that_left_do_not_return():
    certainty = np.array([0.2, 0.9, 0.9, 0.2]).reshape(1, 1, 4, 1)
    before = np.array([1.0, 1, 0, 0]).reshape(1, 1, 4, 1)
    stays = [Unsure(0.5)(certainty), Unsure(0.5)(certainty, before), Unsure(1.5)(certainty)]
    assert [ops.convert_to_numpy(x).ravel().tolist() for x in stays] == [
        [1, 0, 0, 1],
        [1, 0, 0, 0],
        [1, 1, 1, 1],
    ]


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_the_later_stage_learns_only_from_cells_that_reach_it():
    """One step of rate 1 down the sum of the scores: its gradient shows which cells count."""
    x = np.array([1.0, 10, 100, 1000]).reshape(1, 1, 4, 1)
    reached = np.array([1.0, 0, 1, 0]).reshape(1, 1, 4, 1)
    image, mask = keras.Input((1, 4, 1)), keras.Input((1, 4, 1))
    later, before = (
        keras.layers.Conv2D(2, 1, use_bias=False, kernel_initializer="ones", name=name)(image)
        for name in ("later", "before")
    )
    model = keras.Model([image, mask], Settled()(later, before * 2, mask))
    np.testing.assert_allclose(
        model.predict_on_batch([x, reached])[0, 0, :, 0], [1, 20, 100, 2000], rtol=1e-6
    )
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: ops.sum(y, axis=(1, 2, 3)))
    model.train_on_batch([x, reached], np.zeros((1, 1, 4, 2)))
    moved = {n: 1 - model.get_layer(n).get_weights()[0].ravel() for n in ("later", "before")}
    np.testing.assert_allclose(moved["later"], [101, 101], rtol=1e-5)
    np.testing.assert_allclose(moved["before"], [0, 0], atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_pools_the_cells_that_are_left(mode):
    x = logits(2, 5, 6, 3)
    kept = np.random.default_rng(1).uniform(size=(2, 5, 6, 1)) < 0.4
    kept[1, ::2, 1::2] = False
    got = ops.convert_to_numpy(PoolKeptCells(2, mode=mode)(x, kept.astype("float32")))
    of = np.mean if mode == "mean" else np.max
    for b, p, q in np.ndindex(2, 2, 2):
        cells = x[b, p::2, q::2][kept[b, p::2, q::2, 0]]
        wanted = of(cells, 0) if len(cells) else np.zeros(3)
        np.testing.assert_allclose(got[b, p, q], wanted, atol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="`mode` must be one of .*mode='softmax'"):
        Certainty("softmax")
    for bad in (0.0, "high", True, float("nan")):
        with pytest.raises(ValueError, match="`threshold` must be a number > 0"):
            Unsure(bad)

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import Certainty, LearnWhereUnsure
from keras_dense.testing import check_layer


def logits(*shape):
    return np.random.default_rng(0).normal(0, 3, shape).astype("float32")


def test_contracts():
    x = logits(2, 5, 7, 3)
    check_layer(Certainty("multilabel"), x)


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


def test_certainty_in_float32_whatever_the_policy():
    keras.config.set_dtype_policy("mixed_bfloat16")
    assert Certainty()(keras.Input((4, 4, 3))).dtype == "float32"


def test_gradient_stops_where_an_earlier_stage_was_sure():
    """A step of rate 1 down the sum of all scores moves those that learn by 1."""
    certainty = np.array([[0.5, 0.99, 0.98, 0.6]]).reshape(1, 1, 4, 1)
    second = np.array([[0.5, 0.5, 0.5, 0.7]]).reshape(1, 1, 4, 1)
    image = keras.Input((1, 4, 1))
    scored = keras.layers.Conv2D(4, 1, use_bias=False, kernel_initializer="ones")(image)
    inputs = [keras.Input((1, 4, 1)) for _ in range(2)]
    y = LearnWhereUnsure([0.985, 0.65])(scored, inputs)
    model = keras.Model([image, *inputs], y)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: ops.sum(y, axis=(1, 2, 3)))
    # The image is 1, 10, 100, 1000: the gradient of a weight tells which cells it came from.
    x = np.array([1.0, 10, 100, 1000]).reshape(1, 1, 4, 1)
    before = model.predict_on_batch([x, certainty, second])
    np.testing.assert_allclose(before, np.repeat(x, 4, -1), rtol=1e-6)
    model.train_on_batch([x, certainty, second], np.zeros((1, 1, 4, 4)))
    step = 1 - model.get_weights()[0].ravel()
    np.testing.assert_allclose(step, [101.0] * 4, rtol=1e-5)


def test_round_trip():
    layer = LearnWhereUnsure((0.9, 0.8), name="learn")
    again = LearnWhereUnsure.from_config(layer.get_config())
    assert again.get_config() == layer.get_config() and again.thresholds == (0.9, 0.8)


def test_bad_input():
    with pytest.raises(ValueError, match="`mode` must be one of .*mode='softmax'"):
        Certainty("softmax")
    for bad in ([0.0], ["high"], [True]):
        with pytest.raises(ValueError, match="`thresholds` must be a probability above 0"):
            LearnWhereUnsure(bad)
    with pytest.raises(ValueError, match="a certainty for each threshold. Received: 1 cert"):
        LearnWhereUnsure((0.9, 0.8))(np.ones((1, 2, 2, 3)), [np.ones((1, 2, 2, 1))])

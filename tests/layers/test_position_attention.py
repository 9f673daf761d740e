"""Attention of every cell of a map to all others, beside NumPy."""

import keras
import numpy as np
import pytest

from keras_dense.layers import PositionAttention
from keras_dense.testing import check_layer

to_numpy = keras.ops.convert_to_numpy


def maps(height=3, width=5, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, height, width, c)).astype("float32") for c in (4, 4, 6)]


def softmax(x, axis):
    x = np.exp(x - x.max(axis, keepdims=True))
    return x / x.sum(axis, keepdims=True)


@pytest.mark.parametrize("joint", [False, True])
def test_position_attention(joint):
    check_layer(PositionAttention(joint=joint), *maps())
    query, key, value = (x.reshape(2, 15, -1) for x in maps())
    weights = softmax(query @ key.transpose(0, 2, 1), (1, 2) if joint else 2)
    mean = weights @ value
    expected = mean.reshape(2, 6, 3, 5).transpose(0, 2, 3, 1) if joint else mean
    y = to_numpy(PositionAttention(joint=joint)(*maps()))
    np.testing.assert_allclose(y, expected.reshape(2, 3, 5, 6), atol=1e-5)


def test_every_cell_sees_all_others():
    """The cells of a map that is mirrored are mirrored: places do not count."""
    flipped = [x[:, ::-1, ::-1] for x in maps()]
    y, mirrored = (to_numpy(PositionAttention()(*found)) for found in (maps(), flipped))
    np.testing.assert_allclose(mirrored, y[:, ::-1, ::-1], atol=1e-5)
    # One key that all queries like: its value is everywhere.
    query, key, value = maps()
    query[:], key[:] = 1, 0
    key[:, 1, 2] = 50
    y = to_numpy(PositionAttention()(query, key, value))
    np.testing.assert_allclose(y, np.broadcast_to(value[:, 1:2, 2:3], y.shape), atol=1e-5)


def test_large_products_do_not_overflow():
    for joint in (False, True):
        query, key, value = maps()
        y = to_numpy(PositionAttention(joint=joint)(query * 1e3, key * 1e3, value))
        assert np.isfinite(y).all()


def test_bad_joint():
    with pytest.raises(ValueError, match="`joint` must be True or False. Received: joint=1"):
        PositionAttention(joint=1)

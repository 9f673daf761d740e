"""Attention on maps: against plain code in NumPy, which looks at one window after the other."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import MergePatches, SpatialReductionAttention, WindowAttention
from keras_dense.testing import check_layer

to_numpy = ops.convert_to_numpy


def image(height, width, channels=8, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, height, width, channels)).astype("float32")


def drawn(layer, x):
    """The layer, built, with random weights of which none is zero or one."""
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.normal(0, 0.5, w.shape) for w in layer.weights])
    return layer


def linear(layer, x):
    kernel, *bias = layer.get_weights()
    return x @ kernel + (bias[0] if bias else 0)


def attention(queries, keys, values, heads, bias=0):
    """`(T, C)`, `(S, C)`, `(S, C)` → `(T, C)`."""
    parts = []
    for head, (q, k, v) in enumerate(
        zip(*(np.split(x, heads, -1) for x in (queries, keys, values)), strict=True)
    ):
        scores = q @ k.T / q.shape[-1] ** 0.5
        scores = scores + (bias[head] if np.ndim(bias) else 0)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        parts.append(weights / weights.sum(-1, keepdims=True) @ v)
    return np.concatenate(parts, -1)


def reduced_attention(layer, x):
    seen = x
    if layer.ratio > 1:
        r, (rows, columns) = layer.ratio, (n // layer.ratio for n in x.shape[1:3])
        kernel, bias = layer.reduce.get_weights()
        patches = x[:, : rows * r, : columns * r].reshape(len(x), rows, r, columns, r, -1)
        seen = np.einsum("bhiwjc,ijcd->bhwd", patches, kernel) + bias
        seen = seen - seen.mean(-1, keepdims=True)
        gamma, beta = layer.norm.get_weights()
        seen = seen / np.sqrt(seen.var(-1, keepdims=True) + layer.epsilon) * gamma + beta
    results = []
    for one, small in zip(x, seen, strict=True):
        cells, fewer = one.reshape(-1, x.shape[-1]), small.reshape(-1, x.shape[-1])
        args = linear(layer.query, cells), linear(layer.key, fewer), linear(layer.value, fewer)
        results.append(attention(*args, layer.heads).reshape(one.shape))
    return linear(layer.project, np.stack(results))


@pytest.mark.parametrize(
    "ratio, size",
    [
        (3, (7, 10)),
        pytest.param(1, (5, 7), marks=pytest.mark.once),
        pytest.param(2, (6, 4), marks=pytest.mark.once),
    ],
)
def test_attention_to_a_smaller_map(ratio, size):
    x = image(*size)
    layer = drawn(SpatialReductionAttention(2, ratio), x)
    np.testing.assert_allclose(to_numpy(layer(x)), reduced_attention(layer, x), atol=2e-5)
    check_layer(SpatialReductionAttention(2, ratio), x, tolerance=1e-4)


def neighbors(layer, y, x, height, width):
    """The cells of the window of a cell, as places on the padded map."""
    w, s = layer.window, layer.shift if min(height, width) > layer.window else 0
    rows, columns = (-(-n // w) * w for n in (height, width))
    # Windows are laid on the map turned by the shift; each place there is one of the map.
    top, left = ((n - s) % size // w * w for n, size in ((y, rows), (x, columns)))
    return [
        ((top + i + s) % rows, (left + j + s) % columns, i, j) for i in range(w) for j in range(w)
    ]


def window_attention(layer, x):
    """Each cell for itself: the cells that it sees, their scores, their values."""
    batch, height, width, _ = x.shape
    w, table = layer.window, to_numpy(layer.table)
    shift = layer.shift if min(height, width) > w else 0
    padded = np.pad(x, ((0, 0), (0, -height % w), (0, -width % w), (0, 0)))
    queries, keys, values = np.split(linear(layer.mix, padded), 3, -1)
    result = np.zeros_like(x)

    def together(one, other):
        """The shift brings what comes from the other side into one window: it stays apart."""
        return (one[0] < shift) == (other[0] < shift) and (one[1] < shift) == (other[1] < shift)

    for y, z in np.ndindex(height, width):
        cells = neighbors(layer, y, z, height, width)
        (own,) = [cell[2:] for cell in cells if cell[:2] == (y, z)]
        seen = [cell for cell in cells if together(cell, (y, z))]
        index = [(own[0] - i + w - 1) * (2 * w - 1) + own[1] - j + w - 1 for _, _, i, j in seen]
        rows, columns = [cell[0] for cell in seen], [cell[1] for cell in seen]
        for b in range(batch):
            args = queries[b, y, z][None], keys[b, rows, columns], values[b, rows, columns]
            result[b, y, z] = attention(*args, layer.heads, table[index].T[:, None])[0]
    return linear(layer.project, result)


@pytest.mark.parametrize(
    "shift, size",
    [
        (2, (7, 9)),
        pytest.param(0, (8, 8), marks=pytest.mark.once),
        pytest.param(1, (8, 12), marks=pytest.mark.once),
        pytest.param(2, (4, 10), marks=pytest.mark.once),  # a window covers it: no shift
        pytest.param(2, (3, 5), marks=pytest.mark.once),  # smaller than a window
    ],
)
def test_attention_in_windows(shift, size):
    x = image(*size)
    layer = drawn(WindowAttention(2, 4, shift=shift), x)
    np.testing.assert_allclose(to_numpy(layer(x)), window_attention(layer, x), atol=2e-5)
    if size != (3, 5):
        check_layer(WindowAttention(2, 4, shift=shift), x, tolerance=1e-4)


def test_windows_of_a_size_known_late():
    """The shift is decided in the graph if height and width are not known before."""
    free = keras.Input((None, None, 8))
    both = [WindowAttention(2, 4, shift=shift) for shift in (0, 2)]
    model = keras.Model(free, both[1](both[0](free)))
    for size in ((7, 9), (4, 6)):
        x = image(*size)
        y = model.predict(x, verbose=0)
        np.testing.assert_allclose(y, to_numpy(both[1](both[0](x))), atol=1e-5)


@pytest.mark.once
def test_dropout_of_attention():
    x = image(6, 6)
    for layer in (
        SpatialReductionAttention(2, 2, attention_dropout=0.5),
        WindowAttention(2, 3, shift=1, attention_dropout=0.5, dropout=0.1),
    ):
        y = to_numpy(layer(x))
        np.testing.assert_array_equal(to_numpy(layer(x)), y)
        assert np.abs(to_numpy(layer(x, training=True)) - y).max() > 1e-3


@pytest.mark.parametrize("factor", [2, pytest.param(3, marks=pytest.mark.once)])
def test_merged_patches(factor):
    x = image(5, 7, 3)
    check_layer(MergePatches(factor), x)
    padded = np.pad(x, ((0, 0), (0, -5 % factor), (0, -7 % factor), (0, 0)))
    expected = [padded[:, i::factor, j::factor] for j in range(factor) for i in range(factor)]
    np.testing.assert_array_equal(to_numpy(MergePatches(factor)(x)), np.concatenate(expected, -1))


def test_bad_attention():
    with pytest.raises(ValueError, match="`heads` must be an integer >= 1"):
        SpatialReductionAttention(0)
    with pytest.raises(ValueError, match="`shift` must be an integer from 0 to 3"):
        WindowAttention(2, 4, shift=4)
    with pytest.raises(ValueError, match="channels must be a multiple of heads=3"):
        WindowAttention(3, 4)(image(8, 8))
    with pytest.raises(ValueError, match=r"at least 4×4 cells.*Received: a map of 3×8 cells"):
        SpatialReductionAttention(2, 4)(image(3, 8))
    with pytest.raises(ValueError, match="`attention_dropout` must be a number >= 0 and < 1"):
        WindowAttention(2, 4, attention_dropout=1.0)
    with pytest.raises(ValueError, match="`factor` must be an integer >= 1"):
        MergePatches(0)

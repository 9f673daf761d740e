import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import (
    AtrousAveragePooling2D,
    AtrousMaxPooling2D,
)
from keras_dense.layers.phases import PhasePooling2D, TilePhases
from keras_dense.testing import check_layer


def reference(x, pool, rate, strides, pads, mean):
    """Each window by itself; padding does not count."""
    (top, bottom), (left, right) = pads
    height = (x.shape[1] + top + bottom - (pool[0] - 1) * rate[0] - 1) // strides[0] + 1
    width = (x.shape[2] + left + right - (pool[1] - 1) * rate[1] - 1) // strides[1] + 1
    y = np.zeros((len(x), height, width, x.shape[3]))
    for i in range(height):
        for j in range(width):
            rows = [i * strides[0] - top + a * rate[0] for a in range(pool[0])]
            columns = [j * strides[1] - left + b * rate[1] for b in range(pool[1])]
            rows = [r for r in rows if 0 <= r < x.shape[1]]
            columns = [c for c in columns if 0 <= c < x.shape[2]]
            window = x[:, rows][:, :, columns]
            y[:, i, j] = window.mean((1, 2)) if mean else window.max((1, 2))
    return y


CASES = [  # pool, rate, strides, padding, its zeros
    ((3, 3), (2, 2), (1, 1), "same", ((2, 2), (2, 2))),
    ((2, 3), (3, 1), (1, 1), "same", ((1, 2), (1, 1))),
    ((2, 2), (2, 2), (1, 1), ((0, 2), (0, 2)), ((0, 2), (0, 2))),
    ((3, 2), (2, 3), (2, 1), ((1, 3), (2, 0)), ((1, 3), (2, 0))),
    ((2, 3), (2, 1), (1, 2), "valid", ((0, 0), (0, 0))),
]


@pytest.mark.parametrize("kind", [AtrousMaxPooling2D, AtrousAveragePooling2D])
@pytest.mark.parametrize("pool, rate, strides, padding, pads", CASES)
def test_windows(kind, pool, rate, strides, padding, pads):
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 3)) - 2.0
    wanted = reference(x, pool, rate, strides, pads, kind is AtrousAveragePooling2D)
    layer = kind(pool, rate=rate, strides=strides, padding=padding)
    got = ops.convert_to_numpy(layer(x.astype("float32")))
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert layer.compute_output_shape(x.shape) == wanted.shape
    assert layer.compute_output_shape((None, None, None, 3)) == (None, None, None, 3)
    check_layer(kind(pool, rate=rate, strides=strides, padding=padding), x.astype("float32"))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
@pytest.mark.parametrize("strides", [pytest.param(1, marks=pytest.mark.exhaustive), (2, 3)])
@pytest.mark.parametrize("kind", [AtrousMaxPooling2D, AtrousAveragePooling2D])
def test_export_with_free_sizes(kind, strides, tmp_path):
    """With strides, the zeros of "same" padding are known only when the graph runs."""
    import tensorflow as tf

    image = keras.Input((None, None, 3))
    model = keras.Model(image, kind(3, rate=2, strides=strides)(image))
    model.export(tmp_path / "pool", verbose=False)
    served = tf.saved_model.load(tmp_path / "pool").serve
    for size in ((9, 7), (6, 10)):
        x = np.random.default_rng(0).normal(size=(1, *size, 3)).astype("float32")
        np.testing.assert_allclose(served(x).numpy(), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "max"])
@pytest.mark.parametrize("size", [(8, 6), (9, 7), (2, 3)])
def test_phases(mode, size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)) - 2.0
    pooled = ops.convert_to_numpy(PhasePooling2D((2, 3), mode=mode)(x.astype("float32")))
    tiled = ops.convert_to_numpy(TilePhases()(pooled, x.astype("float32")))
    assert tiled.shape == x.shape
    for p in range(2):
        for q in range(3):
            phase = x[:, p::2, q::3]
            wanted = phase.mean((1, 2)) if mode == "mean" else phase.max((1, 2))
            np.testing.assert_allclose(pooled[:, p, q], wanted, atol=1e-6)
            np.testing.assert_array_equal(
                tiled[:, p::2, q::3],
                np.broadcast_to(pooled[:, p : p + 1, q : q + 1], phase.shape),
            )
    check_layer(PhasePooling2D((2, 3), mode=mode), x.astype("float32"))


def test_bad_input():
    with pytest.raises(ValueError, match="`pool_size` must be an integer >= 1"):
        AtrousMaxPooling2D(0)
    with pytest.raises(ValueError, match="`rate` must be an integer >= 1.*rate=-1"):
        AtrousAveragePooling2D(3, rate=-1)
    with pytest.raises(ValueError, match="`padding` must be"):
        AtrousMaxPooling2D(3, padding="full")
    with pytest.raises(ValueError, match="`mode` must be one of 'mean', 'max'"):
        PhasePooling2D(2, mode="min")
    for size in (4, 5):
        with pytest.raises(
            ValueError, match=r"large enough for windows of \(3, 3\).*rate=\(4, 4\)"
        ):
            AtrousMaxPooling2D(3, rate=4, padding="valid")(np.zeros((1, size, 9, 1)))

"""Counting classes, against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.ops.count import count, first_largest, plain_argmax


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_first_largest(dtype):
    x = ops.cast(np.random.default_rng(0).integers(0, 6, (3, 5, 7, 13)).astype("float32"), dtype)
    got = ops.convert_to_numpy(first_largest(x))  # half of the pixels have ties
    wanted = ops.convert_to_numpy(ops.cast(x, "float32")).argmax(-1)[..., None]
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype == np.int32


@pytest.mark.parametrize("shape", [(2, 5, 7, 13), (3, 1)])
def test_plain_argmax(shape):
    x = np.random.default_rng(0).integers(0, 6, shape).astype("float32")  # with ties
    got = ops.convert_to_numpy(plain_argmax(ops.convert_to_tensor(x)))
    np.testing.assert_array_equal(got, x.argmax(-1))
    assert got.dtype == np.int32


def test_a_nan_names_a_channel():
    x = np.array([[np.nan, 1, 2], [0, np.nan, 2], [np.nan] * 3], "float32")
    got = ops.convert_to_numpy(first_largest(x))
    assert ((got >= 0) & (got < 3)).all()


def test_count():
    cells = np.random.default_rng(1).integers(0, 9, (4, 33, 7), dtype="int32")
    got = ops.convert_to_numpy(count(cells, 12))
    np.testing.assert_array_equal(got, np.bincount(cells.ravel(), minlength=12))
    assert got.dtype == np.int32 and got.shape == (12,)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's compiler")
def test_compiled_by_xla():
    import tensorflow as tf

    @tf.function(jit_compile=True)
    def both(x):
        return count(first_largest(x), 13)

    x = np.random.default_rng(0).normal(size=(2, 9, 13)).astype("float32")
    wanted = np.bincount(x.argmax(-1).ravel(), minlength=13)
    np.testing.assert_array_equal(ops.convert_to_numpy(both(x)), wanted)

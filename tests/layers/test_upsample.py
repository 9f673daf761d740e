"""Initial kernels without checkerboards: repeated weights are equal to the last bit."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from keras_dense.layers import ICNR, PixelShuffle
from keras_dense.testing.expect import reload


def grown(x, factor):
    """Nearest-neighbor upsampling."""
    return x.repeat(factor[0], 1).repeat(factor[1], 2)


@pytest.mark.parametrize("factor", [(2, 2), (3, 3), (2, 3), (1, 4)])
def test_a_shuffle_starts_as_nearest_neighbor(factor):
    f_h, f_w = factor
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    conv = layers.Conv2D(4 * f_h * f_w, 3, padding="same", kernel_initializer=ICNR(factor))
    y = ops.convert_to_numpy(PixelShuffle(factor)(conv(x)))
    small = layers.Conv2D(4, 3, padding="same")
    small.build(x.shape)
    small.set_weights([conv.get_weights()[0][..., :: f_h * f_w], np.zeros(4)])
    np.testing.assert_allclose(y, grown(ops.convert_to_numpy(small(x)), factor), atol=1e-5)
    np.testing.assert_array_equal(
        conv.get_weights()[0], small.get_weights()[0].repeat(f_h * f_w, -1)
    )
    assert np.std(small.get_weights()[0]) > 0.05


@pytest.mark.parametrize("factor", [2, (3, 2)])
def test_a_transposed_convolution_starts_as_nearest_neighbor(factor):
    pair = (factor, factor) if isinstance(factor, int) else factor
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    start = ICNR(factor, initializer="he_normal", transposed=True)
    up = layers.Conv2DTranspose(4, factor, strides=factor, kernel_initializer=start)
    y = ops.convert_to_numpy(up(x))
    np.testing.assert_allclose(y, grown(x @ up.get_weights()[0][0, 0].T, pair), atol=1e-5)


def test_the_variance_is_that_of_the_initializer():
    shape, whole = (3, 3, 64, 64), (3, 3, 64, 256)
    wanted = ops.convert_to_numpy(keras.initializers.GlorotUniform(seed=1)(shape))
    kernel = ICNR(2, initializer=keras.initializers.GlorotUniform(seed=1))(whole)
    assert np.std(ops.convert_to_numpy(kernel)) == pytest.approx(np.std(wanted), rel=1e-5)


def test_saved_and_loaded():
    image = keras.Input((4, 4, 2))
    start = ICNR((2, 1), initializer=keras.initializers.RandomNormal(stddev=0.5, seed=3))
    model = keras.Model(image, layers.Conv2D(6, 1, kernel_initializer=start)(image))
    again = reload(model).layers[-1].kernel_initializer
    assert type(again) is ICNR and again.factor == (2, 1) and again.initializer.stddev == 0.5
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again((1, 1, 2, 6))), ops.convert_to_numpy(start((1, 1, 2, 6)))
    )


def test_bad_arguments():
    with pytest.raises(
        ValueError, match="`factor` must be an integer >= 1 or a pair of them. Received"
    ):
        ICNR(0)
    with pytest.raises(ValueError, match="must be a multiple of 4 with factor=.*Received: shape"):
        ICNR(2)((3, 3, 8, 6))
    with pytest.raises(ValueError, match="as long as its stride, \\(2, 2\\). Received: shape"):
        ICNR(2, transposed=True)((3, 3, 8, 6))

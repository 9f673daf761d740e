"""Adaptive pooling, resizing to another map and pixel shuffle, as layers inside models."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import AdaptiveAveragePooling2D, PixelShuffle, ResizeLike
from keras_dense.ops import adaptive_average_pool, pixel_shuffle, resize_bilinear
from keras_dense.ops.resize import resize_nearest
from keras_dense.testing import check_layer

to_numpy = ops.convert_to_numpy


def image(height, width, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, height, width, channels)).astype("float32")


@pytest.mark.parametrize(
    "bins",
    [pytest.param(1, marks=pytest.mark.once), pytest.param(2, marks=pytest.mark.once), (6, 3)],
)
def test_adaptive_pooling(bins):
    check_layer(AdaptiveAveragePooling2D(bins), image(5, 7))
    x = image(5, 7)
    y = to_numpy(AdaptiveAveragePooling2D(bins)(x))
    np.testing.assert_allclose(y, adaptive_average_pool(x, bins), atol=1e-6)
    assert AdaptiveAveragePooling2D(bins).compute_output_shape((None, None, None, 3)) == (
        None,
        *((bins, bins) if isinstance(bins, int) else bins),
        3,
    )


@pytest.mark.parametrize(
    "size",
    [
        (5, 7),
        pytest.param((1, 1), marks=pytest.mark.once),
        pytest.param((1, 4), marks=pytest.mark.once),
    ],
)
def test_resize_like(size):
    x, like = image(*size), image(9, 13, 2)
    check_layer(ResizeLike(), x, like)
    y = to_numpy(ResizeLike()(x, like))
    np.testing.assert_allclose(y, resize_bilinear(x, 9, 13), atol=1e-6)
    assert ResizeLike().compute_output_shape((None, 3, 4, 8), (2, None, 5, 1)) == (None, None, 5, 8)


@pytest.mark.parametrize(
    "settings, function",
    [
        ({"align_corners": True}, lambda x, *new: resize_bilinear(x, *new, align_corners=True)),
        ({"interpolation": "nearest"}, resize_nearest),
    ],
)
def test_other_ways_of_resizing(settings, function):
    x, like = image(5, 7), image(9, 13, 2)
    check_layer(ResizeLike(**settings), x, like)
    y = to_numpy(ResizeLike(**settings)(x, like))
    np.testing.assert_allclose(y, to_numpy(function(x, 9, 13)), atol=1e-6)
    layer = ResizeLike(**settings, stride=(2, 3))
    check_layer(layer, x, like)
    np.testing.assert_allclose(to_numpy(layer(x, like)), to_numpy(function(x, 5, 5)), atol=1e-6)
    y = ResizeLike(**settings, dtype="float16")(x, like)
    assert keras.backend.standardize_dtype(y.dtype) == "float16"
    np.testing.assert_allclose(to_numpy(y), to_numpy(function(x, 9, 13)), atol=4e-3)


def test_bad_resizing():
    with pytest.raises(ValueError, match="`interpolation` must be one of"):
        ResizeLike(interpolation="bicubic")
    with pytest.raises(ValueError, match='`align_corners` must be False with .*"nearest"'):
        ResizeLike(interpolation="nearest", align_corners=True)
    with pytest.raises(ValueError, match="`stride` must be"):
        ResizeLike(stride=0)


def test_pixel_shuffle():
    check_layer(PixelShuffle((2, 3)), image(5, 7, 12))
    x = image(5, 7, 12)
    np.testing.assert_array_equal(to_numpy(PixelShuffle(2)(x)), to_numpy(pixel_shuffle(x, 2)))
    assert PixelShuffle(4).compute_output_shape((None, None, 3, 32)) == (None, None, 12, 2)


def pyramid(dtype=None):
    """All three layers in a model of any size; the pooled map returns to the size of the image."""
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", dtype=dtype)(image)
    parts = [x]
    for bins in (1, 2, 6):
        part = AdaptiveAveragePooling2D(bins, dtype=dtype)(x)
        part = keras.layers.Conv2D(4, 1, dtype=dtype)(part)
        parts.append(ResizeLike(dtype=dtype)(part, x))
    x = keras.layers.Concatenate(dtype=dtype)(parts)
    x = PixelShuffle(2, dtype=dtype)(keras.layers.Conv2D(8, 1, dtype=dtype)(x))
    return keras.Model(image, ResizeLike(dtype="float32")(x, image))


def test_a_model_of_free_size_trains_and_loads(tmp_path):
    model = pyramid()
    model.compile("sgd", "mse")
    for size in ((17, 22), (9, 9)):
        x = image(*size)
        before = model.get_weights()
        model.train_on_batch(x, image(*size, channels=2, seed=1))
        moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
        assert all(moved)
        assert model.predict(x, verbose=0).shape == (2, *size, 2)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_mixed_precision():
    single, mixed = pyramid(), pyramid("mixed_bfloat16")
    mixed.set_weights(single.get_weights())
    x = image(17, 22)
    wanted = single.predict(x, verbose=0)
    error = np.abs(mixed.predict(x, verbose=0) - wanted).max()
    assert 0 < error < 0.03 * np.abs(wanted).max()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow is the exporter")
def test_exports_with_free_sizes(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = pyramid()
    model.export(str(tmp_path / "m"), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "m"))
    for size in ((17, 22), (6, 5), (64, 33)):
        x = image(*size)
        np.testing.assert_allclose(loaded.serve(x), model.predict(x, verbose=0), atol=1e-5)


def test_bad_arguments():
    for bins in (0, -1, 1.5, (2,), (2, 0), "2"):
        with pytest.raises(
            ValueError, match="`bins` must be an integer >= 1 or a pair of them. Received"
        ):
            AdaptiveAveragePooling2D(bins)
    with pytest.raises(ValueError, match="`factor` must be an integer >= 1 or a pair of them"):
        PixelShuffle(0)
    with pytest.raises(
        ValueError, match=r"must be a multiple of 4 with factor=.*Received: an input of 6"
    ):
        PixelShuffle(2)(image(2, 2, 6))

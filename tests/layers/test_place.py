import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import LocationBias, PlaceLike
from keras_dense.testing import check_layer


@pytest.mark.parametrize("new", [(23, 31), (46, 62), (17, 40)])
def test_cells_stay_where_they_are(new):
    """A map of its own coordinates is interpolated to the coordinates of the pixels."""
    first, step, size, cells = 6, 2, (23, 31), (6, 10)
    row, column = np.meshgrid(*(first + step * np.arange(n) for n in cells), indexing="ij")
    x = np.stack([row, column], -1)[None].astype("float32")
    y = PlaceLike(first=first, step=step, size=size)(x, np.zeros((1, *new, 3), "float32"))
    expected = [
        np.clip((np.arange(n) + 0.5) * s / n - 0.5, first, first + step * (c - 1))
        for n, s, c in zip(new, size, cells, strict=True)
    ]
    y = ops.convert_to_numpy(y)[0]
    np.testing.assert_allclose(y[..., 0], np.repeat(expected[0][:, None], new[1], 1), atol=1e-4)
    np.testing.assert_allclose(y[..., 1], np.repeat(expected[1][None], new[0], 0), atol=1e-4)


def test_is_half_pixel_bilinear_where_the_map_covers_the_image():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    y = PlaceLike(first=1.5, step=4, size=(20, 28))(x, np.zeros((2, 20, 28, 3), "float32"))
    expected = ops.image.resize(x, (20, 28), "bilinear")
    np.testing.assert_allclose(*(ops.convert_to_numpy(v) for v in (y, expected)), atol=1e-5)


def test_contracts():
    rng = np.random.default_rng(1)
    x, image = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(2, 14, 17, 3))
    check_layer(
        PlaceLike(first=2, step=3, size=(14, 17)), x.astype("float32"), image.astype("float32")
    )
    check_layer(LocationBias(), x.astype("float32"), any_size=False)


def test_location_bias_learns_the_mean_map():
    y = np.random.default_rng(2).normal(size=(1, 3, 4, 1)).astype("float32")
    model = keras.Sequential([keras.Input((3, 4, 1)), LocationBias()])
    model.compile(keras.optimizers.SGD(3.0), loss="mse")
    model.fit(np.zeros((1, 3, 4, 1)), y, epochs=30, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], y[0], atol=1e-3)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`step` must be a number > 0"):
        PlaceLike(first=1, step=0, size=(4, 4))
    with pytest.raises(ValueError, match="`size` must be"):
        PlaceLike(first=1, step=1, size=(0, 4))
    with pytest.raises(ValueError, match="Height and width of the input must be known"):
        LocationBias()(keras.KerasTensor((None, None, 3, 1)))

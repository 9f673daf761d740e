import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.layers import AnnealedMean, CropLike, Lightness, Recolor
from keras_dense.testing import check_layer


def test_contracts():
    x = np.random.default_rng(0).uniform(0, 255, (2, 6, 7, 3)).astype("float32")
    check_layer(Lightness(), x)
    check_layer(Lightness(as_image=False), x)
    check_layer(AnnealedMean(40), np.random.default_rng(0).normal(size=(2, 3, 4, 40)))


def test_colors_are_computed_in_float32():
    x = np.array([[[[200, 30, 90]]]], "uint8")
    for layer in (Lightness(dtype="mixed_bfloat16"), Lightness()):
        np.testing.assert_allclose(
            ops.convert_to_numpy(layer(x)), ops.convert_to_numpy(kd.ops.gray(x)), atol=1e-4
        )


def test_crop_at_a_stride():
    x = np.arange(6 * 6.0).reshape(1, 6, 6, 1)
    for size, left in ((24, 6), (21, 6), (20, 5), (1, 1)):
        y = CropLike(4)(x, np.zeros((1, size, 24, 3)))
        np.testing.assert_array_equal(ops.convert_to_numpy(y), x[:, :left])
    with pytest.raises(ValueError, match="`x` must be at least as large as `like`"):
        CropLike(4)(x, np.zeros((1, 25, 24, 3)))


def test_bad_input():
    with pytest.raises(ValueError, match="must be an RGB image, .B, H, W, 3."):
        Lightness()(np.zeros((1, 4, 4, 1)))
    with pytest.raises(ValueError, match="one logit for each of the 313 bins of grid=10"):
        AnnealedMean()(np.zeros((1, 4, 4, 21)))
    with pytest.raises(ValueError, match="`temperature` must be a number > 0"):
        AnnealedMean(temperature=-1)
    with pytest.raises(ValueError, match="`stride` must be an integer >= 1"):
        Recolor(0)


@pytest.mark.once
def test_a_grid_of_numpy_becomes_a_plain_number_in_the_configuration():
    assert type(AnnealedMean(np.int64(20)).get_config()["grid"]) is int

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.backbones.table import PREPROCESSING
from keras_dense.layers import AtrousAveragePooling2D, Standardize
from keras_dense.testing import check_layer


@pytest.mark.parametrize("mode", ["tf", "torch", "caffe"])
def test_equals_what_keras_does_to_images(mode):
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype("float32")
    wanted = keras.applications.imagenet_utils.preprocess_input(image.copy(), mode=mode)
    got = ops.convert_to_numpy(Standardize(**PREPROCESSING[mode])(image))
    np.testing.assert_allclose(got, np.asarray(wanted), atol=2e-5)


def test_bfloat16_subtracts_in_float32():
    layer = Standardize(mean=200.5, std=1.0, dtype="mixed_bfloat16")
    y = ops.convert_to_numpy(ops.cast(layer(np.full((1, 1, 1, 1), 201.0, "float32")), "float32"))
    assert y[0, 0, 0, 0] == 0.5


def test_contract_and_errors():
    x = np.random.default_rng(0).uniform(0, 255, (2, 5, 7, 3)).astype("float32")
    check_layer(Standardize([1.0, 2.0, 3.0], 2.0, reverse_channels=True), x)
    with pytest.raises(ValueError, match="`mean` must have 4 values, one per channel"):
        Standardize([1.0, 2.0, 3.0])(np.zeros((1, 2, 2, 4)))
    with pytest.raises(ValueError, match="`std` must be without a zero"):
        Standardize(std=[1.0, 0.0])


@pytest.mark.parametrize("pool", [(3, 3), (7, 4), (2, 5)])
def test_sliding_average_ignores_padding(pool):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 3))
    wanted = np.zeros_like(x)
    for i in range(5):
        for j in range(6):
            top, left = i - (pool[0] - 1) // 2, j - (pool[1] - 1) // 2
            window = x[:, max(top, 0) : top + pool[0], max(left, 0) : left + pool[1]]
            wanted[:, i, j] = window.mean((1, 2))
    got = ops.convert_to_numpy(AtrousAveragePooling2D(pool)(x.astype("float32")))
    np.testing.assert_allclose(got, wanted, atol=1e-6)
    check_layer(AtrousAveragePooling2D(pool), x.astype("float32"))

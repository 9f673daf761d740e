import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import LocalResponseNormalization
from keras_dense.testing import check_layer


def test_against_the_formula():
    x = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 7))
    wanted = np.empty_like(x)
    for c in range(7):
        near = x[..., max(c - 2, 0) : c + 3]
        wanted[..., c] = x[..., c] / (2 + 0.1 / 5 * (near**2).sum(-1)) ** 0.75
    layer = LocalResponseNormalization(5, alpha=0.1, bias=2.0)
    got = ops.convert_to_numpy(layer(x.astype("float32")))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    check_layer(layer, x.astype("float32"))


def test_images_of_bytes():
    """All of RGB is one neighborhood; the output grows more slowly than the light."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    image = np.array([0, 100, 255], "uint8").reshape(1, 1, 3, 1).repeat(3, -1)
    y = LocalResponseNormalization(dtype="float32")(image)
    wanted = [v / (1 + 2e-5 * 3 * v**2) ** 0.75 for v in (0.0, 100.0, 255.0)]
    np.testing.assert_allclose(ops.convert_to_numpy(y)[0, 0, :, 0], wanted, rtol=1e-5)


def test_bad_input():
    for size in (0, -1, 2.5):
        with pytest.raises(ValueError, match="`size` must be an integer >= 1"):
            LocalResponseNormalization(size)
    with pytest.raises(ValueError, match="`size` must be odd. Received: size=4"):
        LocalResponseNormalization(4)

"""Gaussian sums against all pairs in NumPy float64."""

import numpy as np
import pytest
from keras import ops

from keras_dense.ops.gaussian import exact_gaussian, spatial_gaussian


def to_numpy(x):
    return ops.convert_to_numpy(x).astype("float64")


def all_pairs(features, values):
    distance = np.square(features[:, None] - features[None]).sum(-1)
    return np.exp(-0.5 * distance) @ values


@pytest.mark.parametrize("channels", [3, 9])
@pytest.mark.parametrize(
    "size, sigma", [((23, 31), 3.0), ((1, 40), 2.0), ((9, 5), (20.0, 0.3)), ((33, 7), 1.0)]
)
def test_spatial(size, sigma, channels):
    x = np.random.default_rng(0).normal(size=(2, *size, channels))
    sigmas = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    pixels = np.stack(np.mgrid[: size[0], : size[1]], -1).reshape(-1, 2) / sigmas
    found = to_numpy(spatial_gaussian(x.astype("float32"), sigma))
    for image, y in zip(x, found, strict=True):
        wanted = all_pairs(pixels, image.reshape(-1, channels)).reshape(image.shape)
        np.testing.assert_allclose(y, wanted, atol=3e-6 * np.abs(x).sum() ** 0.5)


@pytest.mark.parametrize("points, chunk", [(50, 1024), (100, 32), (96, 32)])
def test_exact(points, chunk):
    rng = np.random.default_rng(0)
    features, values = rng.normal(size=(2, points, 5)), rng.normal(size=(2, points, 3))
    found = exact_gaussian(values.astype("float32"), features.astype("float32"), chunk)
    for f, v, y in zip(features, values, to_numpy(found), strict=True):
        np.testing.assert_allclose(y, all_pairs(f, v), rtol=1e-5, atol=1e-5)


def test_gradients(gradients):
    """Both sums are symmetric: the gradient is the same sum of what comes from above."""
    rng = np.random.default_rng(0)
    x, weight, features = rng.normal(size=(3, 1, 35, 2))
    (found,) = gradients(lambda v: exact_gaussian(v, features.astype("float32"), 16), [x], weight)
    np.testing.assert_allclose(found[0], all_pairs(features[0], weight[0]), atol=1e-4)
    x, weight = rng.normal(size=(2, 1, 5, 7, 2))
    (found,) = gradients(lambda v: spatial_gaussian(v, 1.5), [x], weight)
    np.testing.assert_allclose(found, to_numpy(spatial_gaussian(weight, 1.5)), atol=1e-4)

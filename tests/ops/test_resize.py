"""Sizes at run time: pooling to bins, resizing and shuffling against torch and Keras."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.ops import adaptive_average_pool, pixel_shuffle, resize_bilinear
from keras_dense.testing.expect import value_and_gradient

to_numpy = ops.convert_to_numpy


def random_map(height, width, channels=3, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(batch, height, width, channels)).astype("float32")


def in_torch(function, x, *args, **kwargs):
    """A function of torch, channels first, applied to a channels-last array."""
    torch = pytest.importorskip("torch")
    y = function(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), *args, **kwargs)
    return y.cpu().numpy().transpose(0, 2, 3, 1)


SIZES = [(1, 1), (2, 3), (5, 7), (97, 60)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("bins", [1, 2, 6, (4, 9)])
def test_bins_are_those_of_torch(size, bins):
    functional = pytest.importorskip("torch.nn.functional")
    x = random_map(*size)
    y = to_numpy(adaptive_average_pool(x, bins))
    np.testing.assert_allclose(y, in_torch(functional.adaptive_avg_pool2d, x, bins), atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", [(1, 5), (7, 3), (33, 65), (120, 90)])
def test_resizing_equals_keras_and_torch(size, new):
    functional = pytest.importorskip("torch.nn.functional")
    x = random_map(*size)
    y = to_numpy(resize_bilinear(x, *new))
    # In float64: torch computes positions in the precision of the map.
    double = x.astype("float64")
    wanted = in_torch(functional.interpolate, double, new, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(y, wanted, atol=2e-6)
    wanted = to_numpy(ops.image.resize(x, new, data_format="channels_last", antialias=False))
    np.testing.assert_allclose(y, wanted, atol=1e-4)


def test_resizing_keeps_constants_and_ramps():
    x = np.full((1, 7, 9, 2), 0.7, "float32")
    np.testing.assert_allclose(to_numpy(resize_bilinear(x, 41, 30)), 0.7, rtol=1e-6)
    # Centers at quarters: large sizes lose nothing, for positions are computed in integers.
    ramp = np.arange(2048, dtype="float32").reshape(1, 1, -1, 1)
    y = to_numpy(resize_bilinear(ramp, 1, 8192))[0, 0, :, 0]
    np.testing.assert_array_equal(y, np.clip((np.arange(8192) + 0.5) / 4 - 0.5, 0, 2047))


@pytest.mark.parametrize("factor", [1, 2, 3, (2, 4)])
def test_shuffling_is_that_of_torch(factor):
    f_h, f_w = (factor, factor) if isinstance(factor, int) else factor
    x = random_map(3, 5, 2 * f_h * f_w)
    y = to_numpy(pixel_shuffle(x, factor))
    assert y.shape == (2, 3 * f_h, 5 * f_w, 2)
    for a in range(f_h):
        for b in range(f_w):
            for c in range(2):
                cell = y[:, a::f_h, b::f_w, c]
                np.testing.assert_array_equal(cell, x[..., (c * f_h + a) * f_w + b])
    if f_h == f_w:
        functional = pytest.importorskip("torch.nn.functional")
        np.testing.assert_array_equal(y, in_torch(functional.pixel_shuffle, x, factor))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: adaptive_average_pool(x, 3),
        lambda x: adaptive_average_pool(x, (6, 11)),
        lambda x: resize_bilinear(x, 4, 3),
        lambda x: resize_bilinear(x, 12, 21),
        lambda x: pixel_shuffle(x, 2),
    ],
    ids=["bins", "more_bins", "smaller", "larger", "shuffle"],
)
def test_gradients(function):
    """All are linear: the gradient of `sum(w · f(x))` must satisfy `g · v == w · f(v)`."""
    x, v = random_map(5, 7, 4, batch=1), random_map(5, 7, 4, batch=1, seed=1)
    y = to_numpy(function(v)).astype("float64")
    weight = random_map(*y.shape[1:], batch=1, seed=2)
    _, gradient = value_and_gradient(
        lambda weight, x: ops.sum(weight * function(x), axis=(1, 2, 3)), weight, x
    )
    np.testing.assert_allclose((gradient * v).sum(), (weight * y).sum(), rtol=1e-4)


def test_computed_in_float32():
    x = ops.cast(1000 + random_map(64, 64, 1), "bfloat16")
    exact = to_numpy(ops.cast(x, "float32"))
    y = adaptive_average_pool(x, 1)
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    rounded = to_numpy(ops.cast(ops.cast(exact.mean((1, 2), keepdims=True), "bfloat16"), "float32"))
    np.testing.assert_array_equal(to_numpy(ops.cast(y, "float32")), rounded)
    whole = np.array([0, 3], "uint8").reshape(1, 1, 2, 1)
    assert to_numpy(resize_bilinear(whole, 1, 3)).ravel().tolist() == [0.0, 1.5, 3.0]


def test_a_size_known_only_at_run_time():
    """Inside a traced function with free sizes, on the backend that has such."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("sizes are always known when JAX and torch run")
    tf = pytest.importorskip("tensorflow")
    spec = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, None, 1))]

    @tf.function(input_signature=spec)
    def function(x, like):
        height, width = ops.shape(like)[1:3]
        return resize_bilinear(x, height, width), adaptive_average_pool(x, (2, 3))

    for size, new in (((5, 7), (11, 4)), ((3, 3), (3, 3)), ((1, 9), (6, 6))):
        x = random_map(*size)
        resized, pooled = function(x, np.zeros((2, *new, 1), "float32"))
        np.testing.assert_allclose(resized, resize_bilinear(x, *new), atol=1e-6)
        np.testing.assert_allclose(pooled, adaptive_average_pool(x, (2, 3)), atol=1e-6)


def test_bad_channels():
    with pytest.raises(ValueError, match="a multiple of 2·2 channels.*Received: 6"):
        pixel_shuffle(random_map(2, 2, 6), 2)

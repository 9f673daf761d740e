"""Sizes at run time: pooling to bins, resizing and shuffling against torch and Keras."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.ops import adaptive_average_pool, pixel_shuffle, resize_bilinear
from keras_dense.ops.resize import resize_nearest
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


def aligned(x, new):
    """The definition, in float64: new cell i is read at i (n - 1) / (m - 1)."""
    for axis, count in zip((1, 2), new, strict=True):
        place = np.arange(count) * (x.shape[axis] - 1) / max(count - 1, 1)
        low = np.minimum(place.astype(int), max(x.shape[axis] - 2, 0))
        weight = np.expand_dims(place - low, [n for n in range(4) if n != axis])
        high = np.minimum(low + 1, x.shape[axis] - 1)
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", [(1, 5), (7, 3), (33, 65), (120, 90)])
def test_aligned_corners_are_those_of_torch(size, new):
    functional = pytest.importorskip("torch.nn.functional")
    x = random_map(*size)
    y = to_numpy(resize_bilinear(x, *new, align_corners=True))
    double = x.astype("float64")
    np.testing.assert_allclose(y, aligned(double, new), atol=2e-6)
    wanted = in_torch(functional.interpolate, double, new, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(y, wanted, atol=2e-6)
    if 1 not in new:
        np.testing.assert_array_equal(y[:, [0, -1]][:, :, [0, -1]], x[:, [0, -1]][:, :, [0, -1]])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("new", [(1, 5), (7, 3), (33, 65), (120, 90)])
def test_nearest_is_that_of_torch(size, new):
    functional = pytest.importorskip("torch.nn.functional")
    x = random_map(*size)
    # In float64: in float32 torch rounds some positions down.
    wanted = in_torch(functional.interpolate, x.astype("float64"), new, mode="nearest")
    np.testing.assert_array_equal(to_numpy(resize_nearest(x, *new)), wanted)


def test_aligned_gradients_are_those_of_torch():
    torch = pytest.importorskip("torch")
    x, weight = random_map(5, 7, 2, batch=1), random_map(13, 9, 2, batch=1, seed=1)
    _, gradient = value_and_gradient(
        lambda weight, x: ops.sum(
            weight * resize_bilinear(x, 13, 9, align_corners=True), axis=(1, 2, 3)
        ),
        weight,
        x,
    )
    leaf = torch.tensor(x.transpose(0, 3, 1, 2), dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.interpolate(leaf, (13, 9), mode="bilinear", align_corners=True)
    (y * torch.tensor(weight.transpose(0, 3, 1, 2))).sum().backward()
    np.testing.assert_allclose(gradient, leaf.grad.numpy().transpose(0, 2, 3, 1), atol=1e-5)


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
        lambda x: resize_bilinear(x, 13, 4, align_corners=True),
        lambda x: resize_nearest(x, 13, 4),
        lambda x: pixel_shuffle(x, 2),
    ],
    ids=["bins", "more_bins", "smaller", "larger", "aligned", "nearest", "shuffle"],
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
        aligned = resize_bilinear(x, height, width, align_corners=True)
        near = resize_nearest(x, height, width)
        return resize_bilinear(x, height, width), adaptive_average_pool(x, (2, 3)), aligned, near

    for size, new in (((5, 7), (11, 4)), ((3, 3), (3, 3)), ((1, 9), (6, 6))):
        x = random_map(*size)
        resized, pooled, aligned, near = function(x, np.zeros((2, *new, 1), "float32"))
        np.testing.assert_allclose(resized, resize_bilinear(x, *new), atol=1e-6)
        np.testing.assert_allclose(pooled, adaptive_average_pool(x, (2, 3)), atol=1e-6)
        wanted = resize_bilinear(x, *new, align_corners=True)
        np.testing.assert_allclose(aligned, wanted, atol=1e-6)
        np.testing.assert_array_equal(near, resize_nearest(x, *new))


def test_bad_channels():
    with pytest.raises(ValueError, match="a multiple of 2·2 channels.*Received: 6"):
        pixel_shuffle(random_map(2, 2, 6), 2)

"""Perceptrons on maps of several strides: at every pixel, in bands, and at sampled pixels."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import GatherPixels, HypercolumnMLP
from keras_dense.ops.hypercolumn import sample_bilinear
from keras_dense.ops.image import upsample_bilinear
from keras_dense.testing import check_layer
from keras_dense.testing.expect import expect_round_trip, reload

to_numpy = ops.convert_to_numpy


def maps_of(strides, height, width, channels=(3, 5, 2), seed=0):
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(2, height // s[0], width // s[1], c)).astype("float32")
        for s, c in zip(strides, channels, strict=False)
    ]


def pixels(height, width, count, seed=0):
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, height, (2, count)), rng.integers(0, width, (2, count))
    return np.stack([rows, columns], axis=-1).astype("int32")


@pytest.mark.parametrize(
    "stride",
    [(3, 5), *(pytest.param(s, marks=pytest.mark.once) for s in ((1, 1), (4, 4), (8, 1), (1, 2)))],
)
def test_samples_of_an_upsampled_map(stride):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    large = to_numpy(upsample_bilinear(x, stride))
    height, width = large.shape[1:3]
    everywhere = np.stack(np.meshgrid(range(height), range(width), indexing="ij"), -1)
    positions = np.tile(everywhere.reshape(1, -1, 2), (2, 1, 1))
    got = to_numpy(sample_bilinear(x, positions, stride))
    np.testing.assert_allclose(got.reshape(large.shape), large, atol=1e-6)


@pytest.mark.parametrize(
    "strides, units",
    [
        pytest.param(((1, 1), (2, 2), (8, 8)), (6, 4), marks=pytest.mark.once),
        (((4, 4), (2, 2)), (3,)),
        pytest.param(((2, 2),), (5, 6, 2), marks=pytest.mark.once),
        pytest.param(((1, 1),), (4, 3), marks=pytest.mark.once),
        (((4, 2), (2, 8), (1, 1)), (4, 3)),
    ],
)
def test_bands_and_samples_are_the_whole(strides, units):
    height, width = 24, 16
    maps = maps_of(strides, height, width)
    layer = HypercolumnMLP(units, strides)
    whole = to_numpy(layer(maps, training=True))
    assert whole.shape == (2, height, width, units[-1])
    np.testing.assert_allclose(to_numpy(layer(maps)), whole, atol=1e-6)
    positions = pixels(height, width, 30)
    wanted = np.stack([y[p[:, 0], p[:, 1]] for y, p in zip(whole, positions, strict=True)])
    np.testing.assert_allclose(to_numpy(layer(maps, positions)), wanted, atol=1e-6)


def test_scale_does_not_depend_on_the_number_of_maps():
    """The first layer is initialized as one matrix on the whole hypercolumn."""
    for count in (1, 8):
        keras.utils.set_random_seed(0)
        maps = [np.random.default_rng(n).normal(size=(1, 16, 16, 32)) for n in range(count)]
        layer = HypercolumnMLP((256, 256), (1,) * count, activation="linear")
        assert np.std(to_numpy(layer(maps))) == pytest.approx(2**0.5, rel=0.1)


def test_in_a_model_of_free_size():
    strides = ((1, 1), (4, 4))
    inputs = [keras.Input((None, None, c)) for c in (3, 5)]
    where = keras.Input((None, 2), dtype="int32")
    layer = expect_round_trip(HypercolumnMLP((6, 2), strides))
    model = keras.Model([*inputs, where], [layer(inputs), layer(inputs, where)])
    assert [tuple(y.shape) for y in model.outputs] == [(None, None, None, 2), (None, None, 2)]
    arrays = [*maps_of(strides, 12, 8), pixels(12, 8, 7)]
    everywhere, some = model.predict_on_batch(arrays)
    assert everywhere.shape == (2, 12, 8, 2) and some.shape == (2, 7, 2)
    for a, b in zip(reload(model).predict_on_batch(arrays), (everywhere, some), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert layer.compute_output_shape([(None, 5, None, 3), (None, None, 2, 5)]) == (
        None,
        5,
        None,
        2,
    )


def test_gather_pixels():
    x = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    positions = pixels(5, 7, 4)
    check_layer(GatherPixels(), x, positions, any_size=False)
    wanted = np.stack([y[p[:, 0], p[:, 1]] for y, p in zip(x, positions, strict=True)])
    np.testing.assert_array_equal(to_numpy(GatherPixels()(x, positions)), wanted)


def test_bad_input():
    for units in ((), 0, (3, 0), (2.0,)):
        with pytest.raises(ValueError, match="`units` must be a tuple of integers >= 1"):
            HypercolumnMLP(units, (1,))
    for strides in ((), 4):
        with pytest.raises(
            ValueError, match="`strides` must be a tuple with a stride for each map"
        ):
            HypercolumnMLP(3, strides)
    with pytest.raises(ValueError, match="`strides` must be an integer >= 1"):
        HypercolumnMLP(3, (0, 1))
    with pytest.raises(ValueError, match="`strides` must be divisors of the largest one, 3"):
        HypercolumnMLP(3, (2, 3))
    with pytest.raises(ValueError, match="one map for each of the strides.*Received: 1 maps"):
        HypercolumnMLP(3, (1, 2))([np.zeros((1, 4, 4, 2))])
    with pytest.raises(ValueError, match="must have the sizes of one image"):
        HypercolumnMLP(3, (1, 2))([np.zeros((1, 4, 4, 2)), np.zeros((1, 2, 3, 2))])

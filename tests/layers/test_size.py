import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.layers import CropLike, FitLike, PadToMultiple, ReflectionPadding2D
from keras_dense.testing import check_layer


@pytest.mark.parametrize("size", [(32, 32), (33, 64), (97, 131), (63, 32)])
def test_padding_mirrors_at_the_bottom_and_the_right(size):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    y = ops.convert_to_numpy(PadToMultiple(32)(x))
    pads = [-n % 32 for n in size]
    np.testing.assert_array_equal(
        y, np.pad(x, [(0, 0), (0, pads[0]), (0, pads[1]), (0, 0)], mode="reflect")
    )


def test_cropping_undoes_padding():
    x = np.random.default_rng(0).normal(size=(1, 33, 45, 3)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(CropLike()(PadToMultiple(32)(x), x)), x)


@pytest.mark.parametrize("size", [(1, 32), (33, 34), (97, 131)])
def test_padding_with_a_color_to_a_remainder(size):
    color = [123.675, 116.28, -0.1]
    x = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype("float32")
    y = ops.convert_to_numpy(PadToMultiple(32, remainder=1, color=color)(x))
    height, width = (1 + -(-(n - 1) // 32) * 32 for n in size)
    assert y.shape == (2, height, width, 3)
    wanted = np.broadcast_to(np.float32(color), y.shape).copy()
    wanted[:, : size[0], : size[1]] = x
    np.testing.assert_array_equal(y, wanted)
    y = PadToMultiple(4, color=[1.6])(np.zeros((1, 3, 4, 1), "uint8"))
    assert ops.convert_to_numpy(y)[0, :, 0, 0].tolist() == [0, 0, 0, 2] and "int" in str(y.dtype)


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("size", [(9, 13), (8, 15), (12, 10), (30, 5)])
@pytest.mark.parametrize("stride", [1, (2, 3)])
def test_fitting(size, stride, centered):
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    like = np.zeros((1, 10, 12, 1), "float32")
    y = ops.convert_to_numpy(FitLike(stride, centered=centered)(x, like))
    wanted = x
    for axis, want in zip((1, 2), (10, 12) if stride == 1 else (5, 4), strict=True):
        have = x.shape[axis]
        before = 0 if not centered else max(have - want, 0) // 2 - max(want - have, 0) // 2
        wanted = np.take(wanted, np.clip(np.arange(want) + before, 0, have - 1), axis)
    np.testing.assert_array_equal(y, wanted)


def test_fitting_at_sizes_known_only_at_run_time():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("sizes are always known when JAX and torch run")
    tf = pytest.importorskip("tensorflow")
    spec = [tf.TensorSpec((None, None, None, 3)), tf.TensorSpec((None, None, None, 1))]
    for layer in (FitLike(), FitLike((2, 3), centered=True)):
        function = tf.function(layer, input_signature=spec)
        for size in ((9, 13), (3, 4), (1, 30)):
            x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
            like = np.zeros((1, 10, 12, 1), "float32")
            np.testing.assert_array_equal(function(x, like), layer(x, like))


@pytest.mark.parametrize("margin", [0, 5, ((1, 6), (0, 3)), [[30, 2], [1, 40]]])
def test_mirrored_on_all_sides(margin):
    x = np.random.default_rng(0).normal(size=(2, 7, 9, 3)).astype("float32")
    sides = ((margin, margin),) * 2 if isinstance(margin, int) else margin
    layer = ReflectionPadding2D(margin)
    wanted = np.pad(x, [(0, 0), *map(tuple, sides), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), wanted)
    assert layer.compute_output_shape(x.shape) == wanted.shape


def test_contracts():
    x = np.random.default_rng(0).normal(size=(2, 37, 41, 3)).astype("float32")
    check_layer(PadToMultiple(16), x)
    check_layer(PadToMultiple(16, remainder=1, color=(1, 2, 3)), x)
    check_layer(CropLike(), x, x[:, :20, :30, :1])
    check_layer(FitLike(centered=True), x, x[:, :20, :30, :1])
    check_layer(ReflectionPadding2D(((1, 2), (3, 0))), x)


@pytest.mark.parametrize("size", [(31, 33), (17, 18), (17, 16), (5, 7), (1, 2)])
def test_small_images_are_mirrored_several_times(size):
    """Graphs of unknown sizes, as in exported models, mirror once: more than half a stride."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype("float32")
    margin = [(0, -n % 32) for n in size]
    expected = np.pad(x, ((0, 0), *margin, (0, 0)), mode="reflect")
    np.testing.assert_array_equal(ops.convert_to_numpy(PadToMultiple(32)(x)), expected)
    if keras.backend.backend() != "tensorflow" or min(size) < 17:
        return
    import tensorflow as tf

    unknown = [tf.TensorSpec((None, None, None, 3))]
    padded = tf.function(PadToMultiple(32), input_signature=unknown)(x)
    np.testing.assert_array_equal(padded, expected)


@pytest.mark.once
def test_too_small():
    with pytest.raises(ValueError, match="`x` must be at least as large as `like`"):
        CropLike()(np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, 9, 8, 3), "float32"))


@pytest.mark.parametrize("multiple", [0, -1, 2.0])
def test_bad_multiple(multiple):
    with pytest.raises(ValueError, match="`multiple` must be an integer >= 1"):
        PadToMultiple(multiple)


def test_bad_colors_and_remainders():
    with pytest.raises(ValueError, match="`remainder` must be an integer from 0 to 3"):
        PadToMultiple(4, remainder=4)
    with pytest.raises(ValueError, match="`color` must have a number for each channel.*3 channels"):
        PadToMultiple(4, color=[1.0])(np.zeros((1, 8, 8, 3), "float32"))
    with pytest.raises(ValueError, match="`centered` must be True or False"):
        FitLike(centered=1)


@pytest.mark.parametrize("margin", [-1, 1.5, (1, 2), ((1, 2),), ((1, 2), (3, -4)), "12"])
def test_bad_margin(margin):
    with pytest.raises(ValueError, match="`margin` must be an integer >= 0 or"):
        ReflectionPadding2D(margin)

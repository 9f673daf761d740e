import numpy as np
import pytest
from keras import ops

from keras_dense.layers import CropLike, PadToMultiple, ReflectionPadding2D
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
    check_layer(CropLike(), x, x[:, :20, :30, :1])
    check_layer(ReflectionPadding2D(((1, 2), (3, 0))), x)


@pytest.mark.once
def test_too_small():
    with pytest.raises(
        ValueError, match="too small.*stride 32.*at least 32×32 pixels.*height=31, width=40"
    ):
        PadToMultiple(32)(np.zeros((1, 31, 40, 3), "float32"))
    with pytest.raises(ValueError, match="`x` must be at least as large as `like`"):
        CropLike()(np.zeros((1, 8, 8, 3), "float32"), np.zeros((1, 9, 8, 3), "float32"))


@pytest.mark.parametrize("multiple", [0, -1, 2.0])
def test_bad_multiple(multiple):
    with pytest.raises(ValueError, match="`multiple` must be an integer >= 1"):
        PadToMultiple(multiple)


@pytest.mark.parametrize("margin", [-1, 1.5, (1, 2), ((1, 2),), ((1, 2), (3, -4)), "12"])
def test_bad_margin(margin):
    with pytest.raises(ValueError, match="`margin` must be an integer >= 0 or"):
        ReflectionPadding2D(margin)

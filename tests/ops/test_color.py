import numpy as np
import pytest
from keras import ops

from keras_dense.losses.weighted import WeightedLoss
from keras_dense.ops import color
from keras_dense.testing.expect import value_and_gradient

CUBE = np.stack(np.mgrid[0:256:15, 0:256:15, 0:256:15], -1).reshape(-1, 3).astype("uint8")


def array(x):
    return ops.convert_to_numpy(x)


@pytest.fixture(scope="module")
def skimage():
    return pytest.importorskip("skimage.color", reason="compares with scikit-image")


def test_rgb_to_lab_as_scikit_image(skimage):
    np.testing.assert_allclose(
        array(color.rgb_to_lab(CUBE)), skimage.rgb2lab(CUBE / 255), atol=1e-4
    )
    dark = np.linspace(0, 12, 40)[:, None] * np.ones(3)  # across both seams, .04045 and .008856
    np.testing.assert_allclose(
        array(color.rgb_to_lab(dark)), skimage.rgb2lab(dark / 255), atol=1e-4
    )


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_lab_to_rgb_as_scikit_image_clips(skimage):
    lab = np.random.default_rng(0).uniform([0, -110, -110], [100, 110, 110], (5000, 3))
    rgb = array(color.lab_to_rgb(lab))
    np.testing.assert_allclose(rgb, 255 * skimage.lab2rgb(lab), atol=3e-3)
    assert rgb.min() == 0 and rgb.max() == 255


def test_there_and_back():
    back = array(color.lab_to_rgb(color.rgb_to_lab(CUBE), clip=False))
    np.testing.assert_allclose(back, CUBE, atol=3e-3)


@pytest.mark.once
def test_gamut():
    assert array(color.in_gamut(color.rgb_to_lab(CUBE))).all()
    # A hundred times the chroma is no color of a screen, but for black, grays and white.
    lab = array(color.rgb_to_lab(CUBE))
    vivid = np.abs(lab[:, 1:]).max(1) > 3
    inside = array(color.in_gamut(lab * [1, 100, 100]))
    assert not inside[vivid].any()
    rgb = array(color.lab_to_rgb(np.array([50.0, 100.0, -100.0]), clip=False))
    assert rgb.min() < 0 and rgb.max() > 255


def test_lightness_and_gray():
    lab, image = array(color.rgb_to_lab(CUBE)), array(color.gray(CUBE))
    np.testing.assert_allclose(array(color.lightness(CUBE)), lab[:, :1], atol=1e-4)
    of_gray = array(color.rgb_to_lab(image))
    np.testing.assert_allclose(of_gray[:, 0], lab[:, 0], atol=1e-4)
    assert np.abs(of_gray[:, 1:]).max() < 0.01
    assert (image[:, :1] == image).all()
    grays = np.repeat(np.arange(256.0)[:, None], 3, axis=1)
    np.testing.assert_allclose(array(color.gray(grays)), grays, atol=1e-3)


@pytest.mark.once
def test_recolor_keeps_lightness():
    own = array(color.recolor(CUBE, array(color.rgb_to_lab(CUBE))[:, 1:]))
    np.testing.assert_allclose(own, CUBE, atol=3e-3)
    pale = array(color.recolor(CUBE, np.zeros((len(CUBE), 2))))
    np.testing.assert_allclose(
        pale, array(color.gray(CUBE)), atol=0.05
    )  # skimage's white is (0, 0)


@pytest.mark.once
def test_full_size_keeps_places():
    """A cell's color comes back in the middle of the pixels it stands for."""
    ab = np.arange(3.0).reshape(1, 1, 3, 1) * np.ones((1, 2, 1, 2))
    whole = array(color.full_size(ab, np.zeros((1, 8, 12, 3))))
    np.testing.assert_allclose(whole.reshape(1, 2, 4, 3, 4, 2).mean((2, 4))[:, :, 1], ab[:, :, 1])
    np.testing.assert_array_equal(
        array(color.full_size(ab, np.zeros((1, 5, 10, 3)))), whole[:, :5, :10]
    )


class Through(WeightedLoss):
    def __init__(self, function):
        super().__init__(name="through")
        self.function = function

    def weighted(self, y_true, y_pred, sample_weight):
        return ops.sum(ops.sin(self.function(y_pred)))


@pytest.mark.parametrize("name", ["rgb_to_lab", "lab_to_rgb", "lightness", "gray"])
def test_gradients_are_finite_everywhere(name):
    """Black, white, negative light, the seams of the curves, far outside."""
    values = [-300.0, -1e-3, 0.0, 0.008856 * 255, 10.31475, 100.0, 255.0, 400.0]
    points = np.stack(np.meshgrid(*[values] * 3), -1).reshape(1, 1, -1, 3).astype("float32")
    loss = Through(getattr(color, name))
    value, gradient = value_and_gradient(loss, np.zeros((1, 1, 1, 1), "float32"), points)
    assert np.isfinite(value) and np.isfinite(gradient).all() and gradient.any()


def test_gradient_of_lab_is_the_slope():
    at = np.random.default_rng(0).uniform(5, 250, (1, 1, 7, 3)).astype("float32")
    loss = Through(lambda x: color.rgb_to_lab(x) / 100)
    _, gradient = value_and_gradient(loss, np.zeros((1, 1, 1, 1), "float32"), at)
    for n in range(3):
        step = np.eye(3)[n] * 1e-4
        ahead, behind = (color.to_lab(at.astype(float) + s) / 100 for s in (step, -step))
        slope = (np.sin(ahead) - np.sin(behind)).sum(-1) / 2e-4
        np.testing.assert_allclose(gradient[..., n], slope, rtol=1e-3, atol=1e-6)


def test_any_float_comes_out_as_float32():
    for dtype in ("bfloat16", "float16", "uint8"):
        assert "float32" in str(color.rgb_to_lab(ops.cast(CUBE[:4], dtype)).dtype)

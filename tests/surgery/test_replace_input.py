import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.surgery import replace_input

from .networks import images, randomized


@pytest.fixture(scope="module")
def app():
    return randomized(keras.applications.MobileNetV2(weights=None, alpha=0.35, include_top=False))


def test_gray_is_answered_as_its_rgb_copy(app):
    gray = images(2, 64, 64, 1)
    np.testing.assert_allclose(
        replace_input(app, 1).predict(gray, verbose=0),
        app.predict(np.repeat(gray, 3, -1), verbose=0),
        atol=1e-5,
    )


@pytest.mark.parametrize("channels", [2, 3, 4, 6, 7])
def test_others_repeat_rgb_in_turn(app, channels):
    new = replace_input(app, channels)
    assert new.input_shape == (None, None, None, channels)
    old, kernel = (next(x for x in m.layers if x.weights).get_weights()[0] for m in (app, new))
    for i in range(channels):
        np.testing.assert_allclose(kernel[:, :, i], old[:, :, i % 3] * 3 / channels, rtol=1e-6)
    if channels % 3 == 0:  # whole copies of an image are answered as the image
        x = images(1, 64, 64)
        copies = np.tile(x, (1, 1, 1, channels // 3))
        np.testing.assert_allclose(
            new.predict(copies, verbose=0), app.predict(x, verbose=0), atol=1e-5
        )


def test_channels_count_in_rgb_order_where_the_network_reads_bgr():
    """A caffe-style backbone: only the red of the photo differs from black."""
    backbone = kd.backbone("vgg16", weights=None, taps={"P1": "block1_pool"})
    six = replace_input(backbone, 6)
    x = (images(1, 32, 32) + 1) * 127.5
    np.testing.assert_allclose(
        six.predict(np.tile(x, (1, 1, 1, 2)), verbose=0)["P1"],
        backbone.predict(x, verbose=0)["P1"],
        rtol=1e-4,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV3Small",
        pytest.param("EfficientNetB0", marks=pytest.mark.exhaustive),
        pytest.param("DenseNet121", marks=pytest.mark.exhaustive),
    ],
)
def test_standardizing_layers_follow(name):
    backbone = kd.backbone(name, weights=None)
    six = kd.backbone(name, weights=None, channels=6)
    assert six.input_shape[-1] == 6 and set(six.output) == set(backbone.output)
    again = replace_input(backbone, 6)
    x = (images(1, 64, 64) + 1) * 127.5
    wanted, got = backbone.predict(x, verbose=0), again.predict(np.tile(x, (1, 1, 1, 2)), verbose=0)
    np.testing.assert_allclose(got["P5"], wanted["P5"], rtol=1e-3, atol=1e-4)


def test_in_a_builder():
    backbone = kd.backbone("mobilenet", weights=None, alpha=0.25, channels=4)
    model = kd.fcn32s(backbone, 3, input_shape=(None, None, 4))
    assert model.predict(images(1, 33, 47, 4), verbose=0).shape == (1, 33, 47, 3)
    with pytest.raises(ValueError, match="takes 4 channels, but `input_shape` has 3"):
        kd.fcn32s(backbone, 3)


def test_bad_input(app):
    for channels in (0, 2.5, None):
        with pytest.raises(ValueError, match="`channels` must be an integer >= 1"):
            replace_input(app, channels)
    odd = keras.Sequential([keras.Input((8, 8, 3)), layers.DepthwiseConv2D(3, name="odd")])
    with pytest.raises(ValueError, match=r"Received: 'odd' \(DepthwiseConv2D\), which does not"):
        replace_input(odd, 1)
    none = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(2.0)])
    with pytest.raises(
        ValueError,
        match="`model` must have a convolution that reads the image. Received: 'sequential",
    ):
        replace_input(none, 1)

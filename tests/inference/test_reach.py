"""How far a network looks, as tiled prediction reads it, and what it says where it has to guess."""

import warnings
from math import inf

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.inference.tiles import reach_of


@keras.saving.register_keras_serializable("tests")
class Roll(layers.Layer):
    """Looks at the row above in a way that no walk over the graph can know."""

    def call(self, x):
        return ops.roll(x, 1, axis=1)


def rolled():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(image)
    x = Roll(name="turn")(x)
    return keras.Model(image, layers.UpSampling2D(2)(x))


def test_a_guess_is_a_warning_that_names_layer_and_remedy():
    with pytest.warns(UserWarning, match=r"'turn' \(Roll\) looks at more.*48 pixels.*`overlap=`"):
        assert reach_of(rolled()) == (inf, 32)
    image = np.zeros((64, 96, 3), "uint8")
    with pytest.warns(UserWarning, match="'turn'"):
        kd.inference.predict_tiled(rolled(), image, tile=32)


def test_no_warning_where_nothing_is_guessed():
    image = np.zeros((64, 96, 3), "uint8")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        kd.inference.predict_tiled(rolled(), image, tile=32, overlap=8)
        assert reach_of(kd.segnet_basic(num_classes=2, filters=2, kernel_size=3))[0] < inf


def test_a_network_that_sees_everything_is_no_guess():
    image = keras.Input((None, None, 3))
    scores = layers.Conv2D(2, 3, padding="same")(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        model = keras.Model(image, kd.layers.CRFasRNN(1)(scores, image))
        assert reach_of(model) == (inf, 1)
        gate = layers.GlobalAveragePooling2D(keepdims=True)(scores)
        model = keras.Model(image, layers.Multiply()([scores, gate]))
        assert reach_of(model) == (1, 1)


def test_tiles_of_an_unpadded_unet_are_the_whole():
    """Its field is 47 pixels, so an overlap of 48 is enough."""
    model = kd.unet(num_classes=2, filters=(8, 4), padding="valid")
    assert reach_of(model) == (23, 4)
    image = np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype="uint8")
    whole = ops.convert_to_numpy(model(image[None], training=False))[0]
    tiled = kd.inference.predict_tiled(model, image, tile=(200, 200), raw=True)
    np.testing.assert_allclose(tiled, whole, atol=1e-4)

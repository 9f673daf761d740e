"""Layers that cannot be made from their configuration: shared, or refused by name."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.surgery import rebuild

pytestmark = pytest.mark.once


class Gain(layers.Layer):
    """A layer whose configuration lacks what its constructor needs, as in many a repository."""

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def build(self, input_shape):
        self.gain = self.add_weight(shape=(self.size,), name="gain", initializer="ones")

    def call(self, inputs):
        return inputs * self.gain

    def get_config(self):
        return super().get_config() | {"sizes": self.size}


class Halved(Gain):
    """Its configuration gives a layer of other weights."""

    def __init__(self, size=1, **kwargs):
        super().__init__(size, **kwargs)

    def get_config(self):
        return layers.Layer.get_config(self)


class OwnConv(layers.Conv2D):
    def __init__(self, callback, **kwargs):
        super().__init__(**kwargs)
        self.callback = callback


def network(own, size=(None, None)):
    x = image = keras.Input((*size, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="first")(x)
    x = own(x)
    x = layers.Lambda(lambda x: 2 * x, name="twice")(x)
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="last")(x)
    return keras.Model(image, x)


@pytest.mark.parametrize("kind", [Gain, Halved])
def test_what_cannot_be_copied_is_shared_with_a_warning_and_the_input_stays(kind):
    model = network(kind(4, name="own"))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    before, names = model.get_weights(), [x.name for x in model.layers]
    image = rng.normal(size=(1, 8, 8, 3)).astype("float32")
    wanted = ops.convert_to_numpy(model(image))
    with pytest.warns(UserWarning, match=rf"'own' \({kind.__name__}\) cannot be copied.*shares it"):
        backbone = kd.backbone(model)
    assert backbone.get_layer("own") is model.get_layer("own")
    assert backbone.get_layer("last") is not model.get_layer("last")
    np.testing.assert_allclose(ops.convert_to_numpy(backbone(image)["P2"]), wanted, 1e-5, 1e-5)
    assert [x.name for x in model.layers] == names
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(ops.convert_to_numpy(model(image)), wanted, 1e-5, 1e-5)


def test_a_layer_that_would_have_to_change_is_refused_by_name():
    conv = OwnConv(print, filters=4, kernel_size=3, strides=2, padding="same", name="own")
    model = network(conv)
    with pytest.raises(ValueError, match=r"'own' \(OwnConv\) cannot be copied.*strides.*OwnConv a"):
        kd.surgery.dilate(model, 1)
    with pytest.warns(UserWarning, match="'own'"):
        rebuild(model)


def test_a_shared_layer_is_shared_once_and_the_names_of_others_make_room():
    own = Gain(3, name="own")
    image = keras.Input((8, 8, 3))
    inner = keras.Model(image, layers.Conv2D(3, 1, name="own_conv")(own(own(image))))
    outer = keras.Input((8, 8, 3))
    x = layers.Conv2D(3, 1, name="own_conv")(inner(outer))
    with pytest.warns(UserWarning) as caught:
        new = rebuild(keras.Model(outer, x))
    assert sum("shares it" in str(warning.message) for warning in caught) == 1
    assert [x.name for x in new.layers[1:]] == ["own", "own_conv", "own_conv_1"]


def test_taps_that_are_no_maps_and_sources_without_any_are_named():
    image = keras.Input((32, 32, 3))
    patches = layers.Reshape((-1, 4), name="patches")(layers.Conv2D(4, 16, 16)(image))
    mixed = layers.Dense(4, name="mixed")(patches)
    model = keras.Model(image, layers.Reshape((2, 2, 4), name="map")(mixed), name="vit")
    with pytest.raises(ValueError, match=r"'P4': 'mixed', which is of shape \(None, None, 4\)"):
        kd.backbone(model, taps={"P4": "mixed"})
    levels = keras.Model(image, {"P4": model.output}, name="vit")
    with pytest.raises(ValueError, match="`source`.*'vit', whose features P4.*'map', Reshape"):
        kd.backbone(levels)
    vectors = keras.Model(image, layers.Dense(4)(layers.Flatten()(image)), name="mlp")
    with pytest.raises(ValueError, match=r"`source` must have feature maps. Received: 'mlp'.*\(No"):
        kd.backbone(vectors)

"""A network that holds no map longer than it needs it."""

import weakref

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.inference.lean import Lean


def images(height=64, width=96):
    return np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype="uint8")


@pytest.mark.everywhere
def test_results_are_those_of_the_model(backbone):
    heads = {"a": kd.heads.Segmentation(3), "b": kd.heads.Normals()}
    model = kd.fpn(backbone, heads=heads)
    expected = model.predict_on_batch(images())
    found = Lean(model).predict_on_batch(images())
    assert found.keys() == expected.keys()
    for key, y in expected.items():
        np.testing.assert_allclose(found[key], y, atol=1e-5)


def test_layers_cast_themselves():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(4, 3)(image))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        lean = Lean(model)
    finally:
        keras.config.set_dtype_policy("float32")
    x = images().astype("float32") + 0.3
    np.testing.assert_array_equal(lean.predict_on_batch(x), model.predict_on_batch(x))


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="others compile predictions")
def test_maps_are_freed_after_their_last_use():
    alive, most = weakref.WeakSet(), []

    class Watched(layers.Layer):
        def call(self, x):
            most.append(len(alive))
            y = x + 1
            alive.add(y)
            return y

    image = keras.Input((None, None, 3))
    x = skip = Watched()(image)
    for _ in range(10):
        x = Watched()(x)
    model = keras.Model(image, keras.layers.add([x, skip]))
    expected = model.predict_on_batch(images())
    assert max(most) == 10
    most.clear()
    np.testing.assert_array_equal(Lean(model).predict_on_batch(images()), expected)
    # The map that skips the others, and those that a layer and its caller hold.
    assert max(most) <= 4

import keras
import numpy as np
import pytest

from keras_dense.training import freeze_batch_norm


def network():
    image = keras.Input((4, 4, 3))
    x = keras.layers.BatchNormalization(name="inner")(keras.layers.Conv2D(4, 1)(image))
    trunk = keras.Model(image, x, name="trunk")
    x = keras.layers.BatchNormalization(name="outer")(trunk(image))
    return keras.Model(image, keras.layers.Conv2D(1, 1)(x))


def test_frozen_layers_stay(tmp_path):
    model = network()
    assert freeze_batch_norm(model) == 2
    model.compile("sgd", loss="mse")
    layers = [model.get_layer("outer"), model.get_layer("trunk").get_layer("inner")]
    before = [keras.ops.convert_to_numpy(w) for layer in layers for w in layer.weights]
    x = np.random.default_rng(0).normal(3.0, 2.0, (4, 4, 4, 3)).astype("float32")
    model.fit(x, x[..., :1], epochs=2, verbose=0)
    after = [keras.ops.convert_to_numpy(w) for layer in layers for w in layer.weights]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)
    # Moving statistics, also while training.
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(model(x, training=True)),
        keras.ops.convert_to_numpy(model(x, training=False)),
    )

    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not again.get_layer("trunk").get_layer("inner").trainable
    assert len(again.trainable_variables) == len(model.trainable_variables) == 4


def test_in_a_sequential():
    model = keras.Sequential([keras.Input((2,)), keras.Sequential([keras.Input((2,))])])
    model.layers[0].add(keras.layers.BatchNormalization())
    assert freeze_batch_norm(model) == 1


def test_bad_arguments():
    with pytest.raises(TypeError, match="`model` must be a Keras model"):
        freeze_batch_norm("resnet50")

"""Shared parts of the checks: messages, gradients on any backend, saving and loading."""

import os
import tempfile

import keras
import numpy as np
from keras import ops


def expect(condition, message):
    """Raise `AssertionError(message)` unless `condition` holds."""
    if not condition:
        raise AssertionError(message)


def expect_close(actual, desired, message, tolerance=1e-5):
    """Raise `AssertionError` unless two arrays agree, absolutely and relatively."""
    actual, desired = (ops.convert_to_numpy(x).astype("float64") for x in (actual, desired))
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance, err_msg=message)


def expect_round_trip(thing):
    """Check that Keras rebuilds `thing` from its config alone, and return the copy."""
    kind = type(thing).__name__
    expect(
        ">" in keras.saving.get_registered_name(type(thing)) or _is_keras(thing),
        f"{kind} is not registered: decorate it with "
        "@keras.saving.register_keras_serializable(package)",
    )
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(thing))
    expect(type(copy) is type(thing), f"{kind} came back from its config as {type(copy).__name__}")
    before, after = (keras.saving.serialize_keras_object(t)["config"] for t in (thing, copy))
    expect(before == after, f"{kind} changed by a config round trip: {before} -> {after}")
    return copy


def _is_keras(thing):
    return type(thing).__module__.split(".")[0] == "keras"


def reload(model):
    """Save a model to a `.keras` file and load it without `custom_objects`."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        return keras.saving.load_model(path)


class _Shift(keras.layers.Layer):
    """Adds a weight that starts at 0 and has the shape of the input, batch included."""

    def build(self, input_shape):
        self.shift = self.add_weight(shape=input_shape, initializer="zeros", name="shift")

    def call(self, x):
        return ops.cast(x, "float32") + self.shift


def value_and_gradient(loss, y_true, y_pred, sample_weight=None):
    """The value of a loss and its gradient with respect to the prediction, as NumPy arrays.

    One step of gradient descent with rate 1, from 0, ends at minus the gradient, on any backend.
    """
    inputs = keras.Input(batch_shape=y_pred.shape)
    layer = _Shift(dtype="float32")
    model = keras.Model(inputs, layer(inputs))
    model.compile(keras.optimizers.SGD(1.0), loss=loss, run_eagerly=True, jit_compile=False)
    # A tensor, as in `fit`: what is checked of NumPy targets alone is left out.
    y_true = ops.convert_to_tensor(y_true)
    value = model.train_on_batch(y_pred, y_true, sample_weight=sample_weight)
    return float(value), -ops.convert_to_numpy(layer.shift.value)

"""The contract accepts good layers and names what is wrong with bad ones."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.testing import check_layer

IMAGE = np.random.default_rng(0).normal(size=(2, 7, 9, 3))


@keras.saving.register_keras_serializable("tests")
class Scale(keras.layers.Layer):
    """A good layer, which the bad ones below spoil."""

    def __init__(self, power=1, **kwargs):
        super().__init__(**kwargs)
        self.power = power

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="uniform", name="scale")

    def call(self, x):
        return x * self.scale**self.power

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "power": self.power}


@keras.saving.register_keras_serializable("tests")
class TwoOutputs(keras.layers.Layer):
    def call(self, x):
        return ops.max(x, axis=-1), ops.argmax(x, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape[:-1], input_shape[:-1]


@keras.saving.register_keras_serializable("tests")
class LikeOther(keras.layers.Layer):
    def call(self, x, like):
        return x[:, : ops.shape(like)[1]]

    def compute_output_shape(self, x_shape, like_shape):
        return (x_shape[0], like_shape[1], *x_shape[2:])


@keras.saving.register_keras_serializable("tests")
class ForgetsConfig(Scale):
    def get_config(self):
        return {**super().get_config(), "power": 1}


@keras.saving.register_keras_serializable("tests")
class WrongShape(Scale):
    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 5)


@keras.saving.register_keras_serializable("tests")
class DeadWeight(Scale):
    def build(self, input_shape):
        super().build(input_shape)
        self.dead = self.add_weight(shape=(1,), name="dead")

    def call(self, x):
        return super().call(x) + 0.0 * self.dead


@keras.saving.register_keras_serializable("tests")
class Overflows(Scale):
    def call(self, x):
        return super().call(x) * (1e30 if self.compute_dtype == "float32" else 1e39)


class Unregistered(Scale):
    pass


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "layer",
    [
        Scale(power=2),
        TwoOutputs(),
        keras.layers.Conv2D(4, 3, strides=2),
        keras.layers.UpSampling2D(2),
        keras.layers.BatchNormalization(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_good_layers(layer):
    check_layer(layer, IMAGE)


def test_several_inputs_and_fixed_sizes():
    check_layer(LikeOther(), IMAGE, IMAGE[:, :4])
    check_layer(keras.layers.Dense(2), IMAGE, any_size=False)


@pytest.mark.parametrize(
    "layer, message",
    [
        (WrongShape(), "compute_output_shape says"),
        (DeadWeight(), "dead did not move"),
        (Overflows(), "not finite with mixed_bfloat16"),
        (Unregistered(), "Unregistered is not registered"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bad_layers(layer, message):
    with pytest.raises(AssertionError, match=message):
        check_layer(layer, IMAGE)


def test_a_config_that_forgets():
    with pytest.raises(AssertionError, match="another output"):
        check_layer(ForgetsConfig(power=2), IMAGE)


def test_without_inputs():
    with pytest.raises(AssertionError, match="needs the inputs"):
        check_layer(Scale())

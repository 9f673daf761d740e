"""Weights that may stay where they are in training: by their gradients, not by their names."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.testing import check_layer, check_model
from tests.models.small import plain_backbone

IMAGE = np.random.default_rng(0).normal(size=(2, 7, 9, 3))


@keras.saving.register_keras_serializable("tests")
class Offset(layers.Layer):
    """Scales, and adds an offset."""

    start = 3.0

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="uniform", name="scale")
        self.offset = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.start),
            name="offset",
        )

    def call(self, x):
        return x * self.scale + self.offset

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("tests")
class Cancels(Offset):
    """Takes the offset away again."""

    def call(self, x):
        y = super().call(x)
        return y - ops.mean(y, axis=(1, 2), keepdims=True)


@keras.saving.register_keras_serializable("tests")
class Faint(Offset):
    """Its offset has a gradient, but too small a one."""

    start = 3e4

    def call(self, x):
        seen = self.offset - ops.stop_gradient(self.offset)
        return x * self.scale + 1e-4 * seen


@keras.saving.register_keras_serializable("tests")
class Unread(Offset):
    def call(self, x):
        return x * self.scale


@pytest.mark.everywhere
def test_an_offset_that_is_taken_away_may_stay():
    check_layer(Offset(), IMAGE)
    check_layer(Cancels(), IMAGE)


@pytest.mark.everywhere
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_bad_weights_that_stay():
    with pytest.raises(
        AssertionError, match="offset did not move in a gradient step: it has no gr"
    ):
        check_layer(Unread(), IMAGE)
    with pytest.raises(AssertionError, match="offset did not move .* is too small for that, but n"):
        check_layer(Faint(), IMAGE)


def with_offsets(unread=None):
    """A SegFormer, whose batch norm takes the offsets away that its backbone ends with."""
    backbone = plain_backbone()
    features = {}
    for level in ("P2", "P3", "P4", "P5"):
        kind = Unread if level == unread else Offset
        features[level] = kind(name=f"{level}_end")(backbone.output[level])
    backbone = keras.Model(backbone.input, features, name="backbone")
    return kd.segformer(backbone, 3, filters=8)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_networks():
    check_model(with_offsets(), sizes=((64, 64),))
    with pytest.raises(AssertionError, match="P5_end/offset did not move in 3 steps: it has no gr"):
        check_model(with_offsets("P5"), sizes=((64, 64),))

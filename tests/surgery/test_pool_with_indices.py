"""VGG made a backbone for unpooling: poolings that keep their indices, batch norms put in."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.layers import MaxPoolWithArgmax2D, MaxUnpool2D
from keras_dense.surgery import insert_batch_norm, pool_with_indices, receptive_field, strides

from .networks import images

to_numpy = ops.convert_to_numpy


def run(model, x):
    return keras.tree.map_structure(to_numpy, model(x, training=False))


def small_vgg():
    """Poolings of three kinds, one in a nested model, and convolutions with and without ReLU."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="conv1")(image)
    x = layers.MaxPooling2D(name="pool1")(x)
    inside = keras.Input((None, None, 4))
    y = layers.SeparableConv2D(5, 3, padding="same", name="conv2")(inside)
    y = layers.ReLU(name="relu2")(y)
    y = layers.MaxPooling2D(3, strides=2, padding="same", name="pool2")(y)
    x = keras.Model(inside, y, name="nested")(x)
    x = layers.Conv2D(6, 3, padding="same", name="conv3")(x)
    x = layers.BatchNormalization(name="bn3")(x)
    x = layers.Activation("relu", name="relu3")(x)
    x = layers.MaxPooling2D(3, strides=1, padding="same", name="dense_pool")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(6, 1, activation="sigmoid", name="gate")(gate)
    return keras.Model(image, layers.Multiply(name="gated")([x, gate]))


def test_indices_beside_the_features():
    model = small_vgg()
    backbone = pool_with_indices(model, name="backbone")
    assert backbone.name == "backbone"
    assert strides(backbone) == {"P0": 1, "P1": 2, "P2": 4, "I1": 2, "I2": 4}
    assert {x.name for x in backbone.layers if isinstance(x, MaxPoolWithArgmax2D)} == {
        "pool1",
        "pool2",
    }
    x = images(2, 16, 24)
    features = run(backbone, x)
    np.testing.assert_allclose(features["P2"], run(model, x), atol=1e-6)
    assert features["I1"].dtype == features["I2"].dtype == np.int32
    field = receptive_field(backbone, gates=False)["I2"]
    assert field.stride == (4, 4) and field.size == (12, 12)


def test_what_it_unpools_are_the_maxima():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, padding="same", name="conv")(image)
    backbone = pool_with_indices(keras.Model(image, layers.MaxPooling2D()(x)))
    f = run(backbone, images(1, 6, 8))
    back = to_numpy(MaxUnpool2D()(f["P1"], f["I1"], f["P0"]))
    np.testing.assert_array_equal(back[back != 0], f["P0"][back != 0])
    assert np.count_nonzero(back) == f["P1"].size


def test_networks_without_max_pooling_have_no_indices():
    backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    assert sorted(pool_with_indices(backbone).output) == ["P1", "P2", "P3", "P4", "P5"]
    with pytest.raises(TypeError, match="must be a functional"):
        pool_with_indices(keras.Sequential([layers.Conv2D(4, 3)]))


def test_batch_norm_between_convolution_and_activation():
    model = small_vgg()
    new = insert_batch_norm(model, epsilon=0.0)
    added = [x.name for x in new.layers if x.name.endswith("_bn")]
    assert added == ["conv1_bn", "conv2_bn"]
    assert new.get_layer("conv1").activation is keras.activations.linear
    x = images(2, 16, 24)
    np.testing.assert_allclose(run(new, x), run(model, x), atol=1e-6)
    assert model.get_layer("conv1").activation is keras.activations.relu  # as it was
    assert [x.name for x in insert_batch_norm(new).layers] == [x.name for x in new.layers]
    after = [x.name for x in new.layers]
    assert after.index("conv2") < after.index("conv2_bn") < after.index("relu2")


def test_batch_norm_keeps_precision_and_frozen_layers():
    keras.config.set_dtype_policy("mixed_bfloat16")
    image = keras.Input((None, None, 3))
    convolution = layers.Conv2D(4, 3, activation="swish", name="conv", trainable=False)
    new = insert_batch_norm(keras.Model(image, convolution(image)))
    assert not new.get_layer("conv").trainable and new.get_layer("conv_bn").trainable
    assert new.get_layer("conv_bn").compute_dtype == "bfloat16"
    assert "conv_silu" in {x.name for x in new.layers}

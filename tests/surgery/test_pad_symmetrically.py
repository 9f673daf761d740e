"""Strided windows padded as PyTorch pads them."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.surgery import dilate, pad_symmetrically, set_epsilon

from .networks import images, randomized


def run(model, x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, training=False))


def paired():
    """Every kind of strided window, in Keras with its own padding; the same in torch."""
    from torch import nn

    image = keras.Input((None, None, 3))
    x = layers.Conv2D(8, 3, 2, "same", activation="relu", name="conv3")(image)
    x = layers.ZeroPadding2D(((1, 2), (1, 2)), name="depthwise5_pad")(x)
    x = layers.DepthwiseConv2D(5, 2, "valid", name="depthwise5")(x)
    x = layers.MaxPooling2D(3, 2, "same", name="pool")(x)  # of negative values, too
    x = layers.Conv2D(8, 3, 2, "same", groups=2, name="grouped")(x)
    x = layers.Conv2D(8, 1, 2, "same", name="point")(x)
    x = layers.AveragePooling2D(2, 2, "valid", name="mean")(x)
    x = layers.Conv2D(6, 3, 1, "same", name="last")(x)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 5, 2, 2, groups=8),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 8, 3, 2, 1, groups=2),
        nn.Conv2d(8, 8, 1, 2),
        nn.AvgPool2d(2, 2),
        nn.Conv2d(8, 6, 3, 1, 1),
    )
    model = keras.Model(image, x)
    convs = [m for m in net if isinstance(m, nn.Conv2d)]
    for layer, conv in zip([x for x in model.layers if x.weights], convs, strict=True):
        kernel = conv.weight.detach().numpy()
        order = (2, 3, 0, 1) if "depthwise" in layer.name else (2, 3, 1, 0)
        layer.set_weights([kernel.transpose(order), conv.bias.detach().numpy()])
    return model, net


@pytest.mark.parametrize("size", [(64, 96), pytest.param((75, 101), marks=pytest.mark.everywhere)])
def test_equals_torch(size):
    import torch

    model, net = paired()
    x = images(1, *size)
    with torch.no_grad():
        wanted = net(torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    got = run(pad_symmetrically(model), x)
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    other = run(model, x)
    assert other.shape != wanted.shape or np.abs(other - wanted).max() > 0.01 * np.abs(wanted).max()


def test_equals_same_padding_where_that_is_symmetric():
    """Every strided map of a 65×97 image is odd: "same" padding is alike on both sides."""
    app = keras.applications.MobileNetV3Small(weights=None, include_top=False, alpha=0.75)
    new = pad_symmetrically(randomized(app))
    x = images(1, 65, 97)
    built = keras.applications.MobileNetV3Small(
        weights=None, include_top=False, alpha=0.75, input_shape=(65, 97, 3)
    )
    built.set_weights(app.get_weights())
    np.testing.assert_allclose(run(new, x), run(built, x), atol=1e-5)


def test_only_one_sided_padding_changes():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 4, 4, "same", name="patches")(image)
    x = layers.Conv2D(4, 3, 1, "same", name="plain")(x)
    x = layers.Conv2D(4, 3, 3, "same", name="thirds")(x)
    x = layers.Conv2D(4, 3, 4, "same", name="gaps")(x)
    x = layers.MaxPooling2D(2, 2, "same", name="halves")(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="zeros")(x)
    x = layers.Add()([layers.Conv2D(4, 3, 2, name="a")(x), layers.MaxPooling2D(3, 2, name="b")(x)])
    y = layers.ZeroPadding2D(((0, 1), (0, 1)), name="read_otherwise")(x)
    x = layers.Concatenate()([layers.Conv2D(4, 2, name="c")(y), layers.Conv2D(4, 2, name="d")(y)])
    model = keras.Model(image, x)
    new = pad_symmetrically(model, name="new")
    assert new.name == "new" and len(new.layers) == len(model.layers)
    changed = {
        old.name: layer.padding
        for old, layer in zip(model.layers, new.layers, strict=True)
        if getattr(old, "padding", None) != getattr(layer, "padding", None)
    }
    assert changed == {"zeros": ((1, 1), (1, 1))}
    for old, w in zip(model.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(old, w)


def test_axes_are_padded_each_by_its_stride():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.DepthwiseConv2D((5, 3), (2, 2), "same", name="a")(image))
    assert pad_symmetrically(model).get_layer("a_pad").padding == ((2, 2), (1, 1))
    model = keras.Model(image, layers.MaxPooling2D(3, (2, 1), "same", name="a")(image))
    assert pad_symmetrically(model).get_layer("a").padding == ((1, 1), (1, 1))


def test_then_dilated():
    """The atrous identity holds for the new padding."""
    app = keras.applications.MobileNetV2(weights=None, include_top=False, alpha=0.35)
    model = pad_symmetrically(randomized(app))
    x = images(1, 64, 96)
    y = run(model, x)
    dense = run(dilate(model, 8), x)
    np.testing.assert_allclose(dense[:, ::4, ::4], y, atol=1e-4 * np.abs(y).max())


def test_nested_models_and_strides():
    inner = keras.Sequential(
        [keras.Input((None, None, 4)), layers.Conv2D(4, 3, 2, "same", name="inside")]
    )
    image = keras.Input((None, None, 3))
    model = keras.Model(image, inner(layers.Conv2D(4, 3, 2, "same", name="first")(image)))
    new = pad_symmetrically(model)
    assert new.get_layer("inside").padding == "valid" and kd.surgery.strides(new) == 4
    assert model.get_layer("first").padding == "same"


def test_set_epsilon():
    app = randomized(
        keras.Sequential(
            [
                keras.Input((None, None, 3)),
                layers.Conv2D(4, 3),
                layers.BatchNormalization(name="bn"),
            ]
        )
    )
    new = set_epsilon(app, 0.5)
    assert app.get_layer("bn").epsilon == 1e-3 and new.get_layer("bn").epsilon == 0.5
    gamma, beta, mean, variance = app.get_layer("bn").get_weights()
    x = images(1, 8, 8)
    before = run(app.layers[0], x)
    wanted = (before - mean) / np.sqrt(variance + 0.5) * gamma + beta
    np.testing.assert_allclose(run(new, x), wanted, atol=1e-5)


def test_bad_arguments():
    image = keras.Input((3, 16, 16))
    conv = layers.Conv2D(4, 3, 2, "same", data_format="channels_first")
    with pytest.raises(ValueError, match="The network must be channels_last"):
        pad_symmetrically(keras.Model(image, conv(image)))
    with pytest.raises(TypeError, match="`model` must be a functional Keras model"):
        pad_symmetrically(layers.Conv2D(4, 3))
    model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    for epsilon in (-1, "1e-5", None, True):
        with pytest.raises(ValueError, match="`epsilon` must be a number >= 0"):
            set_epsilon(model, epsilon)

"""Strides of networks with layers that leave the grid and come back to it."""

from fractions import Fraction

import keras
import numpy as np
import pytest
from keras import layers

from keras_dense.layers import (
    AdaptiveAveragePooling2D,
    MaxPoolWithArgmax2D,
    MaxUnpool2D,
    PixelShuffle,
    ResizeLike,
)
from keras_dense.surgery import dilate, feature_pyramid, rebuild, strides, walk
from keras_dense.surgery.feature_pyramid import stages
from keras_dense.surgery.strides import Stride, stride_after

from .networks import images


def pyramid_pooling(x):
    parts = [x]
    for bins in (1, 2, 3):
        part = layers.Conv2D(2, 1)(AdaptiveAveragePooling2D(bins)(x))
        parts.append(ResizeLike()(part, like=x) if bins == 2 else ResizeLike()(part, x))
    return layers.Concatenate()(parts)


@pytest.fixture
def network():
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(4, 3, strides=(2, 4), padding="same", activation="relu")(x)
    pooled = AdaptiveAveragePooling2D((2, 3))(x)
    context = pyramid_pooling(x)
    outputs = {
        "coarse": x,
        "pooled": pooled,
        "after": layers.Conv2D(2, 1)(pooled),
        "context": context,
        "shuffled": PixelShuffle((2, 4))(layers.Conv2D(16, 1)(context)),
        "finer": PixelShuffle(8)(layers.Conv2D(64, 1)(context)),
        "resized": ResizeLike()(x=context, like=image),
    }
    return keras.Model(image, outputs)


def test_strides(network):
    assert strides(network) == {
        "coarse": (4, 8),
        "pooled": None,
        "after": None,
        "context": (4, 8),
        "shuffled": 2,
        "finer": (Fraction(1, 2), 1),
        "resized": 1,
    }


def test_nested(network):
    image = keras.Input((None, None, 3))
    x = layers.MaxPooling2D()(image)
    nested = keras.Model(network.input, [network.output["context"], network.output["pooled"]])
    assert strides(keras.Model(image, nested(x))) == [(8, 16), None]


def test_a_nested_model_whose_strides_differ_by_axis():
    inner = keras.Input((None, None, 3))
    inner = keras.Model(inner, layers.Conv2D(3, 3, strides=(2, 1), padding="same")(inner))
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=(1, 2), padding="same")(inner(image))
    seen = []

    def visit(node, *args, **kwargs):
        seen.append(stride_after(node, args, kwargs).value)
        return Stride(seen[-1])

    walk(keras.Model(image, x), Stride((1, 1)), visit, nested=False)
    assert seen == [(2, 1), (2, 2)]


def test_surgery_walks_through(network):
    x = images(2, 33, 41)
    wanted, got = network.predict(x, verbose=0), rebuild(network).predict(x, verbose=0)
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name])


def test_a_pyramid_keeps_its_context():
    """A map that is pooled and brought back is part of the feature of its stride."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    x = pyramid_pooling(layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x))
    model = keras.Model(image, x)
    pyramid = feature_pyramid(model)
    assert strides(pyramid) == {"P1": 2, "P2": 4}
    x = images(1, 32, 48)
    np.testing.assert_allclose(
        pyramid.predict(x, verbose=0)["P2"], model.predict(x, verbose=0), atol=1e-6
    )


def test_a_nested_sequential_counts_as_one_operation():
    """ConvNeXt's stem: its tensors are other ones inside another network."""
    stem = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 4, strides=4)])
    image = keras.Input((32, 32, 3))
    found = stages(keras.Model(image, layers.Conv2D(4, 3, padding="same")(stem(image))))
    assert list(found) == ["P2"]


@pytest.fixture
def unpooling():
    """Pooled twice with indices, the second time unevenly, and unpooled twice."""
    image = keras.Input((None, None, 3))
    fine = layers.Conv2D(4, 3, padding="same")(image)
    half, first = MaxPoolWithArgmax2D(name="pool")(fine)
    coarse, second = MaxPoolWithArgmax2D(3, strides=(1, 2), padding="same")(half)
    x = MaxUnpool2D(3, strides=(1, 2), padding="same")(layers.Conv2D(4, 1)(coarse), second, half)
    full = MaxUnpool2D(name="unpool")(x, first, like=fine)
    outputs = {"half": half, "first": first, "second": second, "back": x, "full": full}
    return keras.Model(image, outputs)


def test_strides_of_unpooling(unpooling):
    assert strides(unpooling) == {"half": 2, "first": 2, "second": (2, 4), "back": 2, "full": 1}
    x = images(2, 33, 41)
    wanted, got = unpooling.predict(x, verbose=0), rebuild(unpooling).predict(x, verbose=0)
    for name in wanted:
        np.testing.assert_array_equal(got[name], wanted[name])


def test_dilate_does_not_know_what_indices_of_a_denser_map_are():
    image = keras.Input((None, None, 3))
    pooled, indices = MaxPoolWithArgmax2D(name="pool")(layers.Conv2D(4, 3, padding="same")(image))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="strided")(pooled)
    model = keras.Model(image, {"P1": pooled, "P2": x, "I1": indices})
    dense = dilate(model, 2)
    assert strides(dense) == {"P1": 2, "P2": 2, "I1": 2}
    x = images(1, 16, 24)
    wanted, got = (m.predict(x, verbose=0) for m in (model, dense))
    np.testing.assert_array_equal(got["I1"], wanted["I1"])
    np.testing.assert_allclose(got["P2"][:, ::2, ::2], wanted["P2"], atol=1e-5)
    with pytest.raises(ValueError, match=r"'pool' \(MaxPoolWithArgmax2D\) looks at more than one"):
        dilate(model, 1)

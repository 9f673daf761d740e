"""Folded networks compute what they did, in fewer layers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.surgery import fold_batch_norm

from .networks import images, randomized


def norms(model):
    found = [x for x in model._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    return len(found)


def difference(a, b, x):
    a, b = (keras.tree.flatten(m.predict(x, verbose=0)) for m in (a, b))
    return max(np.abs(p - q).max() / max(1, np.abs(p).max()) for p, q in zip(a, b, strict=True))


def chain(*parts, channels=3):
    model = keras.Sequential([keras.Input((9, 7, channels)), *parts])
    model = kd.surgery.rebuild(model)
    for layer in model.layers:  # biases of zero would hide that they are scaled, too
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.linspace(-1, 1, layer.bias.shape[0]))
    return randomized(model)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "convolution",
    [
        lambda b: layers.Conv2D(4, 3, strides=2, use_bias=b),
        lambda b: layers.Conv2D(6, 3, groups=3, padding="same", use_bias=b),
        lambda b: layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=b),
        lambda b: layers.SeparableConv2D(5, 3, depth_multiplier=2, use_bias=b),
        lambda b: layers.Conv2DTranspose(4, 4, strides=2, use_bias=b),
        lambda b: layers.Dense(5, use_bias=b),
        lambda b: kd.layers.AtrousConv2D(4, 3, rate=2, padding=((1, 0), (2, 2)), use_bias=b),
        lambda b: kd.layers.AtrousDepthwiseConv2D(3, rate=2, use_bias=b),
        lambda b: kd.layers.AtrousSeparableConv2D(4, 3, rate=2, use_bias=b),
    ],
    ids="conv grouped depthwise separable transpose dense atrous atrous_dw atrous_sep".split(),
)
def test_every_kind(convolution, bias):
    model = chain(convolution(bias), layers.BatchNormalization(), layers.ReLU())
    before = model.get_weights()
    folded = fold_batch_norm(model)
    assert norms(folded) == 0 and len(folded.layers) == len(model.layers) - 1
    assert difference(model, folded, images(2, 9, 7)) < 1e-6
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


def test_without_scale_or_center():
    for settings in ({"scale": False}, {"center": False}, {"scale": False, "center": False}):
        model = chain(layers.Conv2D(4, 3), layers.BatchNormalization(epsilon=0.1, **settings))
        folded = fold_batch_norm(model)
        assert norms(folded) == 0 and difference(model, folded, images(1, 9, 7)) < 1e-6


def test_what_must_stay():
    """An activation between, a second reader, an output, another axis, a layer used twice."""
    image = keras.Input((8, 8, 4))
    conv = layers.Conv2D(8, 3, padding="same", activation="relu")
    active = layers.BatchNormalization()(conv(image))
    read_twice = layers.Conv2D(4, 3, padding="same")(image)
    added = layers.Add()([layers.BatchNormalization()(read_twice), read_twice])
    output = layers.Conv2D(4, 1)(image)
    shared = layers.Conv2D(4, 1)
    twice = [layers.BatchNormalization()(shared(x)) for x in (image, added)]
    across = layers.BatchNormalization(axis=1)(layers.Conv2D(4, 1)(image))
    before = layers.Conv2D(4, 1)(layers.BatchNormalization()(image))
    outputs = [active, added, output, layers.BatchNormalization()(output), *twice, across, before]
    model = randomized(keras.Model(image, outputs))
    folded = fold_batch_norm(model)
    assert norms(folded) == norms(model) == 7
    assert difference(model, folded, images(1, 8, 8, 4)) < 1e-6


def test_nested_and_shared_norms():
    """A convolution at the end of a nested model, its norm outside; one norm for two of them."""
    inner = keras.Input((None, None, 3))
    nested = keras.Model(inner, layers.Conv2D(4, 3, padding="same")(inner), name="nested")
    image = keras.Input((8, 8, 3))
    norm = layers.BatchNormalization()
    x = [norm(nested(image)), norm(layers.Conv2D(4, 1)(image))]
    model = randomized(keras.Model(image, layers.Add()(x)))
    folded = fold_batch_norm(model)
    assert norms(folded) == 0 and difference(model, folded, images(1, 8, 8)) < 1e-6


def test_mobilenet_v2():
    app = keras.applications.MobileNetV2((64, 64, 3), weights=None, alpha=0.35, include_top=False)
    app = randomized(app)
    folded = fold_batch_norm(app)
    assert norms(app) == 52 and norms(folded) == 0
    # What is gone: four weights a channel, of which one comes back as a bias.
    channels = sum(
        x.axis and x.moving_mean.shape[0]
        for x in app.layers
        if "BN" in x.name or isinstance(x, layers.BatchNormalization)
    )
    assert folded.count_params() == app.count_params() - 3 * channels
    assert difference(app, folded, images(1, 64, 64)) < 1e-5


@pytest.mark.parametrize(
    "name, build",
    [
        ("resnet50c", lambda backbone: kd.fcn8s(kd.backbone("resnet50c", weights=None), 3)),
        ("unet", lambda backbone: kd.unet(backbone, 3)),
        ("deeplabv3plus", lambda backbone: kd.deeplabv3plus(backbone, 3)),
        ("segnet_basic", lambda backbone: kd.segnet_basic(num_classes=3, filters=8)),
    ],
)
def test_ours(backbone, name, build):
    model = randomized(build(backbone))
    folded = fold_batch_norm(model)
    assert norms(model) and norms(folded) == 0
    assert folded.name == model.name
    assert difference(model, folded, 127 * images(1, 37, 45) + 127) < 1e-4

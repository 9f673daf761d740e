"""Networks to operate on, with batch norms that are not the identity."""

import keras
import numpy as np
import pytest
from keras import layers

# The smallest member of every family of keras.applications, and a size to build it for.
FAMILIES = {
    "VGG16": 64,
    "ResNet50": 64,
    "ResNet50V2": 64,
    "MobileNet": 64,
    "MobileNetV2": 64,
    "MobileNetV3Small": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "EfficientNetV2B0": 64,
    "ConvNeXtTiny": 64,
    "Xception": 96,
    "InceptionV3": 96,
    "InceptionResNetV2": 96,
    "NASNetMobile": 64,
}
_NASNET = pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="Keras does not build it on torch; on TensorFlow it takes minutes",
)
# One on every backend, two more on one backend each; `make test` leaves out the others.
_MARKS = dict.fromkeys(FAMILIES, [pytest.mark.exhaustive]) | {
    "MobileNet": [pytest.mark.everywhere],
    "ResNet50": [],
    "MobileNetV3Small": [],
    "NASNetMobile": [pytest.mark.exhaustive, _NASNET],
}
EVERY_FAMILY = [pytest.param(n, marks=marks) for n, marks in _MARKS.items()]


def randomized(model, seed=0):
    """Batch norms with statistics and scales of their own, as after training."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights(
                [
                    rng.uniform(0.8, 1.2, w.shape)
                    if w.name in ("gamma", "moving_variance")
                    else rng.normal(0, 0.1, w.shape)
                    for w in layer.weights
                ]
            )
    return model


def images(count, height, width, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, height, width, channels)).astype("float32")


def small_classifier(size=24, pooled=False, inside=None):
    """A little network with a nested model, a gate, a shared layer, and a top of two layers."""
    image = keras.Input((size, size, 3), name="photo")
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="first")(image)
    nested = keras.Sequential(
        [
            keras.Input((size // 2, size // 2, 8)),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
        ],
        name="block",
    )
    shared = layers.Conv2D(8, 1, name="shared")
    x = layers.Add()([x, nested(shared(nested(shared(x))))])
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="gate_pool")(x)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="gate")(gate)
    x = layers.MaxPooling2D()(layers.Multiply()([x, gate]))
    if pooled:
        a = layers.GlobalAveragePooling2D(name="mean")(x)
        x = layers.Concatenate()([a, layers.GlobalMaxPooling2D(name="peak")(x)])
    else:
        x = layers.Flatten()(x)
    if inside is not None:
        x = inside(x)
    x = layers.Dense(10, activation="relu", name="hidden")(x)
    x = layers.Dropout(0.5)(x)
    return randomized(keras.Model(image, layers.Dense(5, name="scores")(x), name="small"))

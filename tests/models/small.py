"""Helpers of the tests of networks: a backbone, images, outputs, parameter counts."""

import math

import keras
import numpy as np
from keras import layers, ops

import keras_dense as kd


def plain_backbone():
    """Five strided convolutions."""
    x = image = keras.Input((None, None, 3))
    for _ in range(5):
        x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    return kd.backbone(keras.Model(image, x))


def pyramid_of(channels):
    """A backbone without weights, whose features are as wide as those of a real one."""
    image = keras.Input((None, None, 3))
    features, x = {}, image
    for level, width in enumerate(channels, 1):
        x = layers.AveragePooling2D(2)(x)
        features[f"P{level}"] = layers.Concatenate()([x[..., :1]] * width)
    return keras.Model(image, features, name="backbone")


def images(count=1, height=64, width=64, channels=3, seed=0):
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def run(model, x):
    """Without `predict`, which would compile networks that are used once."""
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def trained(model):
    """The number of trainable parameters."""
    return sum(math.prod(w.shape) for w in model.trainable_weights)

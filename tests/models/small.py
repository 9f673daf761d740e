"""What the tests of networks share: images, outputs, parameter counts."""

import math

import keras
import numpy as np
from keras import ops


def images(count=1, height=64, width=64, channels=3, seed=0):
    shape = (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype="uint8")


def run(model, x):
    """Without `predict`, which would compile networks that are used once."""
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def trained(model):
    """The number of trainable parameters."""
    return sum(math.prod(w.shape) for w in model.trainable_weights)

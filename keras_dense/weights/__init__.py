"""Loaders of checkpoints that other projects publish."""

from keras_dense._weights.read import read
from keras_dense.weights.zhang_colorization import load_zhang_colorization

__all__ = ["load_zhang_colorization", "read"]

"""Published checkpoints of other projects, read into the networks here."""

from keras_dense.weights.zhang_colorization import load_zhang_colorization

__all__ = ["load_zhang_colorization"]

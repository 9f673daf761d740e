"""Networks, one file for each paper."""

from keras_dense.models.assemble import assemble, scores
from keras_dense.models.fcn import fcn8s, fcn16s, fcn32s
from keras_dense.models.initialize import initialize

__all__ = ["assemble", "fcn16s", "fcn32s", "fcn8s", "initialize", "scores"]

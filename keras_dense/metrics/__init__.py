"""Metrics that are the same over one batch or many: segmentation, depth."""

from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.metrics.depth import DepthErrors

__all__ = ["ConfusionMatrix", "DepthErrors"]

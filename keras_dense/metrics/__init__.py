"""Metrics: one streaming confusion matrix gives every segmentation score."""

from keras_dense.metrics.colorization import ColorErrors
from keras_dense.metrics.confusion_matrix import ConfusionMatrix

__all__ = ["ColorErrors", "ConfusionMatrix"]

"""Metrics: one streaming confusion matrix gives every segmentation score."""

from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.metrics.normals import NormalsErrors

__all__ = [
    "ConfusionMatrix",
    "NormalsErrors",
]

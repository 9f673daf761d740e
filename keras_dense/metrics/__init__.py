"""Metrics that are the same over one batch or many: segmentation, depth."""

from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.metrics.depth import DepthErrors

__all__ = ["ConfusionMatrix", "DepthErrors"]
"""Metrics that stream: what is counted over a whole data set gives every score of a task."""

from keras_dense.metrics.normals import NormalsErrors

__all__ = [
    "ConfusionMatrix",
    "NormalsErrors",
]

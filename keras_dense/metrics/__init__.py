"""Streaming metrics: one measurement of a whole data set gives every score of a task."""

from keras_dense.metrics.boundary_iou import BoundaryIoU
from keras_dense.metrics.colorization import ColorErrors
from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.metrics.depth import DepthErrors
from keras_dense.metrics.instance_maps import InstanceMapErrors
from keras_dense.metrics.normals import NormalsErrors
from keras_dense.metrics.relative_depth import RelativeDepthErrors

__all__ = [
    "BoundaryIoU",
    "ColorErrors",
    "ConfusionMatrix",
    "DepthErrors",
    "InstanceMapErrors",
    "NormalsErrors",
    "RelativeDepthErrors",
]

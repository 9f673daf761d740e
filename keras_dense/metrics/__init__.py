"""Streaming metrics: one measurement of a whole data set gives every score of a task."""

from keras_dense.metrics.average_precision import MeanAveragePrecision
from keras_dense.metrics.boundary_iou import BoundaryIoU
from keras_dense.metrics.calibration import CalibrationError
from keras_dense.metrics.colorization import ColorErrors
from keras_dense.metrics.confusion_matrix import ConfusionMatrix
from keras_dense.metrics.depth import DepthErrors
from keras_dense.metrics.dice_per_image import DicePerImage
from keras_dense.metrics.instance_maps import InstanceMapErrors
from keras_dense.metrics.instance_scores import InstanceScores, instance_scores
from keras_dense.metrics.normals import NormalsErrors
from keras_dense.metrics.relative_depth import RelativeDepthErrors
from keras_dense.metrics.surface_metrics import AverageSurfaceDistance, HausdorffDistance
from keras_dense.metrics.surface_shares import BoundaryF, SurfaceDice
from keras_dense.metrics.surfaces import surface_distances

__all__ = [
    "AverageSurfaceDistance",
    "BoundaryF",
    "BoundaryIoU",
    "CalibrationError",
    "ColorErrors",
    "ConfusionMatrix",
    "DepthErrors",
    "DicePerImage",
    "HausdorffDistance",
    "InstanceMapErrors",
    "InstanceScores",
    "MeanAveragePrecision",
    "NormalsErrors",
    "RelativeDepthErrors",
    "SurfaceDice",
    "instance_scores",
    "surface_distances",
]

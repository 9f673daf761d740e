"""Drawings of data and predictions, as uint8 RGB arrays; `save` writes them.

Heads draw with the same colors. Pillow and matplotlib are imported when a function needs them.
"""

from keras_dense.heads.drawing import depth, depth_limits, hatch
from keras_dense.plot.compose import fit_width, grid, overlay, panel, save, tasks
from keras_dense.plot.confusion import confusion_matrix
from keras_dense.plot.curves import curves
from keras_dense.plot.geometry import color_bar, normals_legend, point_cloud
from keras_dense.plot.normals_check import normals_check
from keras_dense.plot.receptive_field import receptive_field
from keras_dense.plot.reliability import reliability
from keras_dense.plot.render import colorize, error_map, normals
from keras_dense.plot.text import legend

__all__ = [
    "color_bar",
    "colorize",
    "confusion_matrix",
    "curves",
    "depth",
    "depth_limits",
    "error_map",
    "fit_width",
    "grid",
    "hatch",
    "legend",
    "normals",
    "normals_check",
    "normals_legend",
    "overlay",
    "panel",
    "point_cloud",
    "receptive_field",
    "reliability",
    "save",
    "tasks",
]

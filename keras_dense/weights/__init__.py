"""Networks that other projects publish: the catalogue, and loaders of their files.

model = kd.weights.pretrained("torchvision/deeplabv3_resnet50")
"""

from keras_dense._weights.read import read
from keras_dense._weights.report import Report
from keras_dense.weights.catalogue import info, list
from keras_dense.weights.load import load
from keras_dense.weights.pretrained import pretrained
from keras_dense.weights.record import Record
from keras_dense.weights.zhang_colorization import load_zhang_colorization

__all__ = [
    "Record",
    "Report",
    "info",
    "list",
    "load",
    "load_zhang_colorization",
    "pretrained",
    "read",
]

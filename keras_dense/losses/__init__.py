"""Losses over logits: one contract (see `DenseLoss`), one formula a file."""

from keras_dense.losses.colorization import AbSmoothL1, ColorCrossEntropy
from keras_dense.losses.contract import DenseLoss
from keras_dense.losses.cross_entropy import CrossEntropy
from keras_dense.losses.focal import Focal
from keras_dense.losses.lovasz import Lovasz
from keras_dense.losses.ohem import OhemCrossEntropy
from keras_dense.losses.overlap import Dice, Jaccard, Tversky
from keras_dense.losses.sum import Sum

__all__ = [
    "AbSmoothL1",
    "ColorCrossEntropy",
    "CrossEntropy",
    "DenseLoss",
    "Dice",
    "Focal",
    "Jaccard",
    "Lovasz",
    "OhemCrossEntropy",
    "Sum",
    "Tversky",
]

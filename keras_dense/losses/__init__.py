"""Losses: over logits (see `DenseLoss`) and over maps (see `MapLoss`); a family a file."""

from keras_dense.losses.affinity import PairwiseAffinity
from keras_dense.losses.balanced_overlap import GeneralizedDice, MatthewsCorrelation
from keras_dense.losses.cl_dice import ClDice
from keras_dense.losses.colorization import AbSmoothL1, ColorCrossEntropy
from keras_dense.losses.contract import DenseLoss
from keras_dense.losses.cross_entropy import CrossEntropy
from keras_dense.losses.dense_crf import DenseCRF
from keras_dense.losses.depth import BerHu, DepthL1, ScaleInvariantLog
from keras_dense.losses.depth_ssim import DepthSSIM
from keras_dense.losses.depth_structure import GradientMatching, ScaleAndShiftInvariant
from keras_dense.losses.distance import Boundary, Hausdorff
from keras_dense.losses.focal import Focal
from keras_dense.losses.instance_maps import InstanceCrossEntropy
from keras_dense.losses.lovasz import Lovasz
from keras_dense.losses.normals import (
    AngularVonMisesFisher,
    NormalsAngular,
    NormalsCosine,
    NormalsL1,
    NormalsL2,
    VonMisesFisher,
    expected_angle,
)
from keras_dense.losses.ohem import OhemCrossEntropy
from keras_dense.losses.overlap import Dice, Jaccard, Tversky
from keras_dense.losses.reconstruction import ReconstructionL1
from keras_dense.losses.smoothness import EdgeAwareSmoothness, edge_aware_smoothness
from keras_dense.losses.sum import Sum
from keras_dense.losses.virtual_normal import VirtualNormal

__all__ = [
    "AbSmoothL1",
    "AngularVonMisesFisher",
    "BerHu",
    "Boundary",
    "ClDice",
    "ColorCrossEntropy",
    "CrossEntropy",
    "DenseCRF",
    "DenseLoss",
    "DepthL1",
    "DepthSSIM",
    "Dice",
    "EdgeAwareSmoothness",
    "Focal",
    "GeneralizedDice",
    "GradientMatching",
    "Hausdorff",
    "InstanceCrossEntropy",
    "Jaccard",
    "Lovasz",
    "MatthewsCorrelation",
    "NormalsAngular",
    "NormalsCosine",
    "NormalsL1",
    "NormalsL2",
    "OhemCrossEntropy",
    "PairwiseAffinity",
    "ReconstructionL1",
    "ScaleAndShiftInvariant",
    "ScaleInvariantLog",
    "Sum",
    "Tversky",
    "VirtualNormal",
    "VonMisesFisher",
    "edge_aware_smoothness",
    "expected_angle",
]

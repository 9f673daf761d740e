"""Layers, usable in any Keras model."""

# Layers that only surgery and models insert are not in `__all__`. They are imported since saved
# models need them registered.
import keras_dense.layers.hub_block
import keras_dense.layers.region
import keras_dense.layers.rotary
import keras_dense.layers.tokens
import keras_dense.layers.vit_det_block  # noqa: F401
from keras_dense.layers.atrous import (
    AtrousConv2D,
    AtrousDepthwiseConv2D,
    AtrousSeparableConv2D,
)
from keras_dense.layers.bilinear import (
    AlignedUpsampling,
    BilinearInitConvTranspose,
    BilinearUpsampling,
)
from keras_dense.layers.cascade import (  # noqa: F401
    Certainty,
    KeepCells,
    PoolKeptCells,
    Settled,
    Unsure,
)
from keras_dense.layers.class_features import ClassFeatures
from keras_dense.layers.colorization import AnnealedMean, Lightness, Recolor
from keras_dense.layers.context import AdaptiveAveragePooling2D, PixelShuffle, ResizeLike
from keras_dense.layers.crf import CRFasRNN
from keras_dense.layers.depth import DepthActivation
from keras_dense.layers.hypercolumn import GatherPixels, HypercolumnMLP
from keras_dense.layers.local_response import LocalResponseNormalization
from keras_dense.layers.map_attention import (
    MergePatches,
    SpatialReductionAttention,
    WindowAttention,
)
from keras_dense.layers.phases import PhasePooling2D, TilePhases  # noqa: F401
from keras_dense.layers.place import LocationBias, PlaceLike
from keras_dense.layers.pooling import AtrousAveragePooling2D, AtrousMaxPooling2D
from keras_dense.layers.position_attention import PositionAttention
from keras_dense.layers.presence import ClassPresence, TagGate
from keras_dense.layers.rebuild import RebuildByColor
from keras_dense.layers.size import (
    CropLike,
    FitLike,
    PadToMinimum,
    PadToMultiple,
    ReflectionPadding2D,
)
from keras_dense.layers.standardize import Standardize
from keras_dense.layers.unit_normals import UnitNormals
from keras_dense.layers.unpooling import MaxPoolWithArgmax2D, MaxUnpool2D
from keras_dense.layers.upsample import ICNR

__all__ = [
    "AdaptiveAveragePooling2D",
    "AlignedUpsampling",
    "AnnealedMean",
    "AtrousAveragePooling2D",
    "AtrousConv2D",
    "AtrousDepthwiseConv2D",
    "AtrousMaxPooling2D",
    "AtrousSeparableConv2D",
    "BilinearInitConvTranspose",
    "BilinearUpsampling",
    "CRFasRNN",
    "ClassFeatures",
    "ClassPresence",
    "CropLike",
    "DepthActivation",
    "FitLike",
    "GatherPixels",
    "HypercolumnMLP",
    "ICNR",
    "Lightness",
    "LocalResponseNormalization",
    "LocationBias",
    "MaxPoolWithArgmax2D",
    "MaxUnpool2D",
    "MergePatches",
    "PadToMinimum",
    "PadToMultiple",
    "PixelShuffle",
    "PlaceLike",
    "PositionAttention",
    "RebuildByColor",
    "Recolor",
    "ReflectionPadding2D",
    "ResizeLike",
    "SpatialReductionAttention",
    "Standardize",
    "TagGate",
    "UnitNormals",
    "WindowAttention",
]

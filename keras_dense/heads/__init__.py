"""Heads: what is predicted at a pixel, its target, loss, metrics, decoding and drawing."""

from keras_dense.heads.auxiliary import (
    Auxiliary,
    Intermediate,
    with_auxiliary,
    with_intermediate,
)
from keras_dense.heads.collection import Heads
from keras_dense.heads.colorization import Colorization
from keras_dense.heads.depth import Depth
from keras_dense.heads.head import Head, Stored
from keras_dense.heads.instances import Instances
from keras_dense.heads.interactions import Interactions
from keras_dense.heads.model_heads import attach, decoded, objectives, of
from keras_dense.heads.normals import Normals
from keras_dense.heads.reconstruction import Reconstruction
from keras_dense.heads.relative_depth import RelativeDepth
from keras_dense.heads.segmentation import Segmentation
from keras_dense.heads.tags import Tags

__all__ = [
    "Auxiliary",
    "Colorization",
    "Depth",
    "Head",
    "Heads",
    "Instances",
    "Interactions",
    "Intermediate",
    "Normals",
    "Reconstruction",
    "RelativeDepth",
    "Segmentation",
    "Stored",
    "Tags",
    "attach",
    "decoded",
    "objectives",
    "of",
    "with_auxiliary",
    "with_intermediate",
]

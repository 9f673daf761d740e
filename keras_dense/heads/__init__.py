"""What is predicted at a pixel."""

from keras_dense.heads.auxiliary import Auxiliary, with_auxiliary
from keras_dense.heads.colorization import Colorization
from keras_dense.heads.depth import Depth
from keras_dense.heads.head import Head
from keras_dense.heads.heads import as_heads, decoded, map_heads, objectives
from keras_dense.heads.intermediate import Intermediate, with_intermediate
from keras_dense.heads.normals import Normals
from keras_dense.heads.segmentation import Segmentation

__all__ = [
    "Auxiliary",
    "Colorization",
    "Depth",
    "Head",
    "Intermediate",
    "Normals",
    "Segmentation",
    "as_heads",
    "decoded",
    "map_heads",
    "objectives",
    "with_auxiliary",
    "with_intermediate",
]

"""Rewriting functional networks, weights kept.

Every operation returns a new model, except `accelerate`, which changes how layers compute.
"""

from keras_dense.surgery.accelerate import accelerate
from keras_dense.surgery.convolutionalize import convolutionalize
from keras_dense.surgery.cost import Cost, cost
from keras_dense.surgery.dilate import dilate
from keras_dense.surgery.feature_pyramid import feature_pyramid
from keras_dense.surgery.fold_batch_norm import fold_batch_norm
from keras_dense.surgery.graph import rebuild, walk
from keras_dense.surgery.insert_batch_norm import insert_batch_norm
from keras_dense.surgery.pad_symmetrically import pad_symmetrically
from keras_dense.surgery.pool_with_indices import pool_with_indices
from keras_dense.surgery.receptive_field import ReceptiveField, receptive_field
from keras_dense.surgery.replace_input import replace_input
from keras_dense.surgery.set_epsilon import set_epsilon
from keras_dense.surgery.shift_and_stitch import shift_and_stitch
from keras_dense.surgery.strides import strides

__all__ = [
    "Cost",
    "ReceptiveField",
    "accelerate",
    "convolutionalize",
    "cost",
    "dilate",
    "feature_pyramid",
    "fold_batch_norm",
    "insert_batch_norm",
    "pad_symmetrically",
    "pool_with_indices",
    "rebuild",
    "receptive_field",
    "replace_input",
    "set_epsilon",
    "shift_and_stitch",
    "strides",
    "walk",
]

"""Samples: where they come from, how they change, how they reach `fit`."""

from keras_dense.datasets import transforms
from keras_dense.datasets.border_weights import border_weights, separate_instances
from keras_dense.datasets.camvid import camvid
from keras_dense.datasets.check import DatasetWarning, check
from keras_dense.datasets.depth_files import (
    depth_from_png16,
    depth_to_png16,
    read_depth,
    write_depth,
)
from keras_dense.datasets.depth_folder import depth_folder
from keras_dense.datasets.folder import folder
from keras_dense.datasets.instances import instances
from keras_dense.datasets.loader import Loader
from keras_dense.datasets.nyu_depth_v2 import nyu_depth_v2
from keras_dense.datasets.parts import cached, split, subset
from keras_dense.datasets.photographs import photographs
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.scenes import scenes
from keras_dense.datasets.trimap import trimap
from keras_dense.datasets.voc2012 import voc2012

__all__ = [
    "DatasetWarning",
    "Loader",
    "border_weights",
    "cached",
    "camvid",
    "check",
    "check_sample",
    "depth_folder",
    "depth_from_png16",
    "depth_to_png16",
    "folder",
    "instances",
    "nyu_depth_v2",
    "photographs",
    "read_depth",
    "scenes",
    "separate_instances",
    "split",
    "subset",
    "transforms",
    "trimap",
    "voc2012",
    "write_depth",
]

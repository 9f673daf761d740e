"""Data sets: samples from files, transforms, and batches for `fit`."""

from keras_dense.datasets import transforms
from keras_dense.datasets.adapters import as_grain, as_tf_data, as_torch
from keras_dense.datasets.ade20k import ade20k
from keras_dense.datasets.border_weights import border_weights, separate_instances
from keras_dense.datasets.cached import cached
from keras_dense.datasets.camvid import camvid
from keras_dense.datasets.check import DatasetWarning, check
from keras_dense.datasets.cityscapes import cityscapes
from keras_dense.datasets.coco_panoptic import coco_panoptic
from keras_dense.datasets.coco_stuff import coco_stuff
from keras_dense.datasets.depth_files import (
    depth_from_png16,
    depth_to_png16,
    read_depth,
    write_depth,
)
from keras_dense.datasets.depth_folder import depth_folder
from keras_dense.datasets.diode import diode
from keras_dense.datasets.folder import folder
from keras_dense.datasets.hypersim import hypersim
from keras_dense.datasets.instances import instances
from keras_dense.datasets.kitti_depth import kitti_depth
from keras_dense.datasets.loader import Loader
from keras_dense.datasets.mapillary_vistas import mapillary_vistas
from keras_dense.datasets.marked import marked
from keras_dense.datasets.mixing import BoxMix, ClassMix, Mixed
from keras_dense.datasets.nyu_depth_v2 import nyu_depth_v2
from keras_dense.datasets.parts import split, subset
from keras_dense.datasets.pascal_context import pascal_context
from keras_dense.datasets.photographs import photographs
from keras_dense.datasets.rays import distance_to_depth
from keras_dense.datasets.relations import RELATIONS, relations_of, with_relations
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.scenes import scenes
from keras_dense.datasets.sun_rgbd import sun_rgbd
from keras_dense.datasets.tags import read_tags, tags_from_labels
from keras_dense.datasets.together import together
from keras_dense.datasets.trimap import trimap
from keras_dense.datasets.voc2012 import voc2012
from keras_dense.datasets.weaken import weaken

__all__ = [
    "BoxMix",
    "ClassMix",
    "DatasetWarning",
    "Loader",
    "Mixed",
    "RELATIONS",
    "ade20k",
    "as_grain",
    "as_tf_data",
    "as_torch",
    "border_weights",
    "cached",
    "camvid",
    "check",
    "check_sample",
    "cityscapes",
    "coco_panoptic",
    "coco_stuff",
    "depth_folder",
    "depth_from_png16",
    "depth_to_png16",
    "diode",
    "distance_to_depth",
    "folder",
    "hypersim",
    "instances",
    "kitti_depth",
    "mapillary_vistas",
    "marked",
    "nyu_depth_v2",
    "pascal_context",
    "photographs",
    "read_depth",
    "read_tags",
    "relations_of",
    "scenes",
    "separate_instances",
    "split",
    "subset",
    "sun_rgbd",
    "tags_from_labels",
    "together",
    "transforms",
    "trimap",
    "voc2012",
    "weaken",
    "with_relations",
    "write_depth",
]

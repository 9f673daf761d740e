"""SegNet of its authors, for Caffe.

The files are no longer to be had from their host; those who have one can read it. The original
takes images of 360×480, raw BGR; its poolings round sizes up.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_dense._types import Shape
from keras_dense._weights.rules import Rule
from keras_dense.backbones import backbone as make_backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.mirror import backbone_with_indices, mirror_arguments
from keras_dense.models.segnet import segnet_decoder
from keras_dense.surgery.graph import rebuild
from keras_dense.weights.authors_classes import VOC, Classes
from keras_dense.weights.classes import Classes as _Classes
from keras_dense.weights.record import Record

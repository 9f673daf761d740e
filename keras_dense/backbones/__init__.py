"""Backbones by name: classifiers with their pretrained weights and input conventions."""

from keras_dense.backbones.backbone import application, as_backbone, backbone, family_of
from keras_dense.backbones.densenet161 import densenet161
from keras_dense.backbones.network import check_shape
from keras_dense.backbones.resnet import resnet50c, resnet101c, resnet152c
from keras_dense.backbones.resnet38 import resnet38
from keras_dense.backbones.xception import xception65, xception71

__all__ = [
    "application",
    "as_backbone",
    "backbone",
    "check_shape",
    "densenet161",
    "family_of",
    "resnet101c",
    "resnet152c",
    "resnet38",
    "resnet50c",
    "xception65",
    "xception71",
]

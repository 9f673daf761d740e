"""Backbones by name: classifiers with their pretrained weights and input conventions."""

from keras_dense.backbones.application import application, family_of
from keras_dense.backbones.backbone import as_backbone, backbone
from keras_dense.backbones.densenet161 import densenet161
from keras_dense.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from keras_dense.backbones.mit import mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5
from keras_dense.backbones.network import check_shape
from keras_dense.backbones.resnet import resnet50c, resnet101c, resnet152c
from keras_dense.backbones.resnet38 import resnet38
from keras_dense.backbones.resnet_v1b import (
    resnet18,
    resnet18_v1c,
    resnet34,
    resnet50_v1b,
    resnet50_v1c,
    resnet101_v1b,
    resnet101_v1c,
    resnet152_v1b,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from keras_dense.backbones.vgg_bn import vgg16_bn, vgg19_bn
from keras_dense.backbones.xception import xception65, xception71

__all__ = [
    "application",
    "as_backbone",
    "backbone",
    "check_shape",
    "densenet161",
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
    "efficientnet_lite3",
    "efficientnet_lite4",
    "family_of",
    "mit_b0",
    "mit_b1",
    "mit_b2",
    "mit_b3",
    "mit_b4",
    "mit_b5",
    "resnet101_v1b",
    "resnet101_v1c",
    "resnet101c",
    "resnet152_v1b",
    "resnet152c",
    "resnet18",
    "resnet18_v1c",
    "resnet34",
    "resnet38",
    "resnet50_v1b",
    "resnet50_v1c",
    "resnet50c",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext50_32x4d",
    "vgg16_bn",
    "vgg19_bn",
    "wide_resnet101_2",
    "wide_resnet50_2",
    "xception65",
    "xception71",
]

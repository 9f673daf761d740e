"""What a name means: a classifier, its pretrained weights, its input convention."""

from keras_dense.backbones.backbone import application, backbone, check_shape, family_of

__all__ = ["application", "backbone", "check_shape", "family_of"]

"""Decoders of all networks by name, and the parts of a decoder of your own.

A decoder turns the features of a backbone into the scores of all heads (`Decoder`). Its shortest
form is a function from features to one map, which heads read through a convolution
(`read_through`); `scores` marks a function that predicts the scores of a head itself. Further parts
are `feature`, which reads a feature by name, `stride_between`, the factor between two maps, and
blocks of layers: `upsample`, `conv_bn_relu`, `aspp`.

>>> import keras
>>> import keras_dense as kd
>>> def top_down(features):
...     fine, coarse = kd.decoders.feature(features, "P3"), kd.decoders.feature(features, "P5")
...     factor = kd.decoders.stride_between(fine, coarse)
...     coarse = kd.decoders.upsample(coarse, factor, filters=32, name="coarse")
...     fine = kd.decoders.conv_bn_relu(fine, 32, 1, name="fine")
...     return keras.layers.Add(name="sum")([fine, coarse])
>>> backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
>>> kd.assemble(backbone, top_down, kd.heads.Segmentation(5)).output_shape
(None, None, None, 5)
"""

from keras_dense.models.blocks import aspp, conv_bn_relu
from keras_dense.models.decoder import Decoder, Prediction, Wanted, read_through, scores
from keras_dense.models.deconvnet import deconvnet_decoder as deconvnet
from keras_dense.models.deeplab_largefov import deeplab_largefov_decoder as deeplab_largefov
from keras_dense.models.deeplabv2 import deeplabv2_decoder as deeplabv2
from keras_dense.models.deeplabv3 import deeplabv3_decoder as deeplabv3
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder as deeplabv3plus
from keras_dense.models.dilated_context import dilated_context_decoder as dilated_context
from keras_dense.models.dpt import dpt_decoder as dpt
from keras_dense.models.duc_hdc import duc_hdc_decoder as duc_hdc
from keras_dense.models.fcn import fcn_decoder as fcn
from keras_dense.models.fcn_head import fcn_head_decoder as fcn_head
from keras_dense.models.fpn import fpn_decoder as fpn
from keras_dense.models.global_convolutional_network import (
    global_convolutional_network_decoder as global_convolutional_network,
)
from keras_dense.models.hypercolumn import hypercolumn_decoder as hypercolumn
from keras_dense.models.idw_cnn import idw_cnn_decoder as idw_cnn
from keras_dense.models.layer_cascade import layer_cascade_decoder as layer_cascade
from keras_dense.models.linknet import linknet_decoder as linknet
from keras_dense.models.lraspp import lraspp_decoder as lraspp
from keras_dense.models.manet import manet_decoder as manet
from keras_dense.models.nested_unet import nested_unet_decoder as nested_unet
from keras_dense.models.pan import pan_decoder as pan
from keras_dense.models.pspnet import pspnet_decoder as pspnet
from keras_dense.models.refinenet import refinenet_decoder as refinenet
from keras_dense.models.resnet38 import resnet38_decoder as resnet38
from keras_dense.models.segformer import segformer_decoder as segformer
from keras_dense.models.segnet import segnet_basic_decoder as segnet_basic
from keras_dense.models.segnet import segnet_decoder as segnet
from keras_dense.models.stacked_deconvolutional_network import (
    stacked_deconvolutional_network_decoder as stacked_deconvolutional_network,
)
from keras_dense.models.unet import unet_decoder as unet
from keras_dense.models.upernet import upernet_decoder as upernet
from keras_dense.models.upsampling import fit, resize, upsample
from keras_dense.surgery.feature_pyramid import feature
from keras_dense.surgery.strides import stride_between

__all__ = [
    "Decoder",
    "Prediction",
    "Wanted",
    "aspp",
    "conv_bn_relu",
    "deconvnet",
    "deeplab_largefov",
    "deeplabv2",
    "deeplabv3",
    "deeplabv3plus",
    "dilated_context",
    "dpt",
    "duc_hdc",
    "fcn",
    "fcn_head",
    "feature",
    "fit",
    "fpn",
    "global_convolutional_network",
    "hypercolumn",
    "idw_cnn",
    "layer_cascade",
    "linknet",
    "lraspp",
    "manet",
    "nested_unet",
    "pan",
    "pspnet",
    "read_through",
    "refinenet",
    "resize",
    "resnet38",
    "scores",
    "segformer",
    "segnet",
    "segnet_basic",
    "stacked_deconvolutional_network",
    "stride_between",
    "unet",
    "upernet",
    "upsample",
]

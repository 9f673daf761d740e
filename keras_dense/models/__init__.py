"""Networks, one file for each paper.

Every builder is `name(backbone, num_classes, *, heads, weights, input_shape, name,
initialize_from, …)`. These arguments are common to all:

- `backbone`: str, a network of `keras.applications` or of `kd.backbones` ("resnet50",
  "MobileNetV2", "xception65", …); a backbone from `kd.backbone`; or any functional `keras.Model`.
- `num_classes`: int >= 1, short for `heads=kd.heads.Segmentation(num_classes)`; default 21.
- `heads`: a head, or a dict of heads; the output has the same structure. Give either `heads` or
  `num_classes`. `kd.heads.with_auxiliary(head)` adds an auxiliary loss.
- `weights`: weights of a backbone given by name: "imagenet", `None` (random), or the path of a
  weights file.
- `input_shape`: `(height, width, channels)`; `None` stands for any height or width.
- `name`: str, name of the model.
- `grid`: str, how the image is padded and maps are resized: "multiple", "multiple_corners",
  "image", "image_corners" or "corners", see `kd.models.grid`; default: "multiple". Published
  weights need the grid that they were trained on.
- `initialize_from`: a model to copy weights from, or the path of its `.keras` file; see
  `kd.models.initialize`.

A builder returns a `keras.Model` from RGB images 0–255 `(B, H, W, C)` to float32 predictions of the
same height and width. Its other arguments are the settings of the paper.
"""

from keras_dense.models.assemble import assemble
from keras_dense.models.deconvnet import deconvnet
from keras_dense.models.deeplab_largefov import deeplab_largefov
from keras_dense.models.deeplabv2 import deeplabv2
from keras_dense.models.deeplabv3 import deeplabv3
from keras_dense.models.deeplabv3plus import deeplabv3plus
from keras_dense.models.dilated_context import dilated_context
from keras_dense.models.dis import dis
from keras_dense.models.dpt import dpt
from keras_dense.models.duc_hdc import duc_hdc
from keras_dense.models.eigen_fergus import eigen_fergus
from keras_dense.models.fcn import fcn8s, fcn16s, fcn32s
from keras_dense.models.fpn import fpn
from keras_dense.models.global_convolutional_network import global_convolutional_network
from keras_dense.models.hypercolumn import hypercolumn
from keras_dense.models.idw_cnn import idw_cnn
from keras_dense.models.initialize import initialize
from keras_dense.models.layer_cascade import layer_cascade
from keras_dense.models.linknet import linknet
from keras_dense.models.lraspp import lraspp
from keras_dense.models.manet import manet
from keras_dense.models.pan import pan
from keras_dense.models.pspnet import pspnet
from keras_dense.models.refinenet import refinenet
from keras_dense.models.resnet38 import resnet38
from keras_dense.models.segformer import segformer
from keras_dense.models.segnet import segnet, segnet_basic
from keras_dense.models.stacked_deconvolutional_network import stacked_deconvolutional_network
from keras_dense.models.unet import unet
from keras_dense.models.upernet import upernet
from keras_dense.models.with_crf import with_crf
from keras_dense.models.with_reconstruction import with_reconstruction
from keras_dense.models.with_tags import with_tags
from keras_dense.models.zhang_colorization import zhang_colorization

__all__ = [
    "assemble",
    "deconvnet",
    "deeplab_largefov",
    "deeplabv2",
    "deeplabv3",
    "deeplabv3plus",
    "dilated_context",
    "dis",
    "dpt",
    "duc_hdc",
    "eigen_fergus",
    "fcn16s",
    "fcn32s",
    "fcn8s",
    "fpn",
    "global_convolutional_network",
    "hypercolumn",
    "idw_cnn",
    "initialize",
    "layer_cascade",
    "linknet",
    "lraspp",
    "manet",
    "pan",
    "pspnet",
    "refinenet",
    "resnet38",
    "segformer",
    "segnet",
    "segnet_basic",
    "stacked_deconvolutional_network",
    "unet",
    "upernet",
    "with_crf",
    "with_reconstruction",
    "with_tags",
    "zhang_colorization",
]

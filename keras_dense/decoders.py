"""What turns features into a map to predict from: the decoders of all networks, by name.

>>> from keras_dense import decoders
>>> decoder = decoders.fcn(skips=("P4",))
"""

from keras_dense.models.deconvnet import deconvnet_decoder as deconvnet
from keras_dense.models.deeplab_largefov import deeplab_largefov_decoder as deeplab_largefov
from keras_dense.models.deeplabv2 import deeplabv2_decoder as deeplabv2
from keras_dense.models.deeplabv3 import deeplabv3_decoder as deeplabv3
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder as deeplabv3plus
from keras_dense.models.dilated_context import dilated_context_decoder as dilated_context
from keras_dense.models.duc_hdc import duc_hdc_decoder as duc_hdc
from keras_dense.models.fcn import fcn_decoder as fcn
from keras_dense.models.fpn import fpn_decoder as fpn
from keras_dense.models.global_convolutional_network import (
    global_convolutional_network_decoder as global_convolutional_network,
)
from keras_dense.models.hypercolumn import hypercolumn_decoder as hypercolumn
from keras_dense.models.layer_cascade import layer_cascade_decoder as layer_cascade
from keras_dense.models.nested_unet import nested_unet_decoder as nested_unet
from keras_dense.models.pspnet import pspnet_decoder as pspnet
from keras_dense.models.refinenet import refinenet_decoder as refinenet
from keras_dense.models.resnet38 import resnet38_decoder as resnet38
from keras_dense.models.segnet import segnet_basic_decoder as segnet_basic
from keras_dense.models.segnet import segnet_decoder as segnet
from keras_dense.models.stacked_deconvolutional_network import (
    stacked_deconvolutional_network_decoder as stacked_deconvolutional_network,
)
from keras_dense.models.unet import unet_decoder as unet
from keras_dense.models.upsampling import upsample

__all__ = [
    "deconvnet",
    "deeplab_largefov",
    "deeplabv2",
    "deeplabv3",
    "deeplabv3plus",
    "dilated_context",
    "duc_hdc",
    "fcn",
    "fpn",
    "global_convolutional_network",
    "hypercolumn",
    "layer_cascade",
    "nested_unet",
    "pspnet",
    "refinenet",
    "resnet38",
    "segnet",
    "segnet_basic",
    "stacked_deconvolutional_network",
    "unet",
    "upsample",
]

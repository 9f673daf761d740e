"""Pixel-wise prediction for Keras 3: from an image classifier to a prediction at every pixel.

>>> import keras_dense as kd
>>> trunk = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
>>> model = kd.fcn8s(trunk, num_classes=11)
>>> model.compile("adam", **kd.objectives(kd.heads.Segmentation(11)))
"""

from keras_dense import (
    backbones,
    datasets,
    decoders,
    heads,
    inference,
    layers,
    losses,
    metrics,
    models,
    ops,
    plot,
    surgery,
    testing,
    training,
)
from keras_dense._version import __version__
from keras_dense.backbones import backbone
from keras_dense.heads import decoded, objectives
from keras_dense.models import (
    assemble,
    deconvnet,
    deeplab_largefov,
    deeplabv2,
    deeplabv3,
    deeplabv3plus,
    dilated_context,
    duc_hdc,
    fcn8s,
    fcn16s,
    fcn32s,
    fpn,
    global_convolutional_network,
    hypercolumn,
    layer_cascade,
    pspnet,
    refinenet,
    resnet38,
    segnet,
    segnet_basic,
    stacked_deconvolutional_network,
    unet,
)

__all__ = [
    "__version__",
    "assemble",
    "backbone",
    "backbones",
    "datasets",
    "decoded",
    "decoders",
    "deconvnet",
    "deeplab_largefov",
    "deeplabv2",
    "deeplabv3",
    "deeplabv3plus",
    "dilated_context",
    "duc_hdc",
    "fcn16s",
    "fcn32s",
    "fcn8s",
    "fpn",
    "global_convolutional_network",
    "heads",
    "hypercolumn",
    "inference",
    "layer_cascade",
    "layers",
    "losses",
    "metrics",
    "models",
    "objectives",
    "ops",
    "plot",
    "pspnet",
    "refinenet",
    "resnet38",
    "segnet",
    "segnet_basic",
    "stacked_deconvolutional_network",
    "surgery",
    "testing",
    "training",
    "unet",
]

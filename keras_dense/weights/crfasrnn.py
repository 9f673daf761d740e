"""CRF-RNN: the Keras file of sadeepj/crfasrnn_keras, converted from the authors' Caffe network.

FCN-8s with its margin, and a dense CRF of ten iterations with matrices of all classes. The original
takes images of 500×500, padded with the mean color at the bottom and the right; its filters are
both computed on the permutohedral lattice, ours of the distance exactly.
"""

import dataclasses
from typing import Any

import keras

from keras_dense._types import Array, Shape
from keras_dense._weights.kinds import Kind, kind_of
from keras_dense._weights.rules import Rule
from keras_dense.backbones import application
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.fcn import fcn_decoder
from keras_dense.models.fcn_backbone import fcn_backbone_with_margin
from keras_dense.models.with_crf import with_crf
from keras_dense.weights.authors_classes import VOC
from keras_dense.weights.record import Record

# Of blue, green and red.
MEAN_BGR = (103.939, 116.779, 123.68)
_SKIPS = ("P4", "P3")


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    backbone: keras.Model | None = None,
    **settings: Any,
) -> keras.Model:
    """FCN-8s and the dense CRF as published.

    Args:
        heads: a head.
        input_shape: `(height, width, channels)` of the image.
        backbone: a classifier like VGG-16, which standardizes images.
        **settings: of `kd.layers.CRFasRNN`, other than published.
    """
    if backbone is None:
        preprocessing = {"mean": MEAN_BGR[::-1], "reverse_channels": True}
        backbone = application(
            "vgg16", None, standardize=True, preprocessing=preprocessing, include_top=True
        )
    backbone, offsets = fcn_backbone_with_margin(backbone, None, input_shape, _SKIPS)
    decoder = fcn_decoder(_SKIPS, learned=False, use_bias=True, offsets=offsets)
    model = assemble(backbone, decoder, heads, input_shape=input_shape, name="fcn8s", grid="image")
    thetas = {"theta_alpha": 160.0, "theta_beta": 3.0, "theta_gamma": 3.0}
    return with_crf(model, name="crfasrnn", **{"iterations": 10, **thetas, **settings})


def _matrix(x: Array, shape: Shape) -> Array:
    """Theirs multiply columns of scores, ours rows."""
    return x.T


# Only one of three has a bias.
_UPSCORE = dataclasses.replace(kind_of("hwio"), fills={"bias": 0.0})
_CRF = Kind(
    {
        "spatial": ("spatial_ker_weights",),
        "bilateral": ("bilateral_ker_weights",),
        "compatibility": ("compatibility_matrix",),
    },
    {name: _matrix for name in ("spatial", "bilateral", "compatibility")},
)
# Groups of layers, some of which Keras names twice.
_IN = r"(?:[\w-]+/)*?"
RULES = {
    "keras": (
        Rule(rf"{_IN}conv(\d)_(\d)", r"backbone/block\1_conv\2", "hwio"),
        Rule(rf"{_IN}fc6", "backbone/fc1", "hwio"),
        Rule(rf"{_IN}fc7", "backbone/fc2", "hwio"),
        Rule(rf"{_IN}score-fr", "{head}score_P5", "hwio"),
        Rule(rf"{_IN}score-pool([34])", r"{head}score_P\1", "hwio"),
        Rule(rf"{_IN}score2", "{head}upscore_P5", _UPSCORE),
        Rule(rf"{_IN}score4", "{head}upscore_P4", _UPSCORE),
        Rule(rf"{_IN}upsample", "{head}upscore8", _UPSCORE),
        Rule(rf"{_IN}crfrnn", "crf", _CRF),
    ),
}

RECORDS = (
    Record(
        name="crfasrnn/fcn8s_voc",
        builder=network,
        rules=RULES["keras"],
        classes=VOC,
        urls=(
            "https://github.com/sadeepj/crfasrnn_keras/releases/download/v1.0/"
            "crfrnn_keras_model.h5",
        ),
        bytes=4 * 134_489_849,
        data="PASCAL VOC 2012 and SBD",
        license="MIT",
        citation="Zheng et al., Conditional Random Fields as Recurrent Neural Networks, ICCV 2015",
        page="https://github.com/sadeepj/crfasrnn_keras",
        test_size="500×500, padded with the mean color; or the image's own",
        normalization="BGR minus the mean of ImageNet, within the model",
        grid="image",
    ),
)

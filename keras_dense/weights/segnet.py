"""SegNet of its authors, for Caffe.

The files are no longer to be had from their host; those who have one can read it. The originals
take raw BGR images of one size (360×480, 224×224); their poolings round sizes up.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_dense._types import Shape
from keras_dense._weights.rules import Rule
from keras_dense.backbones import backbone as make_backbone
from keras_dense.datasets.camvid import CLASSES as _CAMVID
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.mirror import backbone_with_indices, mirror_arguments
from keras_dense.models.segnet import segnet_decoder
from keras_dense.surgery.graph import rebuild
from keras_dense.weights.classes import VOC, Classes
from keras_dense.weights.record import Record

# Convolutions of VGG-16 at each level.
DEPTHS = (2, 2, 3, 3, 3)


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    backbone: keras.Model | None = None,
) -> keras.Model:
    """SegNet as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        backbone: a backbone like VGG-16, with as many convolutions.
    """
    if backbone is None:
        backbone = make_backbone("vgg16", weights=None, preprocessing={"reverse_channels": True})
    backbone = rebuild(backbone, rounded_up)
    backbone = backbone_with_indices(backbone, None, input_shape)
    _, pools = mirror_arguments(backbone, "SegNet")
    return assemble(
        backbone,
        segnet_decoder(DEPTHS, pools=pools),
        heads,
        input_shape=input_shape,
        name="segnet",
        grid="image",
    )


def rounded_up(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Any:
    """Poolings with sizes that are rounded up."""
    op = node.operation
    if isinstance(op, layers.MaxPooling2D):
        return copies(op, *args, config={"padding": "same"}, **kwargs)
    return None


def decoder_layer(depths: Sequence[int], ending: str = "") -> Any:
    """From `conv5_3_D`, the first convolution of the coarsest level, to ours, `up5_conv1`."""

    def layer(match: re.Match) -> str | None:
        level, number = int(match[1]), int(match[2])
        if (level, number) == (1, 1):
            # The scores, without a batch norm.
            return None if ending else "{head}scores"
        return f"up{level}_conv{depths[level - 1] - number + 1}{ending}"

    return layer


RULES = {
    "segnet": (
        Rule(r"conv(\d)_(\d)", r"backbone/block\1_conv\2", "conv"),
        Rule(r"conv(\d)_(\d)_bn", r"backbone/block\1_conv\2_bn", "caffe_merged_norm"),
        Rule(r"conv(\d)_(\d)_D", decoder_layer(DEPTHS), "conv"),
        Rule(r"conv(\d)_(\d)_D_bn", decoder_layer(DEPTHS, "_bn"), "caffe_merged_norm"),
    ),
}

_NAMES = list(_CAMVID)
_WITH_MARKING = (*_NAMES[:3], "road marking", *_NAMES[3:])
_COLORS = {**_CAMVID, "road marking": (255, 69, 0)}
DRIVING = Classes(
    "road scenes", _WITH_MARKING, np.array([_COLORS[name] for name in _WITH_MARKING], "uint8")
)


def _record(name: str, file: str, classes: Classes, **more: Any) -> Record:
    return Record(
        name=f"segnet/{name}",
        builder=network,
        rules=RULES["segnet"],
        classes=classes,
        # Convolutions and merged batch norms; of the scores 64 · 9 + 1 for each class.
        bytes=4 * (29_427_136 + 577 * len(classes.names)),
        file=f"{file}.caffemodel",
        license="CC BY-NC 4.0",
        citation="Badrinarayanan, Kendall, Cipolla, SegNet: A Deep Convolutional Encoder-Decoder "
        "Architecture for Image Segmentation, PAMI 2017",
        page="https://github.com/alexgkendall/SegNet-Tutorial (its files are gone)",
        normalization="raw BGR, 0 to 255, within the model",
        grid="image",
        **more,
    )


RECORDS = (
    _record(
        "driving",
        "segnet_weights_driving_webdemo",
        DRIVING,
        data="CamVid and other road scenes",
        test_size="360×480",
    ),
    _record(
        "pascal",
        "segnet_pascal",
        VOC,
        data="PASCAL VOC 2012",
        test_size="224×224",
    ),
)

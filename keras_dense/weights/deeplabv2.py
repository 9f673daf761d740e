"""DeepLabv2 on ResNet-101: the authors' network for Caffe, and those trained in PyTorch.

The authors resize with aligned corners, on images of 8 k + 1 pixels (513), which they pad with the
mean color. The networks of kazuto1011/deeplab-pytorch, trained from the authors' weights on COCO,
take images as they are and resize half-pixel; their pooling rounds sizes up.
"""

import dataclasses
import re
from typing import Any

import keras
from keras import layers

from keras_dense._types import Shape
from keras_dense._weights.kinds import kind_of
from keras_dense._weights.rules import Rule
from keras_dense.backbones import backbone as make_backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.deeplabv2 import deeplabv2_decoder
from keras_dense.surgery import dilate, set_epsilon
from keras_dense.surgery.graph import rebuild
from keras_dense.weights.authors_classes import COCO_STUFF, VOC, Classes
from keras_dense.weights.record import Record

# Of blue, green and red.
MEAN_BGR = (104.008, 116.669, 122.675)
_PREPROCESSING = {"mean": MEAN_BGR[::-1], "reverse_channels": True}


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    backbone: str | keras.Model = "resnet101",
    grid: str = "corners",
) -> keras.Model:
    """DeepLabv2 (ASPP-L) as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        backbone: str, a ResNet of keras.applications, whose first 1×1 convolutions stride; or a
            backbone of this kind.
        grid: str, "corners" (the authors) or "image" (kazuto1011).
    """
    if isinstance(backbone, str):
        backbone = make_backbone(backbone, weights=None, preprocessing=_PREPROCESSING)
    backbone = set_epsilon(backbone, 1e-5)
    if grid == "image":
        backbone = rebuild(backbone, _rounded_up)
    return assemble(
        dilate(backbone, 8),
        deeplabv2_decoder((6, 12, 18, 24)),
        heads,
        input_shape=input_shape,
        name="deeplabv2",
        grid=grid,
    )


def _rounded_up(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Any:
    """The first pooling with a size that is rounded up: one row and one column more."""
    op = node.operation
    if isinstance(op, layers.ZeroPadding2D) and op.name == "pool1_pad":
        return copies(op, *args, config={"padding": ((1, 2), (1, 2))}, **kwargs)
    return None


# Ours have a bias.
_CONV = dataclasses.replace(kind_of("conv"), fills={"bias": 0.0})
_PARTS = {"reduce": 1, "conv3x3": 2, "increase": 3, "shortcut": 0}
_BRANCHES = {"1": 0, "2a": 1, "2b": 2, "2c": 3}


def _pytorch(what: str) -> Any:
    """Names for `layer3.block4.reduce`: stage 3, block 4, part 1."""

    def layer(match: re.Match) -> str:
        return f"backbone/conv{match[1]}_block{match[2]}_{_PARTS[match[3]]}_{what}"

    return layer


def _caffe(what: str) -> Any:
    """Names for `3b2_branch2a`: stage 3, block 3, part 1; blocks are a, b, c or a, b1, b2, …."""

    def layer(match: re.Match) -> str:
        letter, number = match[2], match[3]
        block = int(number) + 1 if number else "abcdef".index(letter) + 1
        return f"backbone/conv{match[1]}_block{block}_{_BRANCHES[match[4]]}_{what}"

    return layer


_BLOCK = r"(?:(?:base|scale)\.)?layer(\d)\.block(\d+)\.(reduce|conv3x3|increase|shortcut)"
_STEM = r"(?:(?:base|scale)\.)?layer1\.conv1"
_BRANCH = r"(\d)([a-f])(\d*)_branch(1|2[abc])"


def _number(match: re.Match) -> str:
    return f"{{head}}aspp_{int(match[1]) + 1}"


RULES = {
    "pytorch": (
        Rule(rf"{_STEM}\.conv", "backbone/conv1_conv", _CONV),
        Rule(rf"{_STEM}\.bn", "backbone/conv1_bn", "batch_norm"),
        Rule(rf"{_BLOCK}\.conv", _pytorch("conv"), _CONV),
        Rule(rf"{_BLOCK}\.bn", _pytorch("bn"), "batch_norm"),
        Rule(r"(?:(?:base|scale)\.)?aspp\.(?:stages\.)?c(\d)", _number, "conv"),
    ),
    "caffe": (
        Rule(r".*res0(75|5)(_.*|\.\d)?", None, "skip", "copies for other scales"),
        Rule("conv1", "backbone/conv1_conv", _CONV),
        Rule("bn_conv1", "backbone/conv1_bn", "caffe_norm"),
        Rule("scale_conv1", "backbone/conv1_bn", "caffe_scale"),
        Rule(rf"res{_BRANCH}", _caffe("conv"), _CONV),
        Rule(rf"bn{_BRANCH}", _caffe("bn"), "caffe_norm"),
        Rule(rf"scale{_BRANCH}", _caffe("bn"), "caffe_scale"),
        Rule(r"fc1_voc12_c(\d)", _number, "conv"),
    ),
}

_RELEASE = "https://github.com/kazuto1011/deeplab-pytorch/releases/download/v1.0/"
_PAPER = (
    "Chen, Papandreou, Kokkinos, Murphy, Yuille, DeepLab: Semantic Image Segmentation with Deep "
    "Convolutional Nets, Atrous Convolution, and Fully Connected CRFs, PAMI 2018"
)
# Published scores take the largest logits over three scales.
_SCALES = "kd.predict_multiscale(…, scales=(0.5, 0.75, 1)) averages where they took the largest"


def _pytorch_record(
    name: str, file: str, classes: Classes, data: str, scored_on: str, size: int, **scores: float
) -> Record:
    return Record(
        name=f"deeplabv2/resnet101_{name}",
        builder=network,
        arguments={"grid": "image"},
        rules=RULES["pytorch"],
        classes=classes,
        urls=(f"{_RELEASE}deeplabv2_resnet101_msc-{file}.pth",),
        bytes=size,
        data=f"COCO, then {data}",
        scores={name.replace("_", " "): value for name, value in scores.items()},
        scored_on=f"{scored_on}, the largest score over scales 0.5, 0.75 and 1, without a CRF",
        license="MIT",
        citation=f"{_PAPER}; Kazuto Nakashima, deeplab-pytorch",
        page="https://github.com/kazuto1011/deeplab-pytorch",
        test_size=f"the image's own, or 513×513; {_SCALES}",
        normalization="BGR minus the mean of ImageNet, within the model",
        grid="image",
    )


RECORDS = (
    _pytorch_record(
        "voc",
        "vocaug-20000",
        VOC,
        "PASCAL VOC 2012 (augmented)",
        "VOC 2012 val",
        176_280_000,
        mean_IoU=76.65,
        pixel_accuracy=94.64,
    ),
    _pytorch_record(
        "coco_stuff_164k",
        "cocostuff164k-100000",
        COCO_STUFF,
        "COCO-Stuff 164k",
        "COCO-Stuff 164k val",
        223_700_000,
        mean_IoU=39.1,
        pixel_accuracy=66.8,
    ),
    _pytorch_record(
        "coco_stuff_10k",
        "cocostuff10k-20000",
        COCO_STUFF,
        "COCO-Stuff 10k",
        "COCO-Stuff 10k test, images of 513×513",
        223_700_000,
        mean_IoU=34.8,
        pixel_accuracy=65.8,
    ),
    Record(
        name="deeplabv2/resnet101_voc_caffe",
        builder=network,
        rules=RULES["caffe"],
        classes=VOC,
        file="train2_iter_20000.caffemodel",
        bytes=176_280_000,
        data="COCO, then PASCAL VOC 2012 (augmented)",
        scores={"mean IoU": 76.35},
        scored_on="VOC 2012 val, padded to 513×513, the largest score over scales 0.5, 0.75 and 1",
        license="unknown terms, of the authors",
        citation=_PAPER,
        page="http://liangchiehchen.com/projects/DeepLabv2_resnet.html (prototxt_and_model.zip)",
        test_size=f"at most 513×513; {_SCALES}",
        normalization="BGR minus the mean of ImageNet, within the model",
        grid="corners",
    ),
)

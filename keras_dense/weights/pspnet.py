"""PSPNet of its authors: their networks for Caffe, and those of hszhao/semseg for PyTorch.

Both compute on 8 k + 1 pixels (473, 713), padded with the mean color, with aligned corners; images
that are larger are cut into tiles of this size, see `kd.predict_tiled`.
"""

import dataclasses
import re
from typing import Any

import keras
import numpy as np

from keras_dense._types import Array, Shape
from keras_dense._weights.kinds import kind_of
from keras_dense._weights.rules import Rule
from keras_dense.backbones import backbone as make_backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.pspnet import pspnet_decoder
from keras_dense.surgery import dilate
from keras_dense.weights.authors_classes import CITYSCAPES, VOC, Classes
from keras_dense.weights.classes import ADE20K
from keras_dense.weights.record import Record


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    backbone: str | keras.Model = "resnet50c",
    stride_in: str = "3x3",
    preprocessing: str = "torch",
    filters: int = 512,
) -> keras.Model:
    """PSPNet as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        backbone: str, "resnet50c" or "resnet101c"; or a backbone of this kind.
        stride_in: str, the convolution of a block that strides, "1x1" or "3x3".
        preprocessing: str, see `kd.backbone`.
        filters: int, channels before the scores.
    """
    if isinstance(backbone, str):
        backbone = make_backbone(
            backbone, weights=None, preprocessing=preprocessing, stride_in=stride_in
        )
    return assemble(
        dilate(backbone, 8, strided_rate="after"),
        pspnet_decoder(filters=filters),
        heads,
        input_shape=input_shape,
        name="pspnet",
        grid="corners",
    )


def _reordered(x: Array, shape: Shape) -> Array:
    """The kernel that fuses all maps: theirs are the map, then means over 6, 3, 2 and 1 parts."""
    x = x.transpose(2, 3, 1, 0)
    width = x.shape[2] // 2
    means = np.split(x[:, :, width:], 4, axis=2)
    return np.concatenate([x[:, :, :width], *means[::-1]], axis=2)


_CONV = kind_of("conv")
_FUSE = dataclasses.replace(_CONV, turns={**_CONV.turns, "kernel": _reordered})
_BLOCK = r"(conv\d_\d+_(?:1x1_(?:reduce|increase|proj)|3x3(?:_s2)?))"


def _stem(match: re.Match) -> str:
    """Name for layer0: 0, 3, 6 are convolutions, followed by their batch norms."""
    number = int(match[1])
    name = ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3")[number // 3]
    return f"backbone/{name}{'_bn' if number % 3 else ''}"


_PARTS = {"1": "1x1_reduce", "2": "3x3", "3": "1x1_increase"}


def _residual(ending: str) -> Any:
    """Names such as `conv3_1_1x1_reduce` for `layer2.0.conv1`."""

    def layer(match: re.Match) -> str:
        part = _PARTS[match[3]] if match[3] else "1x1_proj"
        return f"backbone/conv{int(match[1]) + 1}_{int(match[2]) + 1}_{part}{ending}"

    return layer


def _mean(ending: str) -> Any:
    return lambda match: f"pool{(1, 2, 3, 6)[int(match[1])]}_conv{ending}"


_AUXILIARY = "the auxiliary head, which only helps training"
RULES = {
    "caffe": (
        Rule(_BLOCK, r"backbone/\1", "conv"),
        Rule(rf"{_BLOCK}/bn", r"backbone/\1_bn", "caffe_norm_of_four"),
        Rule(r"conv5_3_pool([1236])_conv", r"pool\1_conv", "conv"),
        Rule(r"conv5_3_pool([1236])_conv/bn", r"pool\1_conv_bn", "caffe_norm_of_four"),
        Rule(r"conv5_4", "fuse", _FUSE),
        Rule(r"conv5_4/bn", "fuse_bn", "caffe_norm_of_four"),
        Rule(r"conv6", "{head}scores", "conv"),
    ),
    "pytorch": (
        Rule(r"layer0\.([036])", _stem, "conv"),
        Rule(r"layer0\.([147])", _stem, "batch_norm"),
        Rule(r"layer(\d)\.(\d+)\.(?:conv([123])|downsample\.0)", _residual(""), "conv"),
        Rule(r"layer(\d)\.(\d+)\.(?:bn([123])|downsample\.1)", _residual("_bn"), "batch_norm"),
        Rule(r"ppm\.features\.(\d)\.1", _mean(""), "conv"),
        Rule(r"ppm\.features\.(\d)\.2", _mean("_bn"), "batch_norm"),
        Rule(r"cls\.0", "fuse", "conv"),
        Rule(r"cls\.1", "fuse_bn", "batch_norm"),
        Rule(r"cls\.4", "{head}scores", "conv"),
        Rule(r"aux\.0", "{auxiliary}convolution", "conv", _AUXILIARY),
        Rule(r"aux\.1", "{auxiliary}normalization", "batch_norm", _AUXILIARY),
        Rule(r"aux\.4", "{auxiliary}scores", "conv", _AUXILIARY),
    ),
}

_PAPER = "Zhao, Shi, Qi, Wang, Jia, Pyramid Scene Parsing Network, CVPR 2017"
_CAFFE: dict[str, Any] = {
    "license": "unknown terms, of the authors (their code: BSD-2-Clause)",
    "page": "https://github.com/hszhao/PSPNet",
    "normalization": "BGR minus the mean of ImageNet, within the model",
}
_PYTORCH: dict[str, Any] = {
    "license": "MIT",
    "page": "https://github.com/hszhao/semseg (its folder on Google Drive)",
    "normalization": "RGB, mean and standard deviation of ImageNet, within the model",
    "auxiliary": {"level": "P4", "filters": 256},
}
# Numbers in the files, all but the scores; and those of the auxiliary head.
_NUMBERS = {50: 46_764_224, 101: 65_808_576}
_OF_AUXILIARY = 2_360_320
_DRIVE = "https://drive.google.com/uc?export=download&id="


def _record(
    name: str,
    depth: int,
    classes: Classes,
    data: str,
    scored_on: str,
    size: int,
    scores: dict[str, float],
    rules: str,
    arguments: dict[str, Any],
    **more: Any,
) -> Record:
    count = len(classes.names)
    numbers = _NUMBERS[depth] + 513 * count
    if "auxiliary" in more:
        numbers += _OF_AUXILIARY + 257 * count
    return Record(
        name=f"pspnet/{name}",
        builder=network,
        arguments={"backbone": f"resnet{depth}c", **arguments},
        rules=RULES[rules],
        classes=classes,
        bytes=4 * numbers,
        data=data,
        scores=scores,
        scored_on=scored_on,
        citation=_PAPER,
        test_size=f"tiles of {size}×{size}",
        grid="corners",
        **more,
    )


def _caffe(
    name: str, drive: str, depth: int, classes: Classes, scored_on: str, size: int, **scores: float
) -> Record:
    stride_in = "1x1" if depth == 50 else "3x3"
    return _record(
        f"{name}_caffe",
        depth,
        classes,
        classes.data,
        scored_on,
        size,
        {key.replace("_", " "): value for key, value in scores.items()},
        "caffe",
        {"stride_in": stride_in, "preprocessing": "caffe"},
        urls=(f"{_DRIVE}{drive}",),
        file=f"{name}.caffemodel",
        **_CAFFE,
    )


def _semseg(
    data: str, depth: int, classes: Classes, size: int, mean_iou: float, accuracy: float
) -> Record:
    return _record(
        f"pspnet{depth}_{data}",
        depth,
        classes,
        classes.data,
        f"{classes.data} val, one scale",
        size,
        {"mean IoU": mean_iou, "pixel accuracy": accuracy},
        "pytorch",
        {},
        file=f"pspnet{depth}_{data}.pth",
        **_PYTORCH,
    )


RECORDS = (
    _semseg("ade20k", 50, ADE20K, 473, 41.89, 80.39),
    _semseg("ade20k", 101, ADE20K, 473, 43.10, 81.07),
    _semseg("voc2012", 50, VOC, 473, 77.05, 94.89),
    _semseg("voc2012", 101, VOC, 473, 79.07, 95.34),
    _semseg("cityscapes", 50, CITYSCAPES, 713, 77.30, 95.97),
    _semseg("cityscapes", 101, CITYSCAPES, 713, 78.63, 96.14),
    _caffe(
        "pspnet50_ADE20K",
        "0BzaU285cX7TCN1R3QnUwQ0hoMTA",
        50,
        ADE20K,
        "ADE20K val, one scale",
        473,
        mean_IoU=41.68,
        pixel_accuracy=80.04,
    ),
    _caffe(
        "pspnet101_VOC2012",
        "0BzaU285cX7TCNVhETE5vVUdMYk0",
        101,
        VOC,
        "VOC 2012 test, several scales",
        473,
        mean_IoU=85.41,
    ),
    _caffe(
        "pspnet101_cityscapes",
        "0BzaU285cX7TCT1M3TmNfNjlUeEU",
        101,
        CITYSCAPES,
        "Cityscapes val, one scale",
        713,
        mean_IoU=79.70,
        pixel_accuracy=96.38,
    ),
)

"""The FCNs of their authors on VGG-16, with the margin of 100 zeros; and as PyTorch files.

For each network there is a `.caffemodel`; pytorch-fcn of wkentaro has those for VOC with the
same names and numbers as `.pth`. FCN-AlexNet is in `fcn_alexnet`.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

import keras

from keras_dense._types import Shape
from keras_dense._weights.rules import Rule
from keras_dense.backbones import application
from keras_dense.models.build import HeadsLike
from keras_dense.models.fcn import fcn8s, fcn16s, fcn32s
from keras_dense.weights.authors_classes import (
    NYU,
    PASCAL_CONTEXT,
    SIFT_FLOW,
    VOC,
    Classes,
)
from keras_dense.weights.record import Record

# Of blue, green and red.
MEAN_BGR = (104.00699, 116.66877, 122.67892)
_BUILDERS = {32: fcn32s, 16: fcn16s, 8: fcn8s}


def network(
    stride: int,
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    mean: tuple[float, ...] = MEAN_BGR,
    at_once: bool = False,
    backbone: keras.Model | None = None,
) -> keras.Model:
    """FCN-32s, FCN-16s or FCN-8s as published.

    Args:
        stride: int, 32, 16 or 8.
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        mean: of blue, green and red.
        at_once: bool, whether skips are scaled.
        backbone: a classifier like VGG-16, which standardizes images.
    """
    if backbone is None:
        preprocessing = {"mean": mean[::-1], "reverse_channels": True}
        backbone = application(
            "vgg16", None, standardize=True, preprocessing=preprocessing, include_top=True
        )
    settings: dict[str, Any] = {"at_once": True} if at_once else {}
    return _BUILDERS[stride](
        backbone, heads=heads, input_shape=input_shape, margin=True, learned=False, **settings
    )


# Scores of what, and the prefix of the layers of that head.
_SCORES = {"score_fr": "score_P5", "score_pool4": "score_P4", "score_pool3": "score_P3"}
_UPSCORES = {
    "upscore2": "upscore_P5",
    "upscore_pool4": "upscore_P4",
    "upscore8": "upscore8",
    "upscore16": "upscore16",
    "upscore": "upscore32",
}


def _head(names: Mapping[str, str], prefix: str, match: re.Match) -> str:
    return f"{prefix}{names[match[1]]}"


def head_rules(suffix: str = "", prefix: str = "{head}", unless: str | None = None) -> tuple:
    """Rules of the layers that score one head.

    Args:
        suffix: str, ending of the authors' names.
        prefix: str, start of ours.
        unless: str, see `Rule`.
    """
    return tuple(
        Rule(rf"({'|'.join(names)}){suffix}", functools.partial(_head, names, prefix), kind, unless)
        for names, kind in ((_SCORES, "conv"), (_UPSCORES, "transposed"))
    )


VGG = (
    Rule(r"conv(\d)_(\d)", r"backbone/block\1_conv\2", "conv"),
    Rule(r"fc6", "backbone/fc1", "conv"),
    Rule(r"fc7", "backbone/fc2", "conv"),
)
_GEOMETRIC = "the geometric classes, which a second head named 'geometric' reads"
RULES = {
    "one": (
        *VGG,
        *head_rules(),
        Rule(r"scale_pool[34]\.\d", None, "skip", "fixed scales of the skips"),
    ),
    "two": (*VGG, *head_rules("_sem"), *head_rules("_geo", "geometric_", _GEOMETRIC)),
}

_PAGE = "https://github.com/shelhamer/fcn.berkeleyvision.org"
CAFFE = "http://dl.caffe.berkeleyvision.org/"
PAPER = (
    "Shelhamer, Long, Darrell, Fully Convolutional Networks for Semantic Segmentation, PAMI 2017"
)
_TERMS = "unrestricted use (BVLC model license); code BSD-2-Clause"
AUTHORS: dict[str, Any] = {"license": _TERMS, "page": _PAGE}


def _record(
    name: str, url: str, stride: int, classes: Classes, score: float | None = None, **more: Any
) -> Record:
    rules = more.pop("rules", "one")
    arguments = {"stride": stride, **more.pop("arguments", {})}
    parameters = _PARAMETERS + _scoring(stride, len(classes.names)) + more.pop("parameters", 0)
    return Record(
        name=f"fcn/{name}",
        builder=network,
        arguments=arguments,
        rules=RULES[rules],
        classes=classes,
        urls=(url,),
        bytes=4 * parameters,
        scores={} if score is None else {"mean IoU": score},
        scored_on="" if score is None else "VOC 2011 seg11valid",
        citation=PAPER,
        test_size="the image's own",
        normalization="BGR minus a mean, within the model",
        grid="image",
        **{"data": classes.data, **AUTHORS, **more},
    )


# Of VGG-16 without its last layer.
_PARAMETERS = 134_260_544


def _scoring(stride: int, classes: int) -> int:
    """The number of weights that compute and upsample scores."""
    maps = {32: (4096,), 16: (4096, 512), 8: (4096, 512, 256)}[stride]
    kernels = {32: (64,), 16: (4, 32), 8: (4, 4, 16)}[stride]
    return sum((n + 1) * classes for n in maps) + sum((n * classes) ** 2 for n in kernels)


SBD = "PASCAL VOC 2011 and SBD"
_VOC_SCORES = {32: 63.6, 16: 65.0, 8: 65.5}
# Files of pytorch-fcn: the number on Google Drive, and their MD5.
_PYTORCH = {
    32: ("11k2Q0bvRQgQbT6-jYWeh6nmAsWlSCY3f", "d3eb467a80e7da0468a20dfcbc13e6c8"),
    16: ("1bctu58B6YH9bu6lBBSBB2rUeGlGhYLoP", "a2d4035f669f09483b39c9a14a0d6670"),
    8: ("1ieXWyoG68xqoHJPWdyrDyaIaaWlfmUxI", "de93e540ec79512f8770033849c8ae89"),
}


def _pytorch(name: str, drive: str, md5: str, stride: int, score: float, **more: Any) -> Record:
    return _record(
        f"{name}_pytorch",
        f"https://drive.google.com/uc?id={drive}",
        stride,
        VOC,
        score,
        file=f"{name.removesuffix('_voc')}_from_caffe.pth",
        hash=md5,
        license="MIT",
        page="https://github.com/wkentaro/pytorch-fcn",
        data=SBD,
        **more,
    )


def _sift_flow(stride: int) -> Record:
    return _record(
        f"fcn{stride}s_sift_flow",
        f"{CAFFE}siftflow-fcn{stride}s-heavy.caffemodel",
        stride,
        SIFT_FLOW,
        rules="two",
        parameters=_scoring(stride, 3),
        arguments={"mean": (114.578, 115.294, 108.353)},
    )


RECORDS = (
    *(
        _record(
            f"fcn{n}s_voc",
            f"{CAFFE}fcn{n}s-heavy-pascal.caffemodel",
            n,
            VOC,
            _VOC_SCORES[n],
            data=SBD,
        )
        for n in _BUILDERS
    ),
    _record(
        "fcn8s_atonce_voc",
        f"{CAFFE}fcn8s-atonce-pascal.caffemodel",
        8,
        VOC,
        65.4,
        data=SBD,
        arguments={"at_once": True},
        parameters=768,
    ),
    *(_pytorch(f"fcn{n}s_voc", *_PYTORCH[n], n, _VOC_SCORES[n]) for n in _BUILDERS),
    _pytorch(
        "fcn8s_atonce_voc",
        "0B9P1L--7Wd2vblE1VUIxV1o2d2M",
        "bfed4437e941fef58932891217fe6464",
        8,
        65.4,
        arguments={"at_once": True},
    ),
    *(
        _record(
            f"fcn{n}s_pascal_context",
            f"{CAFFE}pascalcontext-fcn{n}s-heavy.caffemodel",
            n,
            PASCAL_CONTEXT,
            arguments={"mean": (104.007, 116.669, 122.679)},
        )
        for n in _BUILDERS
    ),
    *(_sift_flow(n) for n in _BUILDERS),
    _record(
        "fcn32s_nyud",
        f"{CAFFE}nyud-fcn32s-color-heavy.caffemodel",
        32,
        NYU,
        arguments={"mean": (116.190, 97.203, 92.318)},
    ),
)

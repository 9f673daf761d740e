"""The networks of Yu and Koltun for Caffe: dilated front end and context.

The image is mirrored by 186 pixels. For PASCAL VOC the context module pads its scores once, and is
wide; for the other data sets each of its convolutions pads. Probabilities belong to the first pixel
of their cells and are interpolated, so logits are logarithms of probabilities; only the network for
Cityscapes upsamples its scores by itself, half-pixel.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_dense._types import Array, Shape
from keras_dense._weights.kinds import Kind
from keras_dense._weights.rules import Rule
from keras_dense.backbones import application
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.dilated_context import dilated_context_decoder, front_end
from keras_dense.weights.authors_classes import CAMVID, CITYSCAPES, KITTI, VOC, Classes
from keras_dense.weights.fcn import VGG
from keras_dense.weights.record import Record

# Dilation rates of the context modules, by the number of layers that the authors count.
RATES = {
    7: (1, 1, 2, 4, 8, 1),
    8: (1, 1, 2, 4, 8, 16, 1),
    10: (1, 1, 2, 4, 8, 16, 32, 64, 1),
}


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    rates: Sequence[int] = RATES[8],
    context: str = "basic",
    zoom: str = "probabilities",
    backbone: keras.Model | None = None,
) -> keras.Model:
    """Front end and context module as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        mean: of blue, green and red.
        rates: ints, dilation rates of the context module.
        context: str, "large" (PASCAL VOC) or "basic" (all others).
        zoom: str, "transposed" (Cityscapes) or "probabilities" (all others); "top_left" gives
            scores that are interpolated themselves.
        backbone: a classifier like VGG-16, which standardizes images.
    """
    if backbone is None:
        preprocessing = {"mean": tuple(mean)[::-1], "reverse_channels": True}
        backbone = application(
            "vgg16", None, standardize=True, preprocessing=preprocessing, include_top=True
        )
    padding = "once" if context == "large" else "each"
    return assemble(
        front_end(backbone, 7 if zoom == "transposed" else 15),
        dilated_context_decoder(context, rates=rates, padding=padding, zoom=zoom),
        heads,
        input_shape=input_shape,
        name="dilated_context",
        grid="image",
    )


def _each(x: Array, shape: Shape) -> Array:
    """A kernel for each channel `(C, 1, k, k)`, channels last."""
    return x[:, 0].transpose(1, 2, 0)


_FIXED = Kind({"kernel": ("0",)}, {"kernel": _each})


def _later(match: re.Match) -> str:
    """Name for `conv2_1`, `conv3_1`, …, which follow two convolutions at the rate 1: 3, 4, …."""
    return f"{{head}}context_{int(match[1]) + 1}"


def rules(depth: int) -> tuple[Rule, ...]:
    """Rules of a network of so many dilated layers, as the authors count."""
    return (
        *VGG,
        Rule(r"fc-final|final", "{head}front_end", "conv"),
        Rule(r"ctx?_conv1_1", "{head}context_1", "conv"),
        Rule(r"ctx?_conv1_2", "{head}context_2", "conv"),
        Rule(r"ctx?_conv([2-7])_1", _later, "conv"),
        Rule(r"ctx?_fc1", f"{{head}}context_{len(RATES[depth])}", "conv"),
        Rule(r"ctx?_final", "{head}context_final", "conv"),
        Rule(r"ctx_upsample", "{head}zoom", _FIXED),
    )


RULES = {str(depth): rules(depth) for depth in RATES}

_URL = "http://dl.yf.io/dilation/models/"
# Of the front end without its scores.
_PARAMETERS = 134_260_544


def _record(
    file: str, depth: int, classes: Classes, score: float | None, scored_on: str, **arguments: Any
) -> Record:
    count = len(classes.names)
    widths = [1] * len(RATES[depth])
    if arguments.get("context") == "large":
        widths = [2, 2, 4, 8, 16, 32, 32]
    weights = 4097 * count + (widths[-1] * count + 1) * count
    for before, after in zip([1, *widths[:-1]], widths, strict=True):
        weights += (9 * before * count + 1) * after * count
    return Record(
        name=f"dilation/{file}",
        builder=network,
        arguments={"rates": RATES[depth], **arguments},
        rules=RULES[str(depth)],
        classes=classes,
        urls=(f"{_URL}{file}.caffemodel",),
        bytes=4 * (_PARAMETERS + weights),
        data=classes.data,
        scores={} if score is None else {"mean IoU": score},
        scored_on=scored_on,
        license="MIT",
        citation="Yu, Koltun, Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016",
        page="https://github.com/fyu/dilation",
        test_size="the image's own",
        normalization="BGR minus the mean of the data set, within the model",
        grid="image",
    )


RECORDS = (
    dataclasses.replace(
        _record(
            "dilation8_pascal_voc",
            8,
            VOC,
            None,
            "",
            mean=(102.93, 111.36, 116.52),
            context="large",
        ),
        data="COCO, then PASCAL VOC 2012 (augmented)",
        test_size="long side at most 500",
    ),
    _record(
        "dilation10_cityscapes",
        10,
        CITYSCAPES,
        67.1,
        "Cityscapes test",
        mean=(72.39, 82.91, 73.16),
        zoom="transposed",
    ),
    _record(
        "dilation7_kitti",
        7,
        KITTI,
        None,
        "",
        mean=(96.19429688, 95.55136972, 91.34692262),
    ),
    _record(
        "dilation8_camvid",
        8,
        CAMVID,
        65.3,
        "CamVid test, 640×480",
        mean=(110.70313206, 108.77808759, 105.41212523),
    ),
)

"""The segmentation networks of torchvision.

Six files, all trained on the images of COCO that show classes of PASCAL VOC, with the classes of
VOC. Images are scaled to 520 pixels on the short side; the networks do not pad them.
"""

import re
from typing import Any

import keras

from keras_dense._types import Shape
from keras_dense._weights.rules import Rule, within
from keras_dense.backbones import backbone
from keras_dense.backbones.torchvision_rules import MOBILENET_V3, RESNET
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.deeplabv3 import deeplabv3_decoder
from keras_dense.models.fcn_head import fcn_head_decoder
from keras_dense.models.lraspp import lraspp_decoder
from keras_dense.surgery import dilate, pad_symmetrically
from keras_dense.weights.classes import VOC
from keras_dense.weights.record import Record

DECODERS = {
    "fcn": fcn_head_decoder,
    "deeplabv3": lambda: deeplabv3_decoder((12, 24, 36), refine=True, dropout=0.5),
    "lraspp": lraspp_decoder,
}
_LEFT_OUT = "the auxiliary head, which only helps training"


def network(
    backbone_name: str,
    decoder: str,
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
) -> keras.Model:
    """A segmentation network as torchvision builds it.

    Args:
        backbone_name: str, "resnet50_v1b", "resnet101_v1b" or "mobilenet_v3_large".
        decoder: str, "fcn", "deeplabv3" or "lraspp".
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
    """
    if backbone_name.startswith("mobilenet"):
        dilated = _mobilenet()
    else:
        dilated = dilate(backbone(backbone_name, weights=None), 8)
    return assemble(
        dilated,
        DECODERS[decoder](),
        heads,
        input_shape=input_shape,
        name=f"{decoder}_{backbone_name.removesuffix('_v1b')}",
        grid="image",
    )


def _mobilenet() -> keras.Model:
    """MobileNetV3-Large at stride 16; its gates see the whole map."""
    model = keras.applications.MobileNetV3Large(
        input_shape=(None, None, 3), include_top=False, include_preprocessing=False, weights=None
    )
    model = pad_symmetrically(model)
    taps = {"P3": "expanded_conv_3_project_bn", "P5": model.layers[-1].name}
    return dilate(
        backbone(model, taps=taps, preprocessing="torch"), 16, mode="same", strided_rate="after"
    )


def _conv_norm(pattern: str, layer: str, norm: str = "") -> tuple[Rule, Rule]:
    """Rules of a convolution and the batch norm behind it: numbers that follow one another."""
    module, _, number = pattern.rpartition(".")
    return (
        Rule(re.escape(pattern), layer, "conv"),
        Rule(re.escape(f"{module}.{int(number) + 1}"), norm or f"{layer}_bn", "batch_norm"),
    )


_AUXILIARY = (
    Rule(r"aux_classifier\.0", "{auxiliary}convolution", "conv", _LEFT_OUT),
    Rule(r"aux_classifier\.1", "{auxiliary}normalization", "batch_norm", _LEFT_OUT),
    Rule(r"aux_classifier\.4", "{auxiliary}scores", "conv", _LEFT_OUT),
)
_FCN = (
    *_conv_norm("classifier.0", "head_1"),
    Rule(r"classifier\.4", "{head}scores", "conv"),
    *_AUXILIARY,
)
_DEEPLABV3 = (
    *_conv_norm("classifier.0.convs.0.0", "aspp_1x1"),
    Rule(r"classifier\.0\.convs\.([123])\.0", r"aspp_3x3_\1", "conv"),
    Rule(r"classifier\.0\.convs\.([123])\.1", r"aspp_3x3_\1_bn", "batch_norm"),
    *_conv_norm("classifier.0.convs.4.1", "aspp_image"),
    *_conv_norm("classifier.0.project.0", "aspp_project"),
    *_conv_norm("classifier.1", "refine"),
    Rule(r"classifier\.4", "{head}scores", "conv"),
    *_AUXILIARY,
)
_LRASPP = (
    *_conv_norm("classifier.cbr.0", "reduce"),
    Rule(r"classifier\.scale\.1", "mean_weight", "conv"),
    Rule(r"classifier\.(low|high)_classifier", r"{head}scores_\1", "conv"),
)
_RESNET = within(RESNET, "backbone.", "backbone/")
_MOBILENET = within(MOBILENET_V3, "backbone.", "backbone/")
RULES = {
    "fcn_resnet": _RESNET + _FCN,
    "deeplabv3_resnet": _RESNET + _DEEPLABV3,
    "deeplabv3_mobilenet": _MOBILENET + _DEEPLABV3,
    "lraspp": _MOBILENET + _LRASPP,
}

_MOBILE = "mobilenet_v3_large"
_PAPERS = {
    "fcn": "Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, "
    "CVPR 2015",
    "deeplabv3": "Chen, Papandreou, Schroff, Adam, Rethinking Atrous Convolution for Semantic "
    "Image Segmentation, 2017",
    "lraspp": "Howard et al., Searching for MobileNetV3, ICCV 2019",
}


def _record(
    decoder: str, network_name: str, rules: str, digits: str, mib: float, *scores: float
) -> Record:
    """A record; the file ends in the first digits of its SHA-256."""
    file = f"{decoder}_{network_name}{'' if 'mobile' in network_name else '_coco'}-{digits}.pth"
    backbone_name = network_name if "mobile" in network_name else f"{network_name}_v1b"
    return Record(
        name=f"torchvision/{decoder}_{network_name}",
        builder=network,
        arguments={"backbone_name": backbone_name, "decoder": decoder},
        rules=RULES[rules],
        classes=VOC,
        urls=(f"https://download.pytorch.org/models/{file}",),
        bytes=round(mib * 2**20),
        hash=digits,
        data="images of COCO train2017 with classes of PASCAL VOC",
        scores=dict(zip(("mean IoU", "pixel accuracy"), scores, strict=True)),
        scored_on="COCO val2017, classes of VOC, short side 520",
        license="BSD-3-Clause; the weights may carry terms of their data",
        citation=f"{_PAPERS[decoder]}; TorchVision maintainers and contributors, 2016",
        page="https://pytorch.org/vision/stable/models.html#semantic-segmentation",
        test_size="short side 520",
        normalization="RGB, mean and standard deviation of ImageNet, within the model",
        grid="image",
        auxiliary=_auxiliary(decoder, network_name),
    )


def _auxiliary(decoder: str, network_name: str) -> dict[str, Any] | None:
    if decoder == "lraspp":
        return None
    mobile = "mobile" in network_name
    return {"level": "P3", "filters": 10} if mobile else {"level": "P4", "filters": 256}


RECORDS = (
    _record("fcn", "resnet50", "fcn_resnet", "1167a1af", 135.009, 60.5, 91.4),
    _record("fcn", "resnet101", "fcn_resnet", "7ecb50ca", 207.711, 63.7, 91.9),
    _record("deeplabv3", "resnet50", "deeplabv3_resnet", "cd0a2569", 160.515, 66.4, 92.4),
    _record("deeplabv3", "resnet101", "deeplabv3_resnet", "586e9e4e", 233.217, 67.4, 92.4),
    _record("deeplabv3", _MOBILE, "deeplabv3_mobilenet", "fc3c493d", 42.301, 60.3, 91.2),
    _record("lraspp", _MOBILE, "lraspp", "d234d4ea", 12.490, 57.9, 91.2),
)

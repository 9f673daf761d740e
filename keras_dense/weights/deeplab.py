"""The networks of Google's DeepLab: Xception-65 and MobileNetV2.

They are published as archives with a checkpoint and a frozen graph of TensorFlow 1, and quantized
as `.tflite`; bonlime/keras-deeplab-v3-plus has some as `.h5` of Keras. All of these are read.
Images have 513 pixels on the longer side; maps are resized with aligned corners.

The authors compute at output stride 16 or 8 with the same weights; scores are at 16 unless said.
"""

from typing import Any

import keras

from keras_dense._types import Shape
from keras_dense._weights.kinds import blocks, classes
from keras_dense._weights.rules import Rule
from keras_dense.backbones import backbone
from keras_dense.backbones.application import Preprocessing
from keras_dense.backbones.deeplab_rules import (
    MOBILENET_V2,
    OTHERS,
    QUANTIZED,
    XCEPTION65,
    conv,
    conv_norm,
    norm,
)
from keras_dense.backbones.mobilenet_v2 import mobilenet_v2_features
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.deeplabv3 import deeplabv3_decoder, rates_at
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder
from keras_dense.surgery import dilate
from keras_dense.weights.classes import ADE20K, CITYSCAPES, VOC, Classes
from keras_dense.weights.record import Record

# Quantized networks take (x − 128) / 128.
_LITERT = {"mean": 128.0, "std": 128.0}


def network(
    backbone_name: str,
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    width: float = 1.0,
    preprocessing: Preprocessing = "tf",
    output_stride: int = 16,
    grid: str = "corners",
) -> keras.Model:
    """A segmentation network as Google's DeepLab builds it.

    Args:
        backbone_name: str, "xception65" (with pyramid and decoder) or "mobilenet_v2" (with the mean
            of the map beside a 1×1 convolution, and no decoder).
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        width: float, factor of the channels of MobileNetV2.
        preprocessing: see `kd.backbone`.
        output_stride: int, 16 or 8.
        grid: str, see `kd.assemble`.
    """
    if backbone_name == "xception65":
        features = backbone("xception65", weights=None, preprocessing=preprocessing)
        decoder = deeplabv3plus_decoder(rates_at(output_stride), separable=True)
        name = "deeplabv3plus_xception65"
    else:
        features = _mobilenet(width, preprocessing)
        decoder = deeplabv3_decoder(())
        name = "deeplabv3_mobilenet_v2"
    dilated = dilate(features, output_stride)
    return assemble(dilated, decoder, heads, input_shape=input_shape, name=name, grid=grid)


def _mobilenet(width: float, preprocessing: Preprocessing) -> keras.Model:
    taps = {"P2": "block_2_add", "P3": "block_5_add", "P4": "block_12_add"}
    taps["P5"] = "block_16_project_BN"
    return backbone(mobilenet_v2_features(width), taps=taps, preprocessing=preprocessing)


def _next(match: Any) -> str:
    """The convolutions of the decoder are counted from 0 there, from 1 here."""
    return f"decoder_{int(match[1]) + 1}"


def _head(rates: int) -> tuple[Rule, ...]:
    """Rules of the decoder: in the concatenation the mean of the image comes first there."""
    order = (*range(1, rates + 2), 0)
    pyramid, decoder = r"aspp(\d)", r"decoder/decoder_conv(\d)"
    return (
        *conv_norm("image_pooling", "image_pooling", "aspp_image"),
        *conv_norm("aspp0", "aspp0", "aspp_1x1"),
        *conv_norm(f"{pyramid}_depthwise", f"{pyramid}_depthwise", r"aspp_3x3_\1_depthwise"),
        *conv_norm(f"{pyramid}_pointwise", f"{pyramid}_pointwise", r"aspp_3x3_\1"),
        *conv(
            "concat_projection",
            "concat_projection",
            "aspp_project",
            blocks("hwio", order),
            blocks(QUANTIZED, order),
        ),
        *norm("concat_projection", "concat_projection", "aspp_project_bn"),
        *conv_norm("decoder/feature_projection0", "feature_projection0", "low_level"),
        *conv(
            f"{decoder}_depthwise",
            r"decoder_conv(\d)_depthwise",
            lambda match: f"{_next(match)}_depthwise",
        ),
        *norm(
            f"{decoder}_depthwise",
            r"decoder_conv(\d)_depthwise",
            lambda match: f"{_next(match)}_depthwise_bn",
        ),
        *conv(f"{decoder}_pointwise", r"decoder_conv(\d)_pointwise", _next),
        *norm(
            f"{decoder}_pointwise",
            r"decoder_conv(\d)_pointwise",
            lambda match: f"{_next(match)}_bn",
        ),
    )


def _scores(background: bool = False) -> tuple[Rule, ...]:
    """Rules of the scores, without those of class 0 if it is a `background` to be ignored."""
    kinds = ("hwio", QUANTIZED)
    if background:
        kinds = tuple(classes(kind, slice(1, None)) for kind in kinds)
    return conv("logits/semantic", "(?:custom_)?logits_semantic", "{head}scores", *kinds)


RULES = {
    "mobilenetv2": (*MOBILENET_V2, *_head(0), *_scores(), *OTHERS),
    "mobilenetv2_ade20k": (*MOBILENET_V2, *_head(0), *_scores(background=True), *OTHERS),
    "xception65": (*XCEPTION65, *_head(3), *_scores(), *OTHERS),
    "xception65_ade20k": (*XCEPTION65, *_head(3), *_scores(background=True), *OTHERS),
}

_HOST = "http://download.tensorflow.org/models"
_KERAS = "https://github.com/bonlime/keras-deeplab-v3-plus/releases/download"
_PAPERS = {
    "xception65": "Chen, Zhu, Papandreou, Schroff, Adam, Encoder-Decoder with Atrous Separable "
    "Convolution for Semantic Image Segmentation, ECCV 2018",
    "mobilenetv2": "Sandler, Howard, Zhu, Zhmoginov, Chen, MobileNetV2: Inverted Residuals and "
    "Linear Bottlenecks, CVPR 2018",
}
_TRAIN_AUG = "COCO, then PASCAL VOC 2012 with the extra annotations (train_aug)"
_SCALES = "stride 8, mean of 6 scales and of mirrored images"


def _record(
    name: str,
    predicts: Classes,
    file: str,
    megabytes: float,
    data: str,
    iou: float,
    on: str = "validation images, stride 16, one scale",
    *,
    mirror: str = "",
    **arguments: Any,
) -> Record:
    kind = name.partition("_")[0]
    image, quantized = "RGB from −1 to 1, within the model", name.endswith("_8bit")
    builder = {"backbone_name": "xception65" if kind == "xception65" else "mobilenet_v2"}
    if quantized:
        arguments["preprocessing"] = _LITERT
        image = "RGB, (x − 128) / 128, within the model"
    return Record(
        name=f"deeplab/{name}",
        builder=network,
        arguments={**builder, **arguments},
        rules=RULES[f"{kind}_ade20k" if predicts is ADE20K else kind],
        classes=predicts,
        urls=(f"{_HOST}/{file}.tar.gz", *([f"{_KERAS}/{mirror}.h5"] if mirror else [])),
        bytes=round(megabytes * 1e6),
        rounded=True,
        data=data,
        scores={"mean IoU": iou},
        scored_on=f"{predicts.data}, {on}",
        license="Apache-2.0",
        citation=_PAPERS[kind],
        page="https://github.com/tensorflow/models/blob/master/research/deeplab/g3doc/"
        + ("quantize.md" if quantized else "model_zoo.md"),
        test_size="2049×1025" if predicts is CITYSCAPES else "longer side 513",
        normalization=image,
        grid="corners",
    )


_MNV2, _XCEPTION = "deeplabv3_mnv2", "deeplabv3"
_CITYSCAPES_KERAS = "1.2/deeplabv3_{}_tf_dim_ordering_tf_kernels_cityscapes"
RECORDS = (
    _record("mobilenetv2_voc", VOC, f"{_MNV2}_pascal_train_aug_2018_01_29", 23, _TRAIN_AUG, 75.32),
    _record(
        "mobilenetv2_voc_trainval",
        VOC,
        f"{_MNV2}_pascal_trainval_2018_01_29",
        23,
        f"{_TRAIN_AUG} and its validation images",
        80.25,
        f"test images, {_SCALES}",
    ),
    _record(
        "mobilenetv2_voc_8bit",
        VOC,
        f"{_MNV2}_pascal_train_aug_8bit_2019_04_26",
        24,
        _TRAIN_AUG,
        74.26,
    ),
    _record(
        "mobilenetv2_dm05_voc",
        VOC,
        f"{_MNV2}_dm05_pascal_trainaug_2018_10_01",
        7.6,
        _TRAIN_AUG,
        70.19,
        width=0.5,
    ),
    _record(
        "mobilenetv2_dm05_voc_8bit",
        VOC,
        f"{_MNV2}_dm05_pascal_train_aug_8bit_2019_04_26",
        8.2,
        _TRAIN_AUG,
        69.65,
        width=0.5,
    ),
    _record(
        "mobilenetv2_cityscapes",
        CITYSCAPES,
        f"{_MNV2}_cityscapes_train_2018_02_05",
        23,
        "COCO, then Cityscapes (fine annotations)",
        70.71,
        mirror=_CITYSCAPES_KERAS.format("mobilenetv2"),
    ),
    _record(
        "mobilenetv2_ade20k",
        ADE20K,
        f"{_MNV2}_ade20k_train_2018_12_03",
        24.8,
        "ImageNet, then ADE20K",
        32.04,
    ),
    _record(
        "xception65_voc", VOC, f"{_XCEPTION}_pascal_train_aug_2018_01_04", 439, _TRAIN_AUG, 82.20
    ),
    _record(
        "xception65_voc_trainval",
        VOC,
        f"{_XCEPTION}_pascal_trainval_2018_01_04",
        439,
        f"{_TRAIN_AUG} and its validation images",
        87.80,
        f"test images, {_SCALES}",
        mirror="1.1/deeplabv3_xception_tf_dim_ordering_tf_kernels",
    ),
    _record(
        "xception65_cityscapes",
        CITYSCAPES,
        f"{_XCEPTION}_cityscapes_train_2018_02_06",
        439,
        "ImageNet, then Cityscapes (fine annotations)",
        78.79,
        mirror=_CITYSCAPES_KERAS.format("xception"),
    ),
    _record(
        "xception65_ade20k",
        ADE20K,
        f"{_XCEPTION}_xception_ade20k_train_2018_05_29",
        439,
        "ImageNet, then ADE20K",
        45.65,
        f"validation images, {_SCALES}",
    ),
)

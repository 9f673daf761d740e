"""The segmentation networks of MMSegmentation.

FCN, PSPNet, DeepLabv3, DeepLabv3+, UPerNet and Semantic FPN on ResNets with a stem of three
convolutions ("v1c") and on MobileNetV2, and U-Nets with three heads; trained on photographs,
streets, aerial images and retinas. Those trained with crops of 769 pixels align corners.

>>> import keras_dense as kd
>>> kd.weights.list("mmseg/pspnet_r101_*")[:2]
['mmseg/pspnet_r101_voc', 'mmseg/pspnet_r101_ade20k']
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from keras_dense._types import Shape
from keras_dense.backbones import backbone
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.decoder import Decoder
from keras_dense.models.deeplabv3 import deeplabv3_decoder
from keras_dense.models.deeplabv3plus import deeplabv3plus_decoder
from keras_dense.models.fcn_head import fcn_head_decoder
from keras_dense.models.fpn import fpn_decoder
from keras_dense.models.pspnet import pspnet_decoder
from keras_dense.models.unet_backbone import FILTERS, whole_unet_backbone
from keras_dense.models.upernet import upernet_decoder
from keras_dense.surgery import dilate, pad_symmetrically, set_epsilon
from keras_dense.weights.mmseg_data import DATA, classes_in
from keras_dense.weights.mmseg_files import FILES, File
from keras_dense.weights.mmseg_rules import RULES
from keras_dense.weights.record import Record

_RATES = (12, 24, 36)
DECODERS: dict[str, Callable[..., Decoder]] = {
    "fcn": functools.partial(fcn_head_decoder, filters=512, convolutions=2, join=True),
    "pspnet": pspnet_decoder,
    "deeplabv3": functools.partial(deeplabv3_decoder, _RATES, filters=512, projection_size=3),
    "deeplabv3plus": functools.partial(
        deeplabv3plus_decoder, _RATES, filters=512, separable=True, projection_size=3
    ),
    "upernet": upernet_decoder,
    "fpn": functools.partial(fpn_decoder, norm="batch"),
}
# On U-Net the heads are narrow.
UNET_DECODERS: dict[str, Callable[..., Decoder]] = {
    "fcn": functools.partial(fcn_head_decoder, filters=64),
    "pspnet": functools.partial(pspnet_decoder, filters=16, bin_filters=16),
    "deeplabv3": functools.partial(deeplabv3_decoder, _RATES, filters=16, projection_size=3),
}
_STRIDES = {"upernet": 32, "fpn": 32}
BACKBONES = {
    "r18": "resnet18_v1c",
    "r50": "resnet50_v1c",
    "r101": "resnet101_v1c",
    "r50b": "resnet50_v1b",
    "r101b": "resnet101_v1b",
    "mobilenet_v2": "mobilenet_v2",
}
# Heads are narrower on ResNet-18.
_NARROW: dict[str, Mapping[str, Any]] = {
    "fcn": {"filters": 128},
    "pspnet": {"filters": 128, "bin_filters": 128},
    "deeplabv3": {"filters": 128},
    "deeplabv3plus": {"filters": 128, "low_filters": 12},
}


def network(
    structure: str,
    backbone_name: str,
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    grid: str = "image",
    **settings: Any,
) -> keras.Model:
    """A segmentation network as MMSegmentation builds it.

    Args:
        structure: str, "fcn", "pspnet", "deeplabv3", "deeplabv3plus", "upernet" or "fpn".
        backbone_name: str, such as "resnet50_v1c", or "mobilenet_v2".
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        grid: str, "image", or "image_corners" for those that align corners.
        **settings: further arguments of the decoder.
    """
    model = _backbone(backbone_name, _STRIDES.get(structure, 8))
    return assemble(
        model,
        DECODERS[structure](**settings),
        heads,
        input_shape=input_shape,
        name=f"{structure}_{backbone_name}",
        grid=grid,
    )


def _backbone(name: str, stride: int) -> keras.Model:
    """A backbone; unlike those of `kd.surgery.dilate`, not all its convolutions are dilated."""
    if name == "mobilenet_v2":
        return _mobilenet()
    model = backbone(name, weights=None)
    if stride == 32:
        return model
    rates = {}
    if name.startswith("resnet18"):
        rates = {f"layer{stage}_{n}_conv2": 1 for stage in (3, 4) for n in (0, 1)}
    return dilate(model, stride, rates=rates)


def _mobilenet() -> keras.Model:
    """MobileNetV2 at stride 8: only the first block of a stage is dilated."""
    model = keras.applications.MobileNetV2(
        input_shape=(None, None, 3), include_top=False, weights=None
    )
    model = set_epsilon(pad_symmetrically(model), 1e-5)
    taps = {"P2": "block_2_add", "P4": "block_12_add", "P5": "block_16_project_BN"}
    model = backbone(model, taps=taps, preprocessing="torch")
    rates = {7: 1, 8: 1, 9: 1, 10: 2, 11: 1, 12: 1, 14: 1, 15: 1, 16: 4}
    rates_of_layers = {f"block_{block}_depthwise": rate for block, rate in rates.items()}
    return dilate(model, 8, strided_rate="after", rates=rates_of_layers)


def unet(
    structure: str,
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    filters: Sequence[int] = FILTERS,
) -> keras.Model:
    """MMSegmentation's UNet-S5-D16 with the head of another network.

    Args:
        structure: str, "fcn", "pspnet" or "deeplabv3".
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        filters: tuple of ints >= 1, widths of the levels, see `kd.unet`.
    """
    decoder = UNET_DECODERS[structure](level="P0")
    name = f"unet_{structure}"
    return assemble(
        whole_unet_backbone(filters), decoder, heads, input_shape=input_shape, name=name
    )


_PAPERS = {
    "fcn": "Long, Shelhamer, Darrell, Fully Convolutional Networks for Semantic Segmentation, "
    "CVPR 2015",
    "pspnet": "Zhao, Shi, Qi, Wang, Jia, Pyramid Scene Parsing Network, CVPR 2017",
    "deeplabv3": "Chen, Papandreou, Schroff, Adam, Rethinking Atrous Convolution for Semantic "
    "Image Segmentation, 2017",
    "deeplabv3plus": "Chen, Zhu, Papandreou, Schroff, Adam, Encoder-Decoder with Atrous Separable "
    "Convolution for Semantic Image Segmentation, ECCV 2018",
    "upernet": "Xiao, Liu, Zhou, Jiang, Sun, Unified Perceptual Parsing for Scene Understanding, "
    "ECCV 2018",
    "fpn": "Kirillov, Girshick, He, Dollár, Panoptic Feature Pyramid Networks, CVPR 2019",
    "unet": "Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image "
    "Segmentation, MICCAI 2015",
}


def _network_of(file: File) -> dict[str, Any]:
    """The fields of a record that say what is built."""
    if file.backbone == "unet":
        return {
            "builder": unet,
            "arguments": {"structure": file.structure},
            "rules": RULES[f"unet_{file.structure}"],
            "grid": "multiple",
            "auxiliary": {"level": "P1", "filters": 64},
        }
    mobile = file.backbone == "mobilenet_v2"
    small, grid = file.backbone == "r18", "image_corners" if file.aligned else "image"
    arguments = {"structure": file.structure, "backbone_name": BACKBONES[file.backbone]}
    arguments |= {"grid": grid, **(_NARROW[file.structure] if small else {})}
    auxiliary = {"level": "P4", "filters": 64 if small else 256}
    return {
        "builder": network,
        "arguments": arguments,
        "rules": RULES[f"mobilenet_v2_{file.structure}" if mobile else file.structure],
        "grid": grid,
        "auxiliary": None if file.structure == "fpn" else auxiliary,
    }


def _record(file: File) -> Record:
    data = DATA[file.data]
    paper = _PAPERS["unet" if file.backbone == "unet" else file.structure]
    test_size = "tiles of 769×769 with stride 513" if file.aligned else data.test_size
    return Record(
        name=f"mmseg/{file.name}",
        classes=data.classes,
        urls=(file.url,),
        bytes=round(file.size * 2**20),
        hash=file.stem[-8:],
        # Newer digits are those of the file before it was cleaned.
        trusted=False,
        data=f"{data.trained_on}; {file.schedule} steps, crops of {file.crop.replace('x', '×')}",
        scores={data.score: file.score},
        scored_on=f"{data.scored_on}, single scale",
        license="Apache-2.0; the weights may carry terms of their data",
        citation=f"{paper}; MMSegmentation contributors, 2020",
        page="https://github.com/open-mmlab/mmsegmentation",
        test_size=test_size.format(crop=file.crop.replace("x", "×")),
        normalization="RGB, mean and standard deviation of ImageNet, within the model",
        classes_in=classes_in,
        **_network_of(file),
    )


RECORDS = tuple(_record(file) for file in FILES)

"""MiDaS v2.1, depth of any image from networks trained on ten data sets at once.

They predict relative inverse depth: what is nearer, with a scale and a shift that differ between
images. The authors scale images to 384 (or 256) pixels on the longer side, to multiples of 32;
their networks know no other sizes, ours pad the image.
"""

import functools
import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_dense._types import Shape
from keras_dense._weights.rules import Rule, within
from keras_dense.backbones import backbone as make_backbone
from keras_dense.backbones.efficientnet_lite_rules import blocks
from keras_dense.heads import RelativeDepth
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.dpt import dpt_decoder
from keras_dense.weights.record import Record


def network(
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    backbone: str | keras.Model = "resnext101_32x8d",
    filters: int | Sequence[int] = 256,
    small: bool = False,
) -> keras.Model:
    """MiDaS v2.1 as published.

    Args:
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        backbone: str, a network of `kd.backbones`, or a backbone.
        filters: int, channels of the decoder; or one for each level, coarsest first.
        small: bool, whether 1×1 convolutions end the fusions, as in the small network; then units
            add their input as it is.
    """
    if isinstance(backbone, str):
        backbone = make_backbone(backbone, weights=None, preprocessing="torch")
    decoder = dpt_decoder(filters, project=small, rectify=not small, half_pixel=True)
    return assemble(
        backbone,
        decoder,
        heads,
        input_shape=input_shape,
        name="midas_v21_small" if small else "midas_v21",
        grid="multiple_corners",
    )


def _resnet(match: re.Match) -> str:
    """`layer1.4.0.conv1`: the stem comes before the first stage."""
    return f"layer{match[1] or match[2]}_{match[3]}_{match[4].replace('.', '_')}"


def _level(template: str) -> Any:
    """Features are counted from 1, at stride 4, which is P2."""
    return lambda match: template.format(int(match[1]) + 1, *match.groups()[1:])


_BLOCK = r"layer(?:(1)\.4|([2-4]))\.(\d+)"
_RESNEXT = (
    Rule(r"layer1\.0", "conv1", "conv"),
    Rule(r"layer1\.1", "bn1", "batch_norm"),
    Rule(rf"{_BLOCK}\.(conv\d|downsample\.0)", _resnet, "conv"),
    Rule(rf"{_BLOCK}\.(bn\d|downsample\.1)", _resnet, "batch_norm"),
)
_LITE = (
    Rule(r"layer1\.0", "stem_conv", "conv"),
    Rule(r"layer1\.1", "stem_bn", "batch_norm"),
    *blocks([re.escape(f"layer{n}") for n in ("1.3", "1.4", "2.0", "3.0", "3.1", "4.0", "4.1")]),
)
DECODER = (
    Rule(
        r"scratch\.refinenet4\.resConfUnit1\..*",
        None,
        "skip",
        "a unit of the coarsest level, which the network does not use",
    ),
    Rule(r"scratch\.layer(\d)_rn", _level("narrow_P{}"), "conv"),
    Rule(
        r"scratch\.refinenet(\d)\.resConfUnit(\d)\.conv(\d)",
        _level("fusion_P{}_unit_{}_conv_{}"),
        "conv",
    ),
    Rule(r"scratch\.refinenet(\d)\.out_conv", _level("fusion_P{}_project"), "conv"),
    Rule(r"scratch\.output_conv\.0", "{head}head_1", "conv"),
    Rule(r"scratch\.output_conv\.2", "{head}head_2", "conv"),
    Rule(r"scratch\.output_conv\.4", "{head}scores", "conv"),
)
RULES = {
    "large": (*within(_RESNEXT, "pretrained.", "backbone/"), *DECODER),
    "small": (*within(_LITE, "pretrained.", "backbone/"), *DECODER),
}

_RELEASE = "https://github.com/isl-org/MiDaS/releases/download/v2_1/"


def _record(
    name: str,
    digits: str,
    older: str,
    size: int,
    side: int,
    scores: tuple[float, float, float],
    **more: Any,
) -> Record:
    """A record; the file began in `older` and the first digits of its SHA-256."""
    eth3d, kitti, nyu = scores
    return Record(
        name=f"midas/{name}",
        builder=network,
        make_head=functools.partial(RelativeDepth, activation="relu"),
        urls=(f"{_RELEASE}midas_{name}.pt", f"{_RELEASE}{older}-{digits}.pt"),
        file=f"midas_{name}-{digits}.pt",
        hash=digits,
        bytes=size,
        data="ReDWeb, DIML, Movies, MegaDepth, WSVD, TartanAir, HRWSI, ApolloScape, BlendedMVS, "
        "IRS",
        scores={
            "AbsRel on ETH3D": eth3d,
            "% beyond 1.25 on KITTI": kitti,
            "% beyond 1.25 on NYU": nyu,
        },
        scored_on="zero-shot, scale and shift of each image aligned",
        license="MIT",
        citation="Ranftl, Lasinger, Hafner, Schindler, Koltun, Towards Robust Monocular Depth "
        "Estimation: Mixing Datasets for Zero-shot Cross-dataset Transfer, PAMI 2022",
        page="https://github.com/isl-org/MiDaS",
        test_size=f"long side {side}, both sides multiples of 32",
        normalization="RGB, mean and standard deviation of ImageNet, within the model",
        grid="multiple_corners",
        **more,
    )


RECORDS = (
    _record(
        "v21_384",
        "f6b98070",
        "model",
        422_300_000,
        384,
        (0.1155, 16.08, 8.71),
        rules=RULES["large"],
    ),
    _record(
        "v21_small_256",
        "70d6b9c8",
        "model-small",
        85_700_000,
        256,
        (0.1344, 29.27, 13.43),
        rules=RULES["small"],
        arguments={
            "backbone": "efficientnet_lite3",
            "filters": (512, 256, 128, 64),
            "small": True,
        },
    ),
)

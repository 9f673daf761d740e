"""SegFormer: the authors' networks, as transformers and MMSegmentation publish them.

The weights are for non-commercial use. Files of transformers hold the authors' own numbers;
MMSegmentation trained its heads itself, with batch norm and ReLU after each projection.

>>> import keras_dense as kd
>>> kd.weights.list("nvidia/segformer_b0*")
['nvidia/segformer_b0_ade20k', 'nvidia/segformer_b0_cityscapes']
"""

import re
from collections.abc import Sequence
from typing import Any

import keras

from keras_dense._types import Shape
from keras_dense._weights.kinds import portion
from keras_dense._weights.rules import Rule, within
from keras_dense.backbones import backbone, mit_rules
from keras_dense.models.assemble import assemble
from keras_dense.models.build import HeadsLike
from keras_dense.models.segformer import LEVELS, segformer_decoder
from keras_dense.weights.classes import ADE20K, CITYSCAPES, Classes
from keras_dense.weights.mmseg_files import ROOT
from keras_dense.weights.record import Record

_FINE_TO_COARSE = LEVELS[::-1]


def network(
    backbone_name: str,
    *,
    heads: HeadsLike,
    input_shape: Shape = (None, None, 3),
    grid: str = "image",
    normalize: bool = False,
) -> keras.Model:
    """A SegFormer as its authors build it.

    Args:
        backbone_name: str, "mit_b0" to "mit_b5".
        heads: a head, or a dict of heads.
        input_shape: `(height, width, channels)` of the image.
        grid: str, see `kd.assemble`.
        normalize: bool, whether batch norm and ReLU follow each projection, as in MMSegmentation.
    """
    filters = 256 if backbone_name in ("mit_b0", "mit_b1") else 768
    return assemble(
        backbone(backbone_name, weights=None),
        segformer_decoder(filters, normalize=normalize),
        heads,
        input_shape=input_shape,
        name=f"segformer_{backbone_name}",
        grid=grid,
    )


def _fuse(pattern: str, levels: Sequence[str]) -> tuple[Rule, ...]:
    """Rules of the convolution of all maps, which ours computes in parts."""
    return tuple(
        Rule(pattern, f"fuse_{level}", portion("linear", n, len(levels)), shared=True)
        for n, level in enumerate(levels)
    )


def _level(template: str, start: int = 0) -> Any:
    """A layer named after a level, whose number in the file begins with `start`."""

    def name(match: re.Match) -> str | None:
        number = int(match[1]) - start
        return template.format(_FINE_TO_COARSE[number]) if 0 <= number < 4 else None

    return name


_HEAD = r"decode_head"
_BACKBONE = "backbone/"
RULES: dict[str, tuple[Rule, ...]] = {
    "transformers": (
        *within(mit_rules.TRANSFORMERS, "segformer.encoder.", _BACKBONE),
        Rule(rf"{_HEAD}\.linear_c\.(\d)\.proj", _level("project_{}"), "linear"),
        *_fuse(rf"{_HEAD}\.linear_fuse", LEVELS),
        Rule(rf"{_HEAD}\.batch_norm", "fuse_bn", "batch_norm"),
        Rule(rf"{_HEAD}\.classifier", "{head}scores", "conv"),
    ),
    "mmseg": (
        *within(mit_rules.MMSEG, "backbone.", _BACKBONE),
        Rule(rf"{_HEAD}\.convs\.(\d)\.conv", _level("project_{}"), "conv"),
        Rule(rf"{_HEAD}\.convs\.(\d)\.bn", _level("project_{}_bn"), "batch_norm"),
        *_fuse(rf"{_HEAD}\.fusion_conv\.conv", _FINE_TO_COARSE),
        Rule(rf"{_HEAD}\.fusion_conv\.bn", "fuse_bn", "batch_norm"),
        Rule(rf"{_HEAD}\.conv_seg", "{head}scores", "conv"),
    ),
    "authors": (
        *within(mit_rules.AUTHORS, "backbone.", _BACKBONE),
        Rule(rf"{_HEAD}\.linear_c(\d)\.proj", _level("project_{}", 1), "linear"),
        *_fuse(rf"{_HEAD}\.linear_fuse\.conv", LEVELS),
        Rule(rf"{_HEAD}\.linear_fuse\.bn", "fuse_bn", "batch_norm"),
        Rule(rf"{_HEAD}\.linear_pred", "{head}scores", "conv"),
        Rule(rf"{_HEAD}\.conv_seg\..*", None, "skip", "a layer that the network does not use"),
        Rule(r"backbone\.head\..*", None, "skip", "the classifier"),
    ),
}

_LICENSE = "NVIDIA Source Code License for SegFormer, for non-commercial use only"
_CITATION = (
    "Xie, Wang, Yu, Anandkumar, Alvarez, Luo, SegFormer: Simple and Efficient Design for Semantic "
    "Segmentation with Transformers, NeurIPS 2021"
)
_COMMON: dict[str, Any] = {
    "builder": network,
    "trusted": False,
    "rounded": True,
    "license": _LICENSE,
    "normalization": "RGB, mean and standard deviation of ImageNet, within the model",
    "grid": "image",
}
# Million weights of the whole network with 150 classes.
_MILLIONS = (3.8, 13.7, 27.5, 47.3, 64.1, 84.7)
# Mean IoU of the paper at a single scale, table 1: MiT-B0 to B5.
_SCORES = {
    "ade20k": (37.4, 42.2, 46.5, 49.4, 50.3, 51.0),
    "cityscapes": (76.2, 78.5, 81.0, 81.7, 82.3, 82.4),
}
# Score, and the name of MMSegmentation's file without ".pth".
_MMSEG = """
37.41 segformer_mit-b0_512x512_160k_ade20k_20210726_101530-8ffa8fda
40.97 segformer_mit-b1_512x512_160k_ade20k_20210726_112106-d70e859d
45.58 segformer_mit-b2_512x512_160k_ade20k_20210726_112103-cbd414ac
47.82 segformer_mit-b3_512x512_160k_ade20k_20210726_081410-962b98d2
48.46 segformer_mit-b4_512x512_160k_ade20k_20210728_183055-7f509d7d
49.62 segformer_mit-b5_640x640_160k_ade20k_20210801_121243-41d2845b
76.54 segformer_mit-b0_8x1_1024x1024_160k_cityscapes_20211208_101857-e7f88502
78.56 segformer_mit-b1_8x1_1024x1024_160k_cityscapes_20211208_064213-655c7b3f
81.08 segformer_mit-b2_8x1_1024x1024_160k_cityscapes_20211207_134205-6096669a
81.94 segformer_mit-b3_8x1_1024x1024_160k_cityscapes_20211206_224823-a8f8a177
81.89 segformer_mit-b4_8x1_1024x1024_160k_cityscapes_20211207_080709-07f6c333
82.25 segformer_mit-b5_8x1_1024x1024_160k_cityscapes_20211206_072934-87a052ec
"""


def _described(size: int, data: str, crop: int) -> dict[str, Any]:
    """The fields of a record that follow from the size of the network, and the data."""
    ade = data == "ade20k"
    classes: Classes = ADE20K if ade else CITYSCAPES
    whole = "whole images, 2048×1024"
    return {
        "classes": classes,
        "bytes": round(_MILLIONS[size] * 4e6),
        "data": f"{'ADE20K' if ade else 'Cityscapes'}, 160k steps, crops of {crop}×{crop}",
        "scored_on": f"{'ADE20K' if ade else 'Cityscapes'} val, single scale",
        "test_size": f"short side {crop}" if ade else whole,
    }


def _of_transformers(size: int, data: str) -> Record:
    crop = 1024 if data == "cityscapes" else 640 if size == 5 else 512
    name = f"{'cityscapes' if data == 'cityscapes' else 'ade'}-{crop}-{crop}"
    page = f"https://huggingface.co/nvidia/segformer-b{size}-finetuned-{name}"
    return Record(
        name=f"nvidia/segformer_b{size}_{data}",
        arguments={"backbone_name": f"mit_b{size}"},
        rules=RULES["transformers"],
        urls=(f"{page}/resolve/main/pytorch_model.bin",),
        file=f"segformer_b{size}_{data}.bin",
        scores={"mean IoU": _SCORES[data][size]},
        citation=_CITATION,
        page=page,
        **_described(size, data, crop),
        **_COMMON,
    )


def _of_mmseg(row: str) -> Record:
    score, stem = row.split()
    match = re.fullmatch(r"segformer_mit-b(\d)_(?:8x1_)?(\d+)x.*_160k_([a-z0-9]+)_.*", stem)
    if match is None:
        raise ValueError(f"The table must hold names of MMSegmentation's files. Received: {stem!r}")
    size, data = int(match[1]), match[3]
    training = re.sub(r"_\d{8}_\d{6}-[0-9a-f]{8}$", "", stem)
    return Record(
        name=f"mmseg/segformer_b{size}_{data}",
        arguments={"backbone_name": f"mit_b{size}", "normalize": True},
        rules=RULES["mmseg"],
        urls=(f"{ROOT}/segformer/{training}/{stem}.pth",),
        hash=stem[-8:],
        scores={"mean IoU": float(score)},
        citation=f"{_CITATION}; MMSegmentation contributors, 2020",
        page="https://github.com/open-mmlab/mmsegmentation",
        **_described(size, data, int(match[2])),
        **_COMMON,
    )


RECORDS = (
    *(_of_transformers(size, data) for data in _SCORES for size in range(6)),
    *(_of_mmseg(row) for row in _MMSEG.strip().splitlines()),
)

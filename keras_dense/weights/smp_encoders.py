"""The encoders of segmentation_models_pytorch that are known here, by their names there."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_dense import _check
from keras_dense._weights.rules import Rule
from keras_dense.backbones import mit_rules
from keras_dense.backbones import torchvision_rules as known
from keras_dense.weights import smp_timm
from keras_dense.weights.smp_encoder import UNUSED, Encoder
from keras_dense.weights.smp_timm import EFFICIENTNET, TIMM, letter


def _counts(depth: float) -> list[int]:
    """Blocks in the stages of an EfficientNet that is so many times as deep as B0."""
    return [math.ceil(depth * n) for n in (1, 2, 2, 3, 3, 4, 1)]


def _places(depth: float) -> list[tuple[int, int]]:
    """Stage and index of each block, in one row."""
    return [(s, i) for s, n in enumerate(_counts(depth), 1) for i in range(n)]


def _lukemelas(depth: float) -> tuple[Rule, ...]:
    """Rules of the EfficientNets of lukemelas, which number all blocks in one row."""
    places = _places(depth)

    def layer(part: str) -> Callable[[re.Match], str | None]:
        def name(match: re.Match) -> str | None:
            number = int(match[1])
            return letter(*places[number], part) if number < len(places) else None

        return name

    block = r"_blocks\.(\d+)\."
    return (
        Rule("_conv_stem", "stem_conv", "conv"),
        Rule("_bn0", "stem_bn", "batch_norm"),
        Rule(f"{block}_expand_conv", layer("expand_conv"), "conv"),
        Rule(f"{block}_bn0", layer("expand_bn"), "batch_norm"),
        Rule(f"{block}_depthwise_conv", layer("dwconv"), "depthwise"),
        Rule(f"{block}_bn1", layer("bn"), "batch_norm"),
        Rule(f"{block}_se_reduce", layer("se_reduce"), "conv"),
        Rule(f"{block}_se_expand", layer("se_expand"), "conv"),
        Rule(f"{block}_project_conv", layer("project_conv"), "conv"),
        Rule(f"{block}_bn2", layer("project_bn"), "batch_norm"),
        Rule(r"(_conv_head|_bn1)\..*", None, "skip", UNUSED),
    )


def _odd(size: int) -> list[str]:
    """Paddings on maps of odd size at the image size of an EfficientNet.

    Its padding is fixed there, and stays at others.
    """
    found = []
    for name in ("stem_conv", *(f"block{stage}a_dwconv" for stage in (2, 3, 4, 6))):
        if size % 2:
            found.append(f"{name}_pad")
        size = math.ceil(size / 2)
    return found


_RESNET_TAPS = ("relu", *(rf"layer{n}_\d+_relu" for n in range(1, 5)))
_BASIC, _WIDE = (64, 64, 128, 256, 512), (64, 256, 512, 1024, 2048)
_RESNETS = {
    "resnet18": ("resnet18", _BASIC),
    "resnet34": ("resnet34", _BASIC),
    "resnet50": ("resnet50_v1b", _WIDE),
    "resnet101": ("resnet101_v1b", _WIDE),
    "resnet152": ("resnet152_v1b", _WIDE),
    "resnext50_32x4d": ("resnext50_32x4d", _WIDE),
    "resnext101_32x8d": ("resnext101_32x8d", _WIDE),
}
_ONLY_TIMM = {
    "resnext101_64x4d": ("resnext101_64x4d", _WIDE),
    "wide_resnet50_2": ("wide_resnet50_2", _WIDE),
    "wide_resnet101_2": ("wide_resnet101_2", _WIDE),
}
_DENSENETS = {
    121: (64, 256, 512, 1024, 1024),
    161: (96, 384, 768, 2112, 2208),
    169: (64, 256, 512, 1280, 1664),
    201: (64, 256, 512, 1792, 1920),
}
# Depth beside B0, size of the image, widths of the features; numbers of the blocks that the
# encoders of lukemelas read, and the width of the first one, which those of timm read.
_EFFICIENTNETS = {
    0: (1.0, 224, (32, 24, 40, 112, 320), (2, 4, 8, 15), 16),
    1: (1.1, 240, (32, 24, 40, 112, 320), (4, 7, 15, 22), 16),
    2: (1.2, 260, (32, 24, 48, 120, 352), (4, 7, 15, 22), 16),
    3: (1.4, 300, (40, 32, 48, 136, 384), (4, 7, 17, 25), 24),
    4: (1.8, 380, (48, 32, 56, 160, 448), (5, 9, 21, 31), 24),
    5: (2.2, 456, (48, 40, 64, 176, 512), (7, 12, 26, 38), 24),
    6: (2.6, 528, (56, 40, 72, 200, 576), (8, 14, 30, 44), 32),
    7: (3.1, 600, (64, 48, 80, 224, 640), (10, 17, 37, 54), 32),
}


def _block_taps(blocks: Sequence[str]) -> tuple[str, ...]:
    return ("stem_activation", *(rf"{name}_(add|project_bn)" for name in blocks))


def _efficientnets() -> dict[str, Encoder]:
    found = {}
    stages = _block_taps([rf"block{stage}[a-z]" for stage in (2, 3, 5, 7)])
    first_stage = (r"block1[a-z]_(add|project_bn)", *stages[1:])
    for n, (depth, size, widths, read, first) in _EFFICIENTNETS.items():
        name = f"EfficientNetB{n}"
        found[f"timm-efficientnet-b{n}"] = Encoder(
            name, EFFICIENTNET, widths, stages, symmetric=True, epsilon=1e-5
        )
        found[f"tu-efficientnet_b{n}"] = Encoder(
            name,
            EFFICIENTNET,
            (first, *widths[1:]),
            first_stage,
            **TIMM,
            symmetric=True,
            epsilon=1e-5,
        )
        found[f"tu-tf_efficientnet_b{n}"] = Encoder(
            name, EFFICIENTNET, (first, *widths[1:]), first_stage, **TIMM, same=True
        )
        places = _places(depth)
        taps = _block_taps([letter(*places[k], "")[:-1] for k in read])
        # Dilated, they have other rates than strides ask for.
        found[f"efficientnet-b{n}"] = Encoder(
            name, _lukemelas(depth), widths, taps, strided_rate=None, odd=_odd(size)
        )
    return found


def _vggs() -> dict[str, Encoder]:
    taps = (*(rf"block{n}_conv\d(_relu)?" for n in range(2, 6)), "block5_pool")
    widths = (128, 256, 512, 512, 512)
    found = {}
    for n, blocks in ((16, (2, 2, 3, 3, 3)), (19, (2, 2, 4, 4, 4))):
        for norm, ours in ((False, f"VGG{n}"), (True, f"vgg{n}_bn")):
            rules = known.vgg(blocks, norm=norm)
            theirs = f"vgg{n}_bn" if norm else f"vgg{n}"
            found[theirs] = Encoder(ours, rules, widths, taps, strided_rate=None, center=True)
    return found


def _mits() -> dict[str, Encoder]:
    """Mix Transformers, which have no feature at stride 2."""
    taps = ("", *(f"stage{n}_norm" for n in range(1, 5)))
    found = {}
    for n in range(6):
        widths = (0, 32, 64, 160, 256) if n == 0 else (0, 64, 128, 320, 512)
        found[f"mit_b{n}"] = Encoder(
            f"mit_b{n}", mit_rules.AUTHORS, widths, taps, strided_rate=None
        )
    return found


def _encoders() -> dict[str, Encoder]:
    found = {
        name: Encoder(network, known.RESNET, widths, _RESNET_TAPS)
        for name, (network, widths) in _RESNETS.items()
    }
    found.update(_vggs())
    taps = ("conv1_relu", "pool2_relu", "pool3_relu", "pool4_relu", "bn")
    for n, widths in _DENSENETS.items():
        name = f"densenet{n}" if n == 161 else f"DenseNet{n}"
        found[f"densenet{n}"] = Encoder(name, known.DENSENET, widths, taps, strided_rate=None)
    found["mobilenet_v2"] = Encoder(
        "MobileNetV2",
        known.MOBILENET_V2,
        (16, 24, 32, 96, 1280),
        ("expanded_conv_project_BN", "block_2_add", "block_5_add", "block_12_add", "out_relu"),
        symmetric=True,
        epsilon=1e-5,
    )
    found.update(_efficientnets())
    found.update(_mits())
    for name, (network, widths) in {**_RESNETS, **_ONLY_TIMM}.items():
        found[f"tu-{name}"] = Encoder(network, known.RESNET, widths, _RESNET_TAPS, **TIMM)
    return {**found, **smp_timm.encoders()}


ENCODERS: Mapping[str, Encoder] = _encoders()


def encoder_of(name: Any) -> Encoder:
    """An encoder by its name in segmentation_models_pytorch.

    Args:
        name: str, the name; timm's may end in the tag of the weights it was trained from.

    Raises:
        ValueError: for one that is not known here; the message lists those that are.

    >>> encoder_of("resnet34").widths, encoder_of("tu-resnet34.a1_in1k").widths
    ((64, 64, 128, 256, 512), (64, 64, 128, 256, 512))
    """
    if isinstance(name, str) and name.startswith("tu-"):
        name = name.partition(".")[0]
    if name not in ENCODERS:
        raise _check.fail("encoder_name", f"one of {', '.join(ENCODERS)}", name)
    return ENCODERS[name]

"""The encoders of segmentation_models_pytorch that are known here, and how they are built.

Their features are not everywhere those of `kd.backbone`: a DenseNet is read behind its batch norms,
a MobileNetV2 behind its blocks.
"""

import dataclasses
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Nested
from keras_dense._weights.rules import Rule, within
from keras_dense.backbones import published
from keras_dense.backbones import torchvision_rules as known
from keras_dense.backbones.application import Preprocessing, family_of
from keras_dense.backbones.backbone import backbone
from keras_dense.backbones.network import channels_last
from keras_dense.backbones.torchvision import Network
from keras_dense.surgery import dilate
from keras_dense.surgery.graph import rebuild

_UNUSED = "layers behind the last feature that is read"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclasses.dataclass(frozen=True)
class Encoder:
    """An encoder.

    Attributes:
        network: str, our name.
        rules: from names of the file, without "encoder.", to layers.
        widths: channels of P1 to P5.
        taps: patterns of the names of the layers whose output P1 to P5 are; the last one counts.
        prefix: str, what its names begin with.
        symmetric: bool, whether strided windows must be padded alike on all sides.
        epsilon: of its batch norms, where Keras has another one.
        strided_rate: str, see `kd.surgery.dilate`; `None` where it cannot be dilated.
        odd: names of layers that pad a map of odd size.
        center: bool, whether a U-Net has two more convolutions on P5.
    """

    network: str
    rules: Sequence[Rule]
    widths: Sequence[int]
    taps: Sequence[str]
    prefix: str = "encoder."
    symmetric: bool = False
    epsilon: float | None = None
    strided_rate: str | None = "after"
    odd: Sequence[str] = ()
    center: bool = False

    def file_rules(self, depth: int) -> tuple[Rule, ...]:
        """Rules of the encoder within a network that reads P1 to P`depth`."""
        rules = within(self.rules, self.prefix, "backbone/")
        if depth < 5:
            rules = tuple(dataclasses.replace(rule, unless=_UNUSED) for rule in rules)
        return rules

    def backbone(
        self, depth: int, output_stride: int, channels: int, preprocessing: Preprocessing | None
    ) -> keras.Model:
        """The backbone with P1 to P`depth`, for images 0–255 with so many channels."""
        model = self._model(channels)
        taps = {
            f"P{n}": [x.name for x in model.layers if re.fullmatch(pattern, x.name)][-1]
            for n, pattern in enumerate(self.taps[:depth], 1)
        }
        found = backbone(model, channels=channels, taps=taps, preprocessing=preprocessing)
        if output_stride >= 2**depth or self.strided_rate is None:
            return found
        # Gates look at the whole map.
        return dilate(found, output_stride, mode="same", strided_rate=self.strided_rate)

    def _model(self, channels: int) -> keras.Model:
        """The network as PyTorch has it, without standardization."""
        name, family = family_of(self.network)
        shape: dict[str, Any] = {"include_top": False, "input_shape": (None, None, channels)}
        with warnings.catch_warnings():
            # Keras expects one or three channels, and for MobileNets a size.
            warnings.simplefilter("ignore", UserWarning)
            model = channels_last()(family.builder(name))(weights=None, **shape)
        variant = Network(self.rules, symmetric=self.symmetric, epsilon=self.epsilon)
        model = published.variant(published.without_preprocessing(model), variant)
        return _padded_as_odd(model, self.odd) if self.odd else model


def _padded_as_odd(model: keras.Model, names: Sequence[str]) -> keras.Model:
    """A network whose named paddings are alike on both sides."""

    def rewrite(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Nested | None:
        op = node.operation
        if not isinstance(op, layers.ZeroPadding2D) or op.name not in names:
            return None
        padding = tuple((max(sides), max(sides)) for sides in op.padding)
        return copies(op, *args, config={"padding": padding}, **kwargs)

    return rebuild(model, rewrite)


def _letter(stage: int, index: int, part: str) -> str:
    """A layer of a block in EfficientNet: its stages count from 1, their blocks from "a"."""
    return f"block{stage}{_LETTERS[index]}_{part}"


def _timm(part: str) -> Callable[[re.Match], str]:
    return lambda match: _letter(int(match[1]) + 1, int(match[2]), part)


_FIRST, _BLOCK = r"blocks\.(0)\.(\d+)", r"blocks\.([1-6])\.(\d+)"
# The first block does not expand.
_TIMM = (
    Rule("conv_stem", "stem_conv", "conv"),
    Rule("bn1", "stem_bn", "batch_norm"),
    Rule(rf"{_FIRST}\.conv_pw", _timm("project_conv"), "conv"),
    Rule(rf"{_FIRST}\.bn1", _timm("bn"), "batch_norm"),
    Rule(rf"{_FIRST}\.bn2", _timm("project_bn"), "batch_norm"),
    Rule(r"blocks\.(\d)\.(\d+)\.conv_dw", _timm("dwconv"), "depthwise"),
    Rule(r"blocks\.(\d)\.(\d+)\.se\.conv_reduce", _timm("se_reduce"), "conv"),
    Rule(r"blocks\.(\d)\.(\d+)\.se\.conv_expand", _timm("se_expand"), "conv"),
    Rule(rf"{_BLOCK}\.conv_pw", _timm("expand_conv"), "conv"),
    Rule(rf"{_BLOCK}\.bn1", _timm("expand_bn"), "batch_norm"),
    Rule(rf"{_BLOCK}\.bn2", _timm("bn"), "batch_norm"),
    Rule(rf"{_BLOCK}\.conv_pwl", _timm("project_conv"), "conv"),
    Rule(rf"{_BLOCK}\.bn3", _timm("project_bn"), "batch_norm"),
    Rule(r"(conv_head|bn2)\..*", None, "skip", _UNUSED),
)


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
            return _letter(*places[number], part) if number < len(places) else None

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
        Rule(r"(_conv_head|_bn1)\..*", None, "skip", _UNUSED),
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
    for n, (depth, size, widths, read, first) in _EFFICIENTNETS.items():
        name = f"EfficientNetB{n}"
        found[f"timm-efficientnet-b{n}"] = Encoder(
            name, _TIMM, widths, stages, symmetric=True, epsilon=1e-5
        )
        found[f"tu-efficientnet_b{n}"] = Encoder(
            name,
            _TIMM,
            (first, *widths[1:]),
            (r"block1[a-z]_(add|project_bn)", *stages[1:]),
            prefix="encoder.model.",
            symmetric=True,
            epsilon=1e-5,
            strided_rate="before",
        )
        places = _places(depth)
        taps = _block_taps([_letter(*places[k], "")[:-1] for k in read])
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
    # Those of timm keep the names, one module deeper, and dilate as exactness demands.
    for name, (network, widths) in {**_RESNETS, **_ONLY_TIMM}.items():
        found[f"tu-{name}"] = Encoder(
            network,
            known.RESNET,
            widths,
            _RESNET_TAPS,
            prefix="encoder.model.",
            strided_rate="before",
        )
    return found


ENCODERS: Mapping[str, Encoder] = _encoders()


def encoder_of(name: Any) -> Encoder:
    """An encoder by its name in segmentation_models_pytorch.

    Raises:
        ValueError: for one that is not known here; the message lists those that are.

    >>> encoder_of("resnet34").widths
    (64, 64, 128, 256, 512)
    """
    if name not in ENCODERS:
        raise _check.fail("encoder_name", f"one of {', '.join(ENCODERS)}", name)
    return ENCODERS[name]

"""Encoders of segmentation_models_pytorch that are built by timm, and the names of timm's layers.

timm counts stages and the blocks within them from 0. Here the blocks of EfficientNets are named
"block1a", "block1b", …, and those of MobileNets are counted in one row.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras_dense._weights.kinds import Kind
from keras_dense._weights.rules import Rule
from keras_dense.weights.smp_encoder import UNUSED, Encoder

Name = Callable[[re.Match], str | None]
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Networks of timm lie one module deeper, and dilate as exactness demands.
TIMM: dict[str, Any] = {"prefix": "encoder.model.", "strided_rate": "before"}
_SAME: dict[str, Any] = {"symmetric": True, "epsilon": 1e-5}
_HEAD = Rule(r"(conv_head|bn2|norm_head)\..*", None, "skip", UNUSED)


def letter(stage: int, index: int, part: str) -> str:
    """A layer of a block in EfficientNet: its stages count from 1, their blocks from "a"."""
    return f"block{stage}{_LETTERS[index]}_{part}"


def _by_letter(part: str) -> Name:
    return lambda match: letter(int(match[1]) + 1, int(match[2]), part)


def _in_row(counts: Sequence[int], template: str, first: str) -> Callable[[str], Name]:
    """Names of blocks that are counted in one row; the first one has a name of its own."""

    def part(name: str) -> Name:
        def layer(match: re.Match) -> str | None:
            stage, index = int(match[1]), int(match[2])
            if stage >= len(counts) or index >= counts[stage]:
                return None
            number = sum(counts[:stage]) + index
            return (template.format(number) if number else first) + name

        return layer

    return part


# A block as timm has it: in the first stage it does not expand.
_FIRST, _LATER, _ANY = r"blocks\.(0)\.(\d+)", r"blocks\.([1-6])\.(\d+)", r"blocks\.(\d)\.(\d+)"


def _blocks(part: Callable[[str], Name], **names: str) -> tuple[Rule, ...]:
    """Rules of inverted residual blocks, from our names of their parts."""
    return (
        Rule(rf"{_FIRST}\.conv_pw", part(names["project"]), "conv"),
        Rule(rf"{_FIRST}\.bn1", part(names["norm"]), "batch_norm"),
        Rule(rf"{_FIRST}\.bn2", part(names["project_norm"]), "batch_norm"),
        Rule(rf"{_ANY}\.conv_dw", part(names["depthwise"]), "depthwise"),
        Rule(rf"{_ANY}\.se\.conv_reduce", part(names.get("squeeze", "")), "conv"),
        Rule(rf"{_ANY}\.se\.conv_expand", part(names.get("excite", "")), "conv"),
        Rule(rf"{_LATER}\.conv_pw", part(names["expand"]), "conv"),
        Rule(rf"{_LATER}\.bn1", part(names["expand_norm"]), "batch_norm"),
        Rule(rf"{_LATER}\.bn2", part(names["norm"]), "batch_norm"),
        Rule(rf"{_LATER}\.conv_pwl", part(names["project"]), "conv"),
        Rule(rf"{_LATER}\.bn3", part(names["project_norm"]), "batch_norm"),
    )


def _stem(conv: str, norm: str) -> tuple[Rule, ...]:
    return Rule("conv_stem", conv, "conv"), Rule("bn1", norm, "batch_norm")


_EFFICIENT = {
    "expand": "expand_conv",
    "expand_norm": "expand_bn",
    "norm": "bn",
    "squeeze": "se_reduce",
    "excite": "se_expand",
    "project": "project_conv",
    "project_norm": "project_bn",
}
EFFICIENTNET = (
    *_stem("stem_conv", "stem_bn"),
    *_blocks(_by_letter, depthwise="dwconv", **_EFFICIENT),
    _HEAD,
)
# The first stage has plain convolutions, the next two expand by 3×3 ones.
_EDGE = r"blocks\.([12])\.(\d+)"
_EFFICIENTNET_V2 = (
    *_stem("stem_conv", "stem_bn"),
    Rule(rf"{_FIRST}\.conv", _by_letter("project_conv"), "conv"),
    Rule(rf"{_FIRST}\.bn1", _by_letter("project_bn"), "batch_norm"),
    Rule(rf"{_EDGE}\.conv_exp", _by_letter("expand_conv"), "conv"),
    Rule(rf"{_EDGE}\.bn2", _by_letter("project_bn"), "batch_norm"),
    Rule(rf"{_EDGE}\.conv_pwl", _by_letter("project_conv"), "conv"),
    *_blocks(_by_letter, depthwise="dwconv2", **_EFFICIENT),
    _HEAD,
)


def _mobilenet_v2() -> Encoder:
    part = _in_row((1, 2, 3, 4, 3, 3, 1), "block_{}", "expanded_conv")
    rules = (
        *_stem("Conv1", "bn_Conv1"),
        *_blocks(
            part,
            expand="_expand",
            expand_norm="_expand_BN",
            depthwise="_depthwise",
            norm="_depthwise_BN",
            project="_project",
            project_norm="_project_BN",
        ),
        _HEAD,
    )
    adds = (f"block_{n}_add" for n in (2, 5, 12))
    taps = ("expanded_conv_project_BN", *adds, "block_16_project_BN")
    return Encoder("MobileNetV2", rules, (16, 24, 32, 96, 320), taps, **TIMM, **_SAME)


def _mobilenet_v3(
    name: str, counts: Sequence[int], widths: Sequence[int], taps: Sequence[str], **form: Any
) -> Encoder:
    """A MobileNetV3, whose last stage is a convolution alone."""
    part = _in_row(counts, "expanded_conv_{}", "expanded_conv")
    last = rf"blocks\.{len(counts)}\.0"
    rules = (
        *_stem("conv", "conv_bn"),
        Rule(rf"{last}\.conv", "conv_1", "conv"),
        Rule(rf"{last}\.bn1", "conv_1_bn", "batch_norm"),
        *_blocks(
            part,
            expand="_expand",
            expand_norm="_expand_bn",
            depthwise="_depthwise",
            norm="_depthwise_bn",
            squeeze="_squeeze_excite_conv",
            excite="_squeeze_excite_conv_1",
            project="_project",
            project_norm="_project_bn",
        ),
        _HEAD,
    )
    # The activations behind the first and the last convolution are numbered anew in each session.
    named = {"first": r"^activation(_\d+)?", "last": r"activation(_\d+)?"}
    chosen = [named.get(tap, f"expanded_conv_{tap}") for tap in taps]
    return Encoder(name, rules, widths, chosen, **TIMM, **form)


def _mobilenets() -> dict[str, Encoder]:
    sizes = {
        "large": (
            "MobileNetV3Large",
            (1, 2, 3, 4, 2, 3),
            (16, 24, 40, 112, 960),
            ("add", "2_add", "5_add", "11_add", "last"),
        ),
        "small": (
            "MobileNetV3Small",
            (1, 2, 3, 2, 3),
            (16, 16, 24, 48, 576),
            ("first", "project_bn", "2_add", "7_add", "last"),
        ),
    }
    found = {"tu-mobilenetv2_100": _mobilenet_v2()}
    for size, network in sizes.items():
        found[f"tu-mobilenetv3_{size}_100"] = _mobilenet_v3(*network, **_SAME)
        for name in (f"tu-tf_mobilenetv3_{size}_100", f"timm-mobilenetv3_{size}_100"):
            found[name] = _mobilenet_v3(*network, same=True)
    return found


def _efficientnets_v2() -> dict[str, Encoder]:
    sizes = {
        "b0": (16, 32, 48, 112, 192),
        "b1": (16, 32, 48, 112, 192),
        "b2": (16, 32, 56, 120, 208),
        "b3": (16, 40, 56, 136, 232),
        "s": (24, 48, 64, 160, 256),
        "m": (24, 48, 80, 176, 512),
        "l": (32, 64, 96, 224, 640),
    }
    taps = [rf"block{stage}[a-z]_(add|project_bn)" for stage in ("2", "3", "5", "[67]")]
    taps = [r"block1[a-z]_(add|project_activation)", *taps]
    return {
        f"tu-tf_efficientnetv2_{size}": Encoder(
            f"EfficientNetV2{size.upper()}", _EFFICIENTNET_V2, widths, taps, **TIMM
        )
        for size, widths in sizes.items()
    }


_SCALE = Kind({"gamma": ("gamma",)}, {"gamma": lambda x, shape: x.reshape(-1)})


def _convnext(name: str) -> tuple[Rule, ...]:
    def block(part: str) -> str:
        return rf"{name}_stage_\1_block_\2_{part}"

    def downsampling(part: str) -> Name:
        return lambda match: f"{name}_downsampling_{part}_{int(match[1]) - 1}"

    theirs = r"stages_(\d)\.blocks\.(\d+)"
    return (
        Rule("stem_0", f"{name}_stem_conv", "conv"),
        Rule("stem_1", f"{name}_stem_layernorm", "layer_norm"),
        Rule(r"stages_(\d)\.downsample\.0", downsampling("layernorm"), "layer_norm"),
        Rule(r"stages_(\d)\.downsample\.1", downsampling("conv"), "conv"),
        Rule(rf"{theirs}\.conv_dw", block("depthwise_conv"), "conv"),
        Rule(rf"{theirs}\.norm", block("layernorm"), "layer_norm"),
        Rule(rf"{theirs}\.mlp\.fc1", block("pointwise_conv_1"), "linear"),
        Rule(rf"{theirs}\.mlp\.fc2", block("pointwise_conv_2"), "linear"),
        Rule(theirs, block("layer_scale"), _SCALE),
    )


def _convnexts() -> dict[str, Encoder]:
    found = {}
    for size, width in (
        ("tiny", 96),
        ("small", 96),
        ("base", 128),
        ("large", 192),
        ("xlarge", 256),
    ):
        name = f"convnext_{size}"
        found[f"tu-{name}"] = Encoder(
            f"ConvNeXt{size.title() if size != 'xlarge' else 'XLarge'}",
            _convnext(name),
            (0, *(width * 2**n for n in range(4))),
            ("", *(f"<{name}_downsampling_layernorm_{n}" for n in range(3)), "$"),
            prefix="encoder.model.",
            strided_rate=None,
            # Keras normalizes the last map.
            dropped=r"layer_normalization(_\d+)?",
        )
    return found


def encoders() -> Mapping[str, Encoder]:
    """The encoders by their names there, but for ResNets and EfficientNets of the first version."""
    return {**_mobilenets(), **_efficientnets_v2(), **_convnexts()}


# Weights of timm that expect other images than those standardized by ImageNet's colors: patterns of
# their names, mean and deviation of values from 0 to 1.
_OTHERS = {
    r"(tu-tf_|timm-)mobilenetv3.*|tu-tf_efficientnetv2_[sml](\..*)?|.*\.(ap_in1k|ra4_e3600.*)"
    r"|tu-tf_efficientnetv2_b3(\.in21k.*)?": (0.5, 0.5),
    r".*\.miil_in21k.*": (0.0, 1.0),
    r"tu-convnext_.*\.clip_.*": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
}


def colors_of(name: str) -> tuple[Any, Any] | None:
    """Mean and deviation that the weights of an encoder expect, of values from 0 to 1.

    Args:
        name: str, the encoder, with the tag of its weights if it has one.

    Returns:
        A pair; `None` for those of ImageNet.

    >>> colors_of("tu-resnet18.a1_in1k"), colors_of("tu-tf_efficientnetv2_s.in21k")
    (None, (0.5, 0.5))
    """
    return next((c for pattern, c in _OTHERS.items() if re.fullmatch(pattern, name)), None)

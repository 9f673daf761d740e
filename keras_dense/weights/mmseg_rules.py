r"""From the names of MMSegmentation's files to the layers of ours.

Its convolutions come with a batch norm as a `ConvModule`: "….conv" and "….bn". Maps are
concatenated in the order of ours, but for the pyramid of DeepLab, where the mean comes first.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from keras_dense._weights.kinds import Kind, blocks
from keras_dense._weights.rules import Rule, Template, within
from keras_dense.backbones.torchvision_rules import RESNET

_LEFT_OUT = "the auxiliary head, which only helps training"


def _module(pattern: str, layer: Template, kind: str | Kind = "conv") -> tuple[Rule, Rule]:
    """Rules of a convolution and its batch norm."""

    def norm(match: re.Match) -> str:
        return f"{match.expand(layer) if isinstance(layer, str) else layer(match)}_bn"

    return Rule(rf"{pattern}\.conv", layer, kind), Rule(rf"{pattern}\.bn", norm, "batch_norm")


def _separable(pattern: str, layer: Template) -> tuple[Rule, ...]:
    """Rules of a depthwise separable convolution with two batch norms."""

    def depthwise(match: re.Match) -> str:
        return f"{match.expand(layer) if isinstance(layer, str) else layer(match)}_depthwise"

    return (
        *_module(rf"{pattern}\.depthwise_conv", depthwise, "depthwise"),
        *_module(rf"{pattern}\.pointwise_conv", layer),
    )


def _named(template: str, names: Sequence[Any]) -> Callable[[re.Match], str | None]:
    """A layer that is named after the number in the first group."""

    def name(match: re.Match) -> str | None:
        number = int(match[1])
        return template.format(names[number]) if number < len(names) else None

    return name


def _counted(template: str) -> Callable[[re.Match], str]:
    """A layer whose last number counts from 1, not from 0."""
    return lambda match: template.format(*match.groups()[:-1], int(match.groups()[-1]) + 1)


_HEAD = r"decode_head"
_SCORES = (
    Rule(rf"{_HEAD}\.conv_seg", "{head}scores", "conv"),
    Rule(r"auxiliary_head\.convs\.0\.conv", "{auxiliary}convolution", "conv", _LEFT_OUT),
    Rule(r"auxiliary_head\.convs\.0\.bn", "{auxiliary}normalization", "batch_norm", _LEFT_OUT),
    Rule(r"auxiliary_head\.conv_seg", "{auxiliary}scores", "conv", _LEFT_OUT),
)
_POOLS = _module(rf"{_HEAD}\.psp_modules\.(\d)\.1", _named("pool{}_conv", (1, 2, 3, 6)))
_FINE_TO_COARSE = ("P2", "P3", "P4", "P5")

_FCN = (
    *_module(rf"{_HEAD}\.convs\.(\d)", _counted("head_{}")),
    *_module(rf"{_HEAD}\.conv_cat", "head_fuse"),
    *_SCORES,
)
_PSPNET = (*_POOLS, *_module(rf"{_HEAD}\.bottleneck", "fuse"), *_SCORES)
_ASPP = (
    *_module(rf"{_HEAD}\.image_pool\.1", "aspp_image"),
    *_module(rf"{_HEAD}\.aspp_modules\.0", "aspp_1x1"),
    # The mean, 1×1, and three rates; ours has the mean last.
    *_module(rf"{_HEAD}\.bottleneck", "aspp_project", blocks("conv", (1, 2, 3, 4, 0))),
)
_DEEPLABV3 = (
    *_ASPP,
    *_module(rf"{_HEAD}\.aspp_modules\.([123])", r"aspp_3x3_\1"),
    *_SCORES,
)
_DEEPLABV3PLUS = (
    *_ASPP,
    *_separable(rf"{_HEAD}\.aspp_modules\.([123])", r"aspp_3x3_\1"),
    *_module(rf"{_HEAD}\.c1_bottleneck", "low_level"),
    *_separable(rf"{_HEAD}\.sep_bottleneck\.(\d)", _counted("decoder_{}")),
    *_SCORES,
)
_UPERNET = (
    *_POOLS,
    *_module(rf"{_HEAD}\.bottleneck", "pyramid_fuse"),
    *_module(rf"{_HEAD}\.lateral_convs\.(\d)", _named("lateral_{}", _FINE_TO_COARSE)),
    *_module(rf"{_HEAD}\.fpn_convs\.(\d)", _named("fpn_{}", _FINE_TO_COARSE)),
    *_module(rf"{_HEAD}\.fpn_bottleneck", "fuse"),
    *_SCORES,
)


def _branch(match: re.Match) -> str | None:
    """Convolutions have even numbers: upsampling stands between them."""
    level, number = int(match[1]), int(match[2])
    known = level < len(_FINE_TO_COARSE) and number % 2 == 0
    return f"branch_{_FINE_TO_COARSE[level]}_{number // 2 + 1}" if known else None


_FPN = (
    Rule(r"neck\.lateral_convs\.(\d)\.conv", _named("lateral_{}", _FINE_TO_COARSE), "conv"),
    Rule(r"neck\.fpn_convs\.(\d)\.conv", _named("pyramid_{}", _FINE_TO_COARSE), "conv"),
    *_module(rf"{_HEAD}\.scale_heads\.(\d)\.(\d)", _branch),
    *_SCORES,
)


def _block(pattern: str, template: str) -> tuple[Rule, Rule]:
    """Rules of the two convolutions of a level of U-Net, each with a batch norm."""
    pattern = rf"{pattern}\.convs\.(\d)"
    return (
        Rule(rf"{pattern}\.conv", _counted(f"{template}_conv{{}}"), "conv"),
        Rule(rf"{pattern}\.bn", _counted(f"{template}_bn{{}}"), "batch_norm"),
    )


def _mobile(convolutions: Sequence[str]) -> Callable[[re.Match], str | None]:
    """The layer of a block of MobileNetV2, which is counted within its stage; ours through."""

    def name(match: re.Match) -> str | None:
        stage, number, convolution = (int(group) for group in match.groups())
        block = sum((1, 2, 3, 4, 3, 3, 1)[: stage - 1]) + number
        if convolution >= len(convolutions):
            return None
        prefix = f"block_{block}" if block else "expanded_conv"
        return f"{prefix}_{convolutions[convolution]}"

    return name


def _mobile_block(pattern: str, names: Sequence[str]) -> tuple[Rule, ...]:
    """Rules of the convolutions of a block, named in their order, and of their batch norms."""
    rules: list[Rule] = []
    norm = _mobile([f"{name}_BN" for name in names])
    for number, name in enumerate(names):
        one = rf"{pattern}\.conv\.({number})"
        kind = "depthwise" if name == "depthwise" else "conv"
        rules += [
            Rule(rf"{one}\.conv", _mobile(names), kind),
            Rule(rf"{one}\.bn", norm, "batch_norm"),
        ]
    return tuple(rules)


_MOBILENET = within(
    (
        Rule(r"conv1\.conv", "Conv1", "conv"),
        Rule(r"conv1\.bn", "bn_Conv1", "batch_norm"),
        # The first block does not expand.
        *_mobile_block(r"layer(1)\.(\d)", ("depthwise", "project")),
        *_mobile_block(r"layer([2-7])\.(\d)", ("expand", "depthwise", "project")),
    ),
    "backbone.",
    "backbone/",
)
_RESNET = within(RESNET, "backbone.", "backbone/")
_UNET = (
    # Pooling is number 0 of every level but the first.
    *_block(r"backbone\.encoder\.(\d)\.[01]", "backbone/down{}"),
    *_block(r"backbone\.decoder\.(\d)\.conv_block", "backbone/up{}"),
    *_module(r"backbone\.decoder\.(\d)\.upsample\.interp_upsample\.1", r"backbone/up\1_reduce"),
)
RULES: dict[str, tuple[Rule, ...]] = {
    "fcn": _RESNET + _FCN,
    "pspnet": _RESNET + _PSPNET,
    "deeplabv3": _RESNET + _DEEPLABV3,
    "deeplabv3plus": _RESNET + _DEEPLABV3PLUS,
    "upernet": _RESNET + _UPERNET,
    "fpn": _RESNET + _FPN,
    "mobilenet_v2_pspnet": _MOBILENET + _PSPNET,
    "mobilenet_v2_deeplabv3": _MOBILENET + _DEEPLABV3,
    "mobilenet_v2_deeplabv3plus": _MOBILENET + _DEEPLABV3PLUS,
    "unet_fcn": _UNET + _FCN,
    "unet_pspnet": _UNET + _PSPNET,
    "unet_deeplabv3": _UNET + _DEEPLABV3,
}

r"""From the names of torchvision's classifiers to the layers of ours.

The ResNets here carry torchvision's own names. The networks of keras.applications have the same
layers in the same order under other names. timm, SMP and MMSegmentation keep the names where they
keep the code.
"""

import dataclasses
import re
from collections.abc import Callable, Sequence

from keras_dense._types import Array, Shape
from keras_dense._weights.kinds import Kind, kind_of
from keras_dense._weights.rules import Rule

_TOP = "the top of the classifier"

Name = Callable[[re.Match], str]


def _template(template: str, less: int = 0) -> Name:
    """A name from the first group, a number, counted from `less` in the file and from 0 here."""
    return lambda match: template.format(int(match[1]) - less)


def _conv_norm(pattern: str, conv: str | Name, norm: str | Name, kind: str = "conv") -> tuple:
    """Rules of a convolution "0" and its batch norm "1"."""
    return Rule(rf"{pattern}\.0", conv, kind), Rule(rf"{pattern}\.1", norm, "batch_norm")


def _underscored(match: re.Match) -> str:
    return match[0].replace(".", "_")


RESNET = (
    Rule(r"(layer\d\.\d+\.)?conv\d|stem\.[036]|layer\d\.\d+\.downsample\.0", _underscored, "conv"),
    Rule(
        r"(layer\d\.\d+\.)?bn\d|stem\.[147]|layer\d\.\d+\.downsample\.1", _underscored, "batch_norm"
    ),
    Rule("fc", "predictions", "linear", _TOP),
)


def _flattened(x: Array, shape: Shape) -> Array:
    """A fully connected layer on a flattened map of 7×7: channels last instead of first."""
    return x.reshape(len(x), -1, 7, 7).transpose(2, 3, 1, 0).reshape(-1, len(x))


_LINEAR: Kind = kind_of("linear")
_FLATTENED = dataclasses.replace(_LINEAR, turns={**_LINEAR.turns, "kernel": _flattened})


def vgg(blocks: Sequence[int], norm: bool) -> tuple:
    """Rules for blocks of so many convolutions, each with a batch norm or not.

    The file numbers convolution, (batch norm,) ReLU, …, pooling in one row.
    """
    rules, number = [], 0
    for block, count in enumerate(blocks, 1):
        for conv in range(1, count + 1):
            name = f"block{block}_conv{conv}"
            rules.append(Rule(rf"features\.{number}", name, "conv"))
            if norm:
                rules.append(Rule(rf"features\.{number + 1}", f"{name}_bn", "batch_norm"))
            number += 3 if norm else 2
        number += 1
    return (
        *rules,
        Rule(r"classifier\.0", "fc1", _FLATTENED, _TOP),
        Rule(r"classifier\.3", "fc2", "linear", _TOP),
        Rule(r"classifier\.6", "predictions", "linear", _TOP),
    )


def _dense(template: str) -> Name:
    """Dense block 1 is stage 2 in Keras, after the stem's convolution."""
    return lambda match: template.format(int(match[1]) + 1, *match.groups()[1:])


_DENSE_LAYER = r"features\.denseblock(\d)\.denselayer(\d+)"
DENSENET = (
    Rule(r"features\.conv0", "conv1_conv", "conv"),
    Rule(r"features\.norm0", "conv1_bn", "batch_norm"),
    # The published files are older than the names without a dot.
    Rule(rf"{_DENSE_LAYER}\.norm\.?1", _dense("conv{}_block{}_0_bn"), "batch_norm"),
    Rule(rf"{_DENSE_LAYER}\.conv\.?1", _dense("conv{}_block{}_1_conv"), "conv"),
    Rule(rf"{_DENSE_LAYER}\.norm\.?2", _dense("conv{}_block{}_1_bn"), "batch_norm"),
    Rule(rf"{_DENSE_LAYER}\.conv\.?2", _dense("conv{}_block{}_2_conv"), "conv"),
    Rule(r"features\.transition(\d)\.norm", _dense("pool{}_bn"), "batch_norm"),
    Rule(r"features\.transition(\d)\.conv", _dense("pool{}_conv"), "conv"),
    Rule(r"features\.norm5", "bn", "batch_norm"),
    Rule("classifier", "predictions", "linear", _TOP),
)

_V2_BLOCK = r"features\.(\d+)\.conv"
MOBILENET_V2 = (
    *_conv_norm(r"features\.0", "Conv1", "bn_Conv1"),
    *_conv_norm(
        r"features\.1\.conv\.0",
        "expanded_conv_depthwise",
        "expanded_conv_depthwise_BN",
        "depthwise",
    ),
    Rule(r"features\.1\.conv\.1", "expanded_conv_project", "conv"),
    Rule(r"features\.1\.conv\.2", "expanded_conv_project_BN", "batch_norm"),
    *_conv_norm(
        rf"{_V2_BLOCK}\.0", _template("block_{}_expand", 1), _template("block_{}_expand_BN", 1)
    ),
    *_conv_norm(
        rf"{_V2_BLOCK}\.1",
        _template("block_{}_depthwise", 1),
        _template("block_{}_depthwise_BN", 1),
        "depthwise",
    ),
    Rule(rf"{_V2_BLOCK}\.2", _template("block_{}_project", 1), "conv"),
    Rule(rf"{_V2_BLOCK}\.3", _template("block_{}_project_BN", 1), "batch_norm"),
    *_conv_norm(r"features\.18", "Conv_1", "Conv_1_bn"),
    Rule(r"classifier\.1", "predictions", "linear", _TOP),
)


def _v3(part: str) -> Name:
    """The first block is "expanded_conv", the next one "expanded_conv_1"."""

    def name(match: re.Match) -> str:
        block = int(match[1]) - 1
        return f"expanded_conv_{block}_{part}" if block else f"expanded_conv_{part}"

    return name


# Segmentation networks of torchvision keep the features alone: "backbone.4.block.0.0".
_V3_BLOCK = r"(?:features\.)?(\d+)\.block"
MOBILENET_V3 = (
    *_conv_norm(r"(?:features\.)?0", "conv", "conv_bn"),
    # The first block does not expand: its depthwise convolution comes first.
    *_conv_norm(
        r"(?:features\.)?(1)\.block\.0", _v3("depthwise"), _v3("depthwise_bn"), "depthwise"
    ),
    *_conv_norm(r"(?:features\.)?(1)\.block\.[12]", _v3("project"), _v3("project_bn")),
    *_conv_norm(rf"{_V3_BLOCK}\.0", _v3("expand"), _v3("expand_bn")),
    *_conv_norm(rf"{_V3_BLOCK}\.1", _v3("depthwise"), _v3("depthwise_bn"), "depthwise"),
    Rule(rf"{_V3_BLOCK}\.[12]\.fc1", _v3("squeeze_excite_conv"), "conv"),
    Rule(rf"{_V3_BLOCK}\.[12]\.fc2", _v3("squeeze_excite_conv_1"), "conv"),
    *_conv_norm(rf"{_V3_BLOCK}\.[23]", _v3("project"), _v3("project_bn")),
    *_conv_norm(r"(?:features\.)?1[26]", "conv_1", "conv_1_bn"),
    Rule(r"classifier\.0", "conv_2", "linear_as_conv", _TOP),
    Rule(r"classifier\.3", "logits", "linear_as_conv", _TOP),
)


def _efficient(part: str) -> Name:
    """The blocks of a stage are counted "a", "b", …"""
    return lambda match: f"block{match[1]}{'abcdefghijklmnopqrstuvwxyz'[int(match[2])]}_{part}"


_EFFICIENT = r"features\.([2-7])\.(\d+)\.block"
_FIRST = r"features\.(1)\.(\d+)\.block"  # does not expand
EFFICIENTNET = (
    *_conv_norm(r"features\.0", "stem_conv", "stem_bn"),
    *_conv_norm(rf"{_FIRST}\.0", _efficient("dwconv"), _efficient("bn"), "depthwise"),
    *_conv_norm(rf"{_FIRST}\.2", _efficient("project_conv"), _efficient("project_bn")),
    *_conv_norm(rf"{_EFFICIENT}\.0", _efficient("expand_conv"), _efficient("expand_bn")),
    *_conv_norm(rf"{_EFFICIENT}\.1", _efficient("dwconv"), _efficient("bn"), "depthwise"),
    *_conv_norm(rf"{_EFFICIENT}\.3", _efficient("project_conv"), _efficient("project_bn")),
    Rule(r"features\.(\d)\.(\d+)\.block\.\d\.fc1", _efficient("se_reduce"), "conv"),
    Rule(r"features\.(\d)\.(\d+)\.block\.\d\.fc2", _efficient("se_expand"), "conv"),
    *_conv_norm(r"features\.8", "top_conv", "top_bn"),
    Rule(r"classifier\.1", "predictions", "linear", _TOP),
)

_SCALE = Kind({"gamma": ("layer_scale",)}, {"gamma": lambda x, shape: x.reshape(-1)})


def convnext(name: str) -> tuple:
    """Rules for a ConvNeXt of this name: stages have odd numbers, the layers between even ones."""

    def stage(part: str) -> Name:
        return lambda m: f"{name}_stage_{int(m[1]) // 2}_block_{m[2]}_{part}"

    def downsampling(part: str) -> Name:
        return lambda m: f"{name}_downsampling_{part}_{int(m[1]) // 2 - 1}"

    block = r"features\.([1357])\.(\d+)"
    return (
        Rule(r"features\.0\.0", f"{name}_stem_conv", "conv"),
        Rule(r"features\.0\.1", f"{name}_stem_layernorm", "layer_norm"),
        Rule(r"features\.([246])\.0", downsampling("layernorm"), "layer_norm"),
        Rule(r"features\.([246])\.1", downsampling("conv"), "conv"),
        Rule(rf"{block}\.block\.0", stage("depthwise_conv"), "conv"),
        Rule(rf"{block}\.block\.2", stage("layernorm"), "layer_norm"),
        Rule(rf"{block}\.block\.3", stage("pointwise_conv_1"), "linear"),
        Rule(rf"{block}\.block\.5", stage("pointwise_conv_2"), "linear"),
        Rule(block, stage("layer_scale"), _SCALE),
        Rule(r"classifier\.0", f"{name}_head_layernorm", "layer_norm", _TOP),
        Rule(r"classifier\.2", f"{name}_head_dense", "linear", _TOP),
    )

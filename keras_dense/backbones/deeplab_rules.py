r"""From the names of Google's DeepLab to the layers of ours.

The same network is published in several forms, whose names differ:

    checkpoint, graph   MobilenetV2/expanded_conv_3/expand/{weights, BatchNorm/gamma, …}
    LiteRT, quantized   …;MobilenetV2/expanded_conv_3/expand/{weights_quant/…, BatchNorm_Fold/bias}
    Keras, by bonlime   expanded_conv_3_expand/…/kernel, expanded_conv_3_expand_BN/…/gamma

In LiteRT's, batch norms are folded into the convolutions.
"""

import dataclasses
import re
from collections.abc import Callable

from keras_dense._weights.kinds import Kind, kind_of
from keras_dense._weights.rules import Rule

Name = str | Callable[[re.Match], str]
# Operations that were fused have the names of all of them: those of others come first.
_FUSED = r"(?:.*;)?"
# The quantized kernel is the output of an operation, not a variable.
QUANTIZED: Kind = dataclasses.replace(
    kind_of("ohwi"), parts={"kernel": ("FakeQuantWithMinMaxVars",)}
)
OTHERS = (
    Rule("global_step", None, "skip", "counters"),
    Rule(r".*/ExponentialMovingAverage", None, "skip", "moving averages of the training"),
    Rule(r".*_quant/(.*/)?(min|max|biased|local_step)", None, "skip", "ranges of quantization"),
    # Operations of a frozen graph: the image less the mean color, batch norms.
    Rule(r"\w+/(tensor|x|y)|.*/BatchNorm/Const(_\d+)?", None, "skip", "constants of the graph"),
)


def conv(
    theirs: str,
    of_keras: str,
    ours: Name,
    kind: str | Kind = "hwio",
    quantized: str | Kind = QUANTIZED,
) -> tuple[Rule, ...]:
    """Rules of a convolution in all forms.

    Args:
        theirs: pattern of its name in TensorFlow.
        of_keras: pattern of its name in the Keras model, with the same groups.
        ours: the layer.
        kind, quantized: how the kernel becomes ours, and that of LiteRT.
    """
    return (
        Rule(rf"{_FUSED}{theirs}", ours, kind),
        Rule(rf"{_FUSED}{theirs}/weights_quant", ours, quantized),
        Rule(rf"(?:.*/)?{of_keras}", ours, kind),
    )


def norm(theirs: str, of_keras: str, ours: Name) -> tuple[Rule, ...]:
    """Rules of the batch norm behind a convolution, which has these names, in all forms."""
    return (
        Rule(rf"{theirs}/BatchNorm", ours, "batch_norm"),
        Rule(rf"{_FUSED}{theirs}/BatchNorm_Fold", ours, "folded_norm"),
        Rule(rf"(?:.*/)?{of_keras}_BN", ours, "batch_norm"),
    )


def conv_norm(theirs: str, of_keras: str, ours: str, end: str = "_bn") -> tuple[Rule, ...]:
    """Rules of a convolution and the batch norm behind it, whose name has an `end`."""
    return conv(theirs, of_keras, ours) + norm(theirs, of_keras, f"{ours}{end}")


_PART = r"(expand|depthwise|project)"
MOBILENET_V2 = (
    *conv(r"MobilenetV2/Conv", "Conv", "Conv1"),
    *norm(r"MobilenetV2/Conv", "Conv", "bn_Conv1"),
    *conv_norm(
        rf"MobilenetV2/expanded_conv/{_PART}",
        rf"expanded_conv_{_PART}",
        r"expanded_conv_\1",
        "_BN",
    ),
    *conv_norm(
        rf"MobilenetV2/expanded_conv_(\d+)/{_PART}",
        rf"expanded_conv_(\d+)_{_PART}",
        r"block_\1_\2",
        "_BN",
    ),
)

_MODULE = r"(separable_conv\d_(?:depthwise|pointwise)|shortcut)"
XCEPTION65 = (
    *conv_norm(
        r"xception_65/entry_flow/conv1_(\d)", r"entry_flow_conv1_(\d)", r"entry_flow_conv1_\1"
    ),
    *conv_norm(
        rf"xception_65/(entry|exit)_flow/block(\d)/unit_1/xception_module/{_MODULE}",
        rf"(entry|exit)_flow_block(\d)_{_MODULE}",
        r"\1_flow_block\2_\3",
    ),
    *conv_norm(
        rf"xception_65/middle_flow/block1/unit_(\d+)/xception_module/{_MODULE}",
        rf"middle_flow_unit_(\d+)_{_MODULE}",
        r"middle_flow_unit\1_\2",
    ),
)
# The backbone alone, from a classifier of ImageNet or from a network of DeepLab.
XCEPTION65_ALONE = (
    *XCEPTION65,
    Rule(r"xception_65/logits/.*", None, "skip", "the top of the classifier"),
    Rule(
        r"(image_pooling|aspp\d\w*|concat_projection|decoder|logits)/.*",
        None,
        "skip",
        "the decoder and the scores",
    ),
    *OTHERS,
)

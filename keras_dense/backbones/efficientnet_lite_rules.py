r"""From the names that timm gives EfficientNet-Lite to the layers of ours."""

import re
from collections.abc import Callable, Sequence

from keras_dense._weights.rules import Rule

_TOP = "the top of the classifier"
# Names within a block, and ours. The first stage does not expand.
_PLAIN = {"conv_dw": "dwconv", "bn1": "bn", "conv_pw": "project_conv", "bn2": "project_bn"}
_EXPANDING = {
    "conv_pw": "expand_conv",
    "bn1": "expand_bn",
    "conv_dw": "dwconv",
    "bn2": "bn",
    "conv_pwl": "project_conv",
    "bn3": "project_bn",
}


def _part(stage: int, part: str) -> Callable[[re.Match], str]:
    """The blocks of a stage are counted "a", "b", …"""
    return lambda match: f"block{stage}{chr(ord('a') + int(match[1]))}_{part}"


def blocks(stages: Sequence[str]) -> tuple[Rule, ...]:
    r"""Rules of all blocks.

    Args:
        stages: patterns of the names of the seven stages.

    >>> rules = blocks([rf"blocks\.{n}" for n in range(7)])
    >>> match = rules[0].match("blocks.0.1.conv_dw")
    >>> rules[0].path(match, {})
    'block1b_dwconv'
    """
    rules = []
    for stage, pattern in enumerate(stages, 1):
        for theirs, ours in (_PLAIN if stage == 1 else _EXPANDING).items():
            kind = "batch_norm" if "bn" in theirs else "depthwise" if "dw" in theirs else "conv"
            rules.append(Rule(rf"{pattern}\.(\d+)\.{theirs}", _part(stage, ours), kind))
    return tuple(rules)


EFFICIENTNET_LITE = (
    Rule("conv_stem", "stem_conv", "conv"),
    Rule("bn1", "stem_bn", "batch_norm"),
    *blocks([rf"blocks\.{n}" for n in range(7)]),
    Rule("conv_head", "top_conv", "conv", _TOP),
    Rule("bn2", "top_bn", "batch_norm", _TOP),
    Rule("classifier", "predictions", "linear", _TOP),
)

r"""From the names of published Mix Transformers to the layers of `mit`.

Files of transformers have "patch_embeddings.0.proj", "block.0.1.attention.self.query"; those of
MMSegmentation "layers.0.0.projection", "layers.0.1.1.attn.attn.in_proj_weight", with queries, keys
and values in one tensor; the authors' own "patch_embed1.proj", "block1.1.attn.q", with keys and
values in one.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.kinds import Kind, kind_of, renamed
from keras_dense._weights.rules import Rule, within


def _layer(template: str) -> Callable[[re.Match], str]:
    """A layer named after a stage and a block, both counted from 0 in the file."""
    return lambda match: template.format(*(int(number) + 1 for number in match.groups()))


def _after(template: str) -> Callable[[re.Match], str]:
    """A layer named after a stage, counted from 1 in the file, and a block, counted from 0."""

    def name(match: re.Match) -> str:
        stage, *block = (int(number) for number in match.groups())
        return template.format(stage, *(number + 1 for number in block))

    return name


def _within(kind: str | Kind, part: str) -> Kind:
    """A kind for a layer within the layer of attention."""
    return renamed(kind, **{name: f"{part}/{name}" for name in kind_of(kind).parts})


def _stacked(names: Sequence[str], kernel: str, bias: str) -> Kind:
    """Linear layers whose kernels and biases lie one behind the other in two tensors."""
    parts: dict[str, Sequence[str]] = {
        f"{names[0]}/kernel": (kernel,),
        f"{names[0]}/bias": (bias,),
    }

    def convert(found: Mapping[str, Array]) -> dict[str, Array]:
        split = {}
        for name, value in found.items():
            weight = name.rpartition("/")[2]
            for layer, one in zip(names, np.split(value, len(names)), strict=True):
                split[f"{layer}/{weight}"] = one.T
        return split

    return Kind(parts, convert=convert)


def _rules(
    embed: str, block: str, norm: str, names: Mapping[str, str], layer: Callable
) -> list[Rule]:
    """The rules that the files share.

    Args:
        embed, block, norm: patterns of the modules of a stage.
        names: their names for the parts.
        layer: `_layer` or `_after`.
    """
    ours = "stage{}_block{}_"
    rules = [
        Rule(rf"{embed}\.{names['project']}", layer("stage{}_embed"), "conv"),
        Rule(rf"{embed}\.{names['norm']}", layer("stage{}_embed_norm"), "layer_norm"),
        Rule(norm, layer("stage{}_norm"), "layer_norm"),
    ]
    for theirs, part, kind in (
        ("norm1", "norm1", "layer_norm"),
        ("norm2", "norm2", "layer_norm"),
        ("mlp1", "mlp1", "linear"),
        ("mlp_conv", "mlp_conv", "depthwise"),
        ("mlp2", "mlp2", "linear"),
    ):
        rules.append(Rule(rf"{block}\.{names[theirs]}", layer(ours + part), kind))
    for theirs, part, kind in (
        ("output", "project", "linear"),
        ("reduce", "reduce", "conv"),
        ("reduce_norm", "norm", "layer_norm"),
        ("query", "query", "linear"),
        ("key", "key", "linear"),
        ("value", "value", "linear"),
    ):
        if theirs in names:
            rules.append(
                Rule(rf"{block}\.{names[theirs]}", layer(f"{ours}attention"), _within(kind, part))
            )
    return rules


_TRANSFORMERS = {
    "project": "proj",
    "norm": "layer_norm",
    "norm1": "layer_norm_1",
    "norm2": "layer_norm_2",
    "query": r"attention\.self\.query",
    "key": r"attention\.self\.key",
    "value": r"attention\.self\.value",
    "reduce": r"attention\.self\.sr",
    "reduce_norm": r"attention\.self\.layer_norm",
    "output": r"attention\.output\.dense",
    "mlp1": r"mlp\.dense1",
    "mlp_conv": r"mlp\.dwconv\.dwconv",
    "mlp2": r"mlp\.dense2",
}
_MMSEG = {
    "project": "projection",
    "norm": "norm",
    "norm1": "norm1",
    "norm2": "norm2",
    "reduce": r"attn\.sr",
    "reduce_norm": r"attn\.norm",
    "output": r"attn\.attn\.out_proj",
    "mlp1": r"ffn\.layers\.0",
    "mlp_conv": r"ffn\.layers\.1",
    "mlp2": r"ffn\.layers\.4",
}
_AUTHORS = {
    "project": "proj",
    "norm": "norm",
    "norm1": "norm1",
    "norm2": "norm2",
    "query": r"attn\.q",
    "reduce": r"attn\.sr",
    "reduce_norm": r"attn\.norm",
    "output": r"attn\.proj",
    "mlp1": r"mlp\.fc1",
    "mlp_conv": r"mlp\.dwconv\.dwconv",
    "mlp2": r"mlp\.fc2",
}

TRANSFORMERS = tuple(
    _rules(
        r"patch_embeddings\.(\d)", r"block\.(\d)\.(\d+)", r"layer_norm\.(\d)", _TRANSFORMERS, _layer
    )
)
MMSEG = (
    *_rules(r"layers\.(\d)\.0", r"layers\.(\d)\.1\.(\d+)", r"layers\.(\d)\.2", _MMSEG, _layer),
    Rule(
        r"layers\.(\d)\.1\.(\d+)\.attn\.attn",
        _layer("stage{}_block{}_attention"),
        _stacked(("query", "key", "value"), "in_proj_weight", "in_proj_bias"),
    ),
)
AUTHORS = (
    *_rules(r"patch_embed(\d)", r"block(\d)\.(\d+)", r"norm(\d)", _AUTHORS, _after),
    Rule(
        r"block(\d)\.(\d+)\.attn\.kv",
        _after("stage{}_block{}_attention"),
        _stacked(("key", "value"), "weight", "bias"),
    ),
)
# A backbone alone, from the file of an encoder, a classifier or a whole network. The encoders of
# segmentation_models_pytorch have the names of the authors.
ENCODER = (
    *AUTHORS,
    *within(TRANSFORMERS, "segformer.encoder.", ""),
    *TRANSFORMERS,
    *MMSEG,
    Rule("head|classifier", "predictions", "linear", "the top of the classifier"),
    Rule(r"decode_head\..*", None, "skip", "the decoder"),
)

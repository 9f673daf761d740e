"""LoRA: fine-tuning of a transformer by few weights beside those of its attention."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_dense import _check
from keras_dense.layers.hub_block import HubBlock, parts_of
from keras_dense.surgery.graph import rebuild
from keras_dense.training.batch_norm import sublayers
from keras_dense.training.blocks import numbered

# Attributes of attention layers, of Keras and of KerasHub, by the projection that they hold.
_PROJECTIONS = {
    "query": ("_query_dense", "query_dense", "query", "qkv"),
    "key": ("_key_dense", "key_dense", "key", "qkv"),
    "value": ("_value_dense", "value_dense", "value", "qkv"),
    "output": ("_output_dense", "output_dense", "project", "projection"),
}
_KINDS = (keras.layers.Dense, keras.layers.EinsumDense)


def enable_lora(
    model: keras.Model,
    rank: int,
    *,
    alpha: float | None = None,
    targets: Sequence[str] = ("query", "value"),
) -> int:
    """Train a transformer by LoRA: a product of two thin matrices beside projections of attention.

    Everything that leads to the last block is frozen but for these matrices (and the biases beside
    them); what follows, normalization, decoder and heads, is trained in full. The model computes
    the same at first. A `.keras` file holds kernels with the matrices added. From it, blocks of
    KerasHub are loaded with fresh matrices, to be trained on, others frozen and without LoRA.
    `merge_lora` returns a model without. Call this before `compile`.

    Args:
        model: a Keras model with a vision transformer in it, from `kd.backbone`; changed in place.
        rank: int ≥ 1, the width of the matrices; 4 to 16 are usual.
        alpha: float > 0, the product is scaled by `alpha / rank`; default: the rank.
        targets: the projections: "query", "key", "value", "output". Where one layer makes query,
            key and value together, it counts as each of these.

    Returns:
        The number of layers that have LoRA now.

    Raises:
        ValueError: for an argument out of range, a model without transformer blocks, or one that
            has LoRA already.

    Reference: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.

    Example:

    >>> import keras_dense as kd
    >>> import keras_hub
    >>> vit = keras_hub.models.ViTBackbone((32, 32, 3), 16, 2, 1, 8, 8)
    >>> model = kd.backbone(vit)
    >>> enable_lora(model, 4)
    4
    """
    rank = _check.integer(rank, "rank", low=1)
    alpha = None if alpha is None else _check.number(alpha, "alpha", above=0)
    wanted = [_check.choice(target, "targets", tuple(_PROJECTIONS)) for target in targets]
    layers = sublayers(model)
    inside = [layers[name] for name in numbered(model)]
    chosen = list({id(x): x for layer in inside for x in _projections(layer, wanted)}.values())
    if not chosen:
        raise ValueError(
            "`model` must have transformer blocks with attention, as `kd.backbone` makes them. "
            f"Received: {model.name!r} without"
        )
    if any(layer.lora_enabled for layer in chosen):
        raise ValueError(f"`model` must not have LoRA yet. Received: {model.name!r}, which has it")
    for layer in inside:
        if isinstance(layer, HubBlock):  # it is trained, but for what is inside
            layer.layer.trainable = False
        else:
            layer.trainable = False
    for layer in chosen:
        layer.trainable = True
        layer.enable_lora(rank, lora_alpha=alpha)
    return len(chosen)


def merge_lora(model: keras.Model) -> keras.Model:
    """A copy of a model without LoRA: the matrices are added to the kernels.

    It computes the same by fewer operations. Export this one.

    Args:
        model: functional `keras.Model` whose transformer has LoRA.

    Returns:
        A new `keras.Model`.

    Raises:
        TypeError: for a model whose graph cannot be read.

    Example:

    >>> import keras_dense as kd
    >>> import keras_hub
    >>> model = kd.backbone(keras_hub.models.ViTBackbone((32, 32, 3), 16, 2, 1, 8, 8))
    >>> plain = model.count_params()
    >>> lora = enable_lora(model, 4)
    >>> merge_lora(model).count_params() == plain < model.count_params()
    True
    """

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if not isinstance(op, keras.layers.Layer):
            return None
        inside = (op, *parts_of(op).values())
        layers = [x for x in inside if getattr(x, "lora_enabled", False)]
        if not layers:
            return None
        merged = {id(x._kernel): x.kernel for x in layers}
        left_out = {id(v) for x in layers for v in (x.lora_kernel_a, x.lora_kernel_b)}
        weights: list[Any] = [
            keras.ops.convert_to_numpy(merged.get(id(v), v))
            for v in op.weights
            if id(v) not in left_out
        ]
        config: dict[str, Any] = {}
        if isinstance(op, HubBlock):
            config = {"lora": {}, "frozen": []}
        elif isinstance(op, _KINDS):
            config = {"lora_rank": None, "lora_alpha": None}
        return copies(op, *args, config=config, weights=weights, **kwargs)

    return rebuild(model, rewrite)


def _projections(layer, wanted):
    """The projections of all attention inside a layer."""
    for part in (layer, *parts_of(layer).values()):
        for target in wanted:
            for name in _PROJECTIONS[target]:
                found = getattr(part, name, None)
                if isinstance(found, _KINDS):
                    yield found

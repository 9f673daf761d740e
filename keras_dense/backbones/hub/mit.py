"""KerasHub's Mix Transformers, for images of any size.

KerasHub's blocks take the square root of the number of cells for height and width, and cannot be
made from their own configuration. The network is built again with layers of this package.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_dense.backbones.application import standardized
from keras_dense.backbones.hub.moving import by_stride, layers_of, move, precision_of
from keras_dense.backbones.mit import MiT, gelu_tanh, mit
from keras_dense.surgery.feature_pyramid import image_of, named_layers, resized

_EMBED, _BLOCK = "OverlappingPatchingAndEmbedding", "HierarchicalTransformerEncoder"


def _sizes(model: keras.Model) -> MiT:
    first = layers_of(model, _BLOCK)[0]
    embeds = layers_of(model, _EMBED)
    return MiT(
        widths=tuple(model.hidden_dims),
        depths=tuple(model.layerwise_depths),
        heads=tuple(model.layerwise_num_heads),
        ratios=tuple(model.layerwise_sr_ratios),
        patches=tuple(embed.patch_size for embed in embeds),
        strides=tuple(embed.stride for embed in embeds),
        mlp_ratio=first.mlp.fc1.units / first.project_dim,
        drop_path=model.max_drop_path_rate,
        attention_dropout=first.attn.dropout.rate,
        dropout=first.attn.proj_drop.rate,
        epsilon=first.norm1.epsilon,
        stage_epsilon=layers_of(model, "LayerNormalization")[0].epsilon,
        activation=gelu_tanh,
    )


def _pairs(ours: keras.Model, model: keras.Model) -> Iterator[tuple]:
    """Our layers, each with the one of KerasHub whose weights it gets."""
    blocks = iter(layers_of(model, _BLOCK))
    parts = zip(layers_of(model, _EMBED), layers_of(model, "LayerNormalization"), strict=True)
    for stage, (embed, norm) in enumerate(parts, 1):
        name = f"stage{stage}"
        yield ours.get_layer(f"{name}_embed"), embed.proj
        yield ours.get_layer(f"{name}_embed_norm"), embed.norm
        yield ours.get_layer(f"{name}_norm"), norm
        for n in range(1, model.layerwise_depths[stage - 1] + 1):
            yield from _block_pairs(ours, f"{name}_block{n}", next(blocks))


def _block_pairs(ours, name, block):
    attention, theirs = ours.get_layer(f"{name}_attention"), block.attn
    yield from (
        (ours.get_layer(f"{name}_norm1"), block.norm1),
        (attention.query, theirs.q),
        (attention.key, theirs.k),
        (attention.value, theirs.v),
        (attention.project, theirs.proj),
        (ours.get_layer(f"{name}_norm2"), block.norm2),
        (ours.get_layer(f"{name}_mlp1"), block.mlp.fc1),
        (ours.get_layer(f"{name}_mlp_conv"), block.mlp.dwconv),
        (ours.get_layer(f"{name}_mlp2"), block.mlp.fc2),
    )
    if theirs.sr_ratio > 1:
        yield from ((attention.reduce, theirs.sr), (attention.norm, theirs.norm))


def build(
    model: keras.Model, *, taps: Any, preprocessing: Any, name: str, argument: str
) -> keras.Model:
    """A `MiTBackbone` as a network from images of any size to features, with copied weights."""
    image = resized(image_of(model))
    with precision_of(layers_of(model, _BLOCK)[0]):
        maps = mit(standardized(image, preprocessing), _sizes(model))
    ours = keras.Model(image, by_stride(image, maps), name=name)
    move(_pairs(ours, model))
    return ours if taps is None else keras.Model(image, named_layers(ours, taps), name=name)

"""KerasHub's Swin Transformers, for images of any size.

KerasHub's blocks keep the size that the network was built for. The network is built again with
layers of this package. Where windows do not divide a map, it is padded before the windows are
shifted, as in the authors' code; KerasHub pads after the shift.
"""

from collections.abc import Iterator
from typing import Any

import keras

from keras_dense import _check
from keras_dense.backbones.application import standardized
from keras_dense.backbones.hub.moving import by_stride, layers_of, move, precision_of
from keras_dense.backbones.swin import Swin, swin
from keras_dense.surgery.feature_pyramid import image_of, named_layers, resized

_STAGE = "SwinTransformerStage"


def _sizes(model: keras.Model) -> Swin:
    return Swin(
        width=model.embed_dim,
        depths=tuple(model.depths),
        heads=tuple(model.num_heads),
        window=model.window_size,
        patch=model.patch_size,
        mlp_ratio=model.mlp_ratio,
        use_bias=model.qkv_bias,
        patch_norm=model.patch_norm,
        drop_path=model.drop_path,
        attention_dropout=model.attention_dropout,
        dropout=model.dropout_rate,
    )


def _pairs(ours: keras.Model, model: keras.Model) -> Iterator[tuple]:
    """Our layers, each with the one of KerasHub whose weights it gets."""
    (embed,) = layers_of(model, "PatchEmbedding")
    yield ours.get_layer("embed"), embed.proj
    if embed.norm is not None:
        yield ours.get_layer("embed_norm"), embed.norm
    for s, stage in enumerate(layers_of(model, _STAGE), 1):
        for n, block in enumerate(stage.blocks, 1):
            yield from _block_pairs(ours, f"stage{s}_block{n}", block)
        if stage.downsample is not None:
            yield ours.get_layer(f"stage{s + 1}_merge_norm"), stage.downsample.norm
            yield ours.get_layer(f"stage{s + 1}_merge_reduce"), stage.downsample.reduction
    yield ours.get_layer("norm"), layers_of(model, "LayerNormalization")[-1]


def _block_pairs(ours, name, block):
    attention = ours.get_layer(f"{name}_attention")
    yield from (
        (ours.get_layer(f"{name}_norm1"), block.norm1),
        (attention.mix, block.attn.qkv),
        (attention.project, block.attn.proj),
        (ours.get_layer(f"{name}_norm2"), block.norm2),
        (ours.get_layer(f"{name}_mlp1"), block.mlp.fc1),
        (ours.get_layer(f"{name}_mlp2"), block.mlp.fc2),
    )


def _move_tables(ours: keras.Model, model: keras.Model) -> None:
    for s, stage in enumerate(layers_of(model, _STAGE), 1):
        for n, block in enumerate(stage.blocks, 1):
            attention = ours.get_layer(f"stage{s}_block{n}_attention")
            attention.table.assign(block.attn.relative_position_bias_table)
            if not block.attn.trainable:
                attention.trainable = False


def build(
    model: keras.Model, *, taps: Any, preprocessing: Any, name: str, argument: str
) -> keras.Model:
    """A `SwinTransformerBackbone` as a network from images of any size to features.

    The maps of the stages, before patches are merged, with copied weights. Only the last one is
    normalized, as in KerasHub.
    """
    if model.data_format == "channels_first":
        wanted = "a network of channels_last images; build it with data_format='channels_last'"
        raise _check.fail(argument, wanted, model.name)
    image = resized(image_of(model))
    with precision_of(layers_of(model, _STAGE)[0]):
        maps = swin(standardized(image, preprocessing), _sizes(model))
    ours = keras.Model(image, by_stride(image, maps), name=name)
    move(_pairs(ours, model))
    _move_tables(ours, model)
    return ours if taps is None else keras.Model(image, named_layers(ours, taps), name=name)

"""DeiT: "Training data-efficient image transformers", Touvron et al., ICML 2021."""

from typing import Any

import keras

from keras_dense.backbones.hub.plain import (
    Plain,
    array,
    assembled,
    block_of,
    dropout_of,
    tokens_of,
)


def build(model: Any, *, argument: str, **settings: Any) -> keras.Model:
    """The backbone of a `DeiTBackbone`. Its taps are not normalized, as in DPT."""
    embedding = model.get_layer("deit_patching_and_embedding")
    encoder = model.get_layer("deit_encoder")
    tokens = tokens_of(
        embedding,
        embedding.patch_embedding,
        positions=array(embedding.position_embedding)[0],
        grid=tuple(n // p for n, p in zip(embedding.image_size, embedding.patch_size, strict=True)),
        prefix=[array(embedding.class_token), array(embedding.distillation_token)],
    )
    width = tokens.units
    blocks = [block_of(x, i, width) for i, x in enumerate(encoder.encoder_layers, start=1)]
    return assembled(Plain(tokens, blocks, after=dropout_of(embedding.dropout)), **settings)

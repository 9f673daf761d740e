"""ViT: "An Image is Worth 16x16 Words", Dosovitskiy et al., ICLR 2021 (arXiv 2010.11929)."""

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
    """The backbone of a `ViTBackbone`. Its taps are not normalized, as in DPT."""
    embedding = model.get_layer("vit_patching_and_embedding")
    encoder = model.get_layer("vit_encoder")
    grid = tuple(n // p for n, p in zip(embedding.image_size, embedding.patch_size, strict=True))
    tokens = tokens_of(
        embedding,
        embedding.patch_embedding,
        positions=array(embedding.position_embedding.embeddings),
        grid=grid,
        prefix=[array(embedding.class_token)] if embedding.use_class_token else [],
    )
    width = tokens.units
    blocks = [block_of(x, i, width) for i, x in enumerate(encoder.encoder_layers, start=1)]
    plain = Plain(tokens, blocks, after=dropout_of(encoder.dropout))
    return assembled(plain, **settings)

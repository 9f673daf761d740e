"""SigLIP: "Sigmoid Loss for Language Image Pre-Training", Zhai et al., ICCV 2023."""

from typing import Any

import keras

from keras_dense.backbones.hub.plain import Plain, array, assembled, block_of, tokens_of


def build(model: Any, *, argument: str, **settings: Any) -> keras.Model:
    """The backbone of a `SigLIPVisionEncoder`. Its taps are not normalized."""
    embedding = model.embedding
    side = embedding.image_size // embedding.patch_size
    tokens = tokens_of(
        embedding,
        embedding.patch_embedding,
        positions=array(embedding.position_embedding.embeddings),
        grid=(side, side),
    )
    width = tokens.units
    blocks = [block_of(x, i, width) for i, x in enumerate(model.encoder_layers, start=1)]
    return assembled(Plain(tokens, blocks), **settings)

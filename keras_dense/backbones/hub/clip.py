"""CLIP: "Learning Transferable Visual Models From Natural Language Supervision", 2021."""

from typing import Any

import keras

from keras_dense.backbones.hub.plain import Plain, array, assembled, block_of, copied, tokens_of


def build(model: Any, *, argument: str, **settings: Any) -> keras.Model:
    """The backbone of a `CLIPVisionEncoder`. Its taps are not normalized."""
    embedding = model.embedding
    side = embedding.image_size // embedding.patch_size
    # A new network of KerasHub 0.32 has the first position everywhere; files have their own.
    order = keras.ops.convert_to_numpy(embedding.position_ids)[0].astype("int64")
    tokens = tokens_of(
        embedding,
        embedding.patch_embedding,
        positions=array(embedding.position_embedding.embeddings)[order],
        grid=(side, side),
        prefix=[array(embedding.class_embedding)],
    )
    width = tokens.units
    blocks = [block_of(x, i, width) for i, x in enumerate(model.encoder_layers, start=1)]
    after = [copied(model.pre_layer_norm, width, "pre_norm")]
    return assembled(Plain(tokens, blocks, after=after), **settings)

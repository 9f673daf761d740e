"""DINOv2: "Learning Robust Visual Features without Supervision", Oquab et al., TMLR 2024."""

from typing import Any

import keras
import numpy as np

from keras_dense.backbones.hub.plain import (
    Plain,
    array,
    assembled,
    block_of,
    copied,
    dropout_of,
    tokens_of,
)


def build(model: Any, *, argument: str, **settings: Any) -> keras.Model:
    """The backbone of a `DINOV2Backbone`.

    Every tap passes the last normalization, as in the authors' dense predictors
    (`get_intermediate_layers(norm=True)`).
    """
    embedding = model.embeddings
    positions, size = _positions(embedding)
    prefix = [array(embedding.cls_token)]
    if embedding.num_register_tokens:
        prefix.append(array(embedding.register_tokens))
    tokens = tokens_of(
        embedding,
        embedding.patch_embeddings.projection,
        positions=positions,
        grid=tuple(n // embedding.patch_size for n in size),
        prefix=prefix,
        antialias=embedding.antialias_in_interpolation,
    )
    width = tokens.units
    blocks = [block_of(x, i, width) for i, x in enumerate(model.encoder.layers, start=1)]
    norm = copied(model.layernorm, width, "norm")
    plain = Plain(tokens, blocks, after=dropout_of(embedding.dropout), norm=norm)
    return assembled(plain, **settings)


def _positions(embedding):
    """The positions that are interpolated, and the size of the images that they belong to.

    KerasHub keeps two: those of the pretraining, and those of the image size, interpolated once and
    trained from there. Once trained, these are what the network learned.
    """
    stored = array(embedding.position_embeddings)
    used = array(embedding.interpolated_position_embeddings)
    fresh = embedding._interpolate_position_embeddings(
        embedding.position_embeddings,
        patch_size=embedding.patch_size,
        source_shape=embedding.position_embedding_shape,
        target_shape=embedding.image_shape,
        antialias=embedding.antialias_in_interpolation,
    )
    if np.allclose(used, array(fresh), atol=1e-6):
        return stored[0], embedding.position_embedding_shape
    return used[0], embedding.image_shape

"""DINOv3: Siméoni et al., 2025 (arXiv 2508.10104)."""

import functools
from typing import Any

import keras

from keras_dense.backbones.hub.plain import Plain, array, assembled, copied, tokens_of
from keras_dense.layers.hub_block import RotaryHubBlock
from keras_dense.layers.rotary import RotaryPositions


def build(model: Any, *, argument: str, **settings: Any) -> keras.Model:
    """The backbone of a `DINOV3Backbone`.

    Every tap passes the last normalization, as in the authors' dense predictors
    (`get_intermediate_layers(norm=True)`).
    """
    embedding, rope = model.embeddings, model.rope_embedding
    prefix = [array(embedding.cls_token)]
    if embedding.num_register_tokens:
        prefix.append(array(embedding.register_tokens))
    tokens = tokens_of(embedding, embedding.patch_embeddings.projection, prefix=prefix)
    positions = RotaryPositions(
        rope.head_dim,
        rope.patch_size,
        period=rope.rope_theta,
        dtype=rope.dtype_policy,
        name="positions",
    )
    angles_of = functools.cache(positions)  # the same for all blocks
    blocks = [_block(x, i, tokens, angles_of) for i, x in enumerate(model.encoder.layers, start=1)]
    norm = copied(model.layernorm, tokens.units, "norm")
    return assembled(Plain(tokens, blocks, norm=norm), **settings)


def _block(layer, number, tokens, angles_of):
    shape, name = (None, None, tokens.units), f"block_{number}"
    block = RotaryHubBlock.of(layer, shape, name=name, prefix=tokens.prefix)
    return lambda x, image: block(x, *angles_of(image))

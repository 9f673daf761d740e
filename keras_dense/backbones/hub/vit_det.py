"""ViTDet, the image encoder of Segment Anything: Li et al., ECCV 2022 (arXiv 2203.16527)."""

from typing import Any

import keras

from keras_dense.backbones.hub.plain import Plain, array, assembled, tokens_of
from keras_dense.layers import Standardize
from keras_dense.layers.vit_det_block import ViTDetBlock

# What KerasHub's network does with images 0–1 itself.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build(model: Any, *, argument: str, **settings: Any) -> keras.Model:
    """The backbone of a `ViTDetBackbone`, without its neck. Its taps are not normalized.

    As KerasHub's network it takes images 0–1 and standardizes them itself.
    """
    found: dict[str, list] = {}
    for layer in model.layers:
        found.setdefault(type(layer).__name__, []).append(layer)
    (embedding,) = found["ViTDetPatchingAndEmbedding"]
    positions, grid = None, None
    if model.use_abs_pos:
        positions = array(found["AddPositionalEmbedding"][0].pos_embed)[0]
        grid = positions.shape[:2]
        positions = positions.reshape(-1, positions.shape[-1])
    tokens = tokens_of(embedding, embedding.projection, positions=positions, grid=grid)
    blocks = [
        _block(x, i, tokens) for i, x in enumerate(found["WindowedTransformerEncoder"], start=1)
    ]
    standardize = Standardize(
        _MEAN, _STD, dtype=embedding.dtype_policy, name="standardize_as_trained"
    )
    return assembled(Plain(tokens, blocks, before=[standardize]), **settings)


def _block(layer, number, tokens):
    shape, name = (None, None, tokens.units), f"block_{number}"
    return ViTDetBlock.of(layer, shape, name=name, patch=tokens.patch)

"""Swin Transformers.

Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo, "Swin Transformer: Hierarchical Vision Transformer using
Shifted Windows", ICCV 2021.
"""

from dataclasses import dataclass

import numpy as np
from keras import layers

from keras_dense._types import Tensor
from keras_dense.backbones.mit import add_path
from keras_dense.layers import MergePatches, PadToMultiple, WindowAttention

EPSILON = 1e-5


@dataclass(frozen=True)
class Swin:
    """The numbers of a Swin Transformer; a tuple has one for each stage.

    Attributes:
        width: channels of the first stage; each stage doubles them.
        depths: blocks.
        heads: attention heads.
        window: cells along the side of a window.
        patch: pixels along the side of a patch.
        mlp_ratio: hidden channels of a feed-forward part, in multiples of the width.
        use_bias: whether queries, keys and values have a bias.
        patch_norm: whether a layer norm follows the first convolution.
        drop_path: rate at which the last block is left out in training; it grows from 0.
        attention_dropout, dropout: dropout rates of the attention, and of all other results.
    """

    width: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7
    patch: int = 4
    mlp_ratio: float = 4
    use_bias: bool = True
    patch_norm: bool = True
    drop_path: float = 0.1
    attention_dropout: float = 0.0
    dropout: float = 0.0


def _norm(x: Tensor, name: str) -> Tensor:
    return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


def _drop(x: Tensor, rate: float, name: str) -> Tensor:
    return layers.Dropout(rate, name=name)(x) if rate else x


def _block(x: Tensor, sizes: Swin, stage: int, n: int, drop_path: float) -> Tensor:
    """Attention in windows, which every second block shifts, and a feed-forward part."""
    name, width = f"stage{stage + 1}_block{n + 1}", sizes.width * 2**stage
    y = WindowAttention(
        sizes.heads[stage],
        sizes.window,
        shift=sizes.window // 2 * (n % 2),
        use_bias=sizes.use_bias,
        attention_dropout=sizes.attention_dropout,
        dropout=sizes.dropout,
        name=f"{name}_attention",
    )(_norm(x, f"{name}_norm1"))
    x = add_path(x, y, drop_path, f"{name}_add1")
    y = layers.Dense(int(width * sizes.mlp_ratio), name=f"{name}_mlp1")(_norm(x, f"{name}_norm2"))
    y = layers.Activation("gelu", name=f"{name}_mlp_gelu")(y)
    y = _drop(y, sizes.dropout, f"{name}_mlp_dropout1")
    y = layers.Dense(width, name=f"{name}_mlp2")(y)
    y = _drop(y, sizes.dropout, f"{name}_mlp_dropout2")
    return add_path(x, y, drop_path, f"{name}_add2")


def _embed(image: Tensor, sizes: Swin) -> Tensor:
    """A convolution of each patch; an image that patches do not divide goes on with zeros."""
    x = PadToMultiple(sizes.patch, color=0.0, name="embed_pad")(image)
    x = layers.Conv2D(
        sizes.width, sizes.patch, sizes.patch, name="embed", data_format="channels_last"
    )(x)
    x = _norm(x, "embed_norm") if sizes.patch_norm else x
    return _drop(x, sizes.dropout, "embed_dropout")


def _merge(x: Tensor, width: int, name: str) -> Tensor:
    """A linear function of each 2×2 cells; an odd map goes on with zeros."""
    x = _norm(MergePatches(2, name=name)(x), f"{name}_norm")
    return layers.Dense(width, use_bias=False, name=f"{name}_reduce")(x)


def swin(image: Tensor, sizes: Swin) -> list[Tensor]:
    """The maps after all stages of a Swin Transformer, finest first; the last one is normalized."""
    rates = [float(rate) for rate in np.linspace(0, sizes.drop_path, sum(sizes.depths))]
    x, maps, rest = _embed(image, sizes), [], iter(rates)
    for stage, depth in enumerate(sizes.depths):
        if stage:
            x = _merge(x, sizes.width * 2**stage, f"stage{stage + 1}_merge")
        for n in range(depth):
            x = _block(x, sizes, stage, n, next(rest))
        maps.append(x)
    return [*maps[:-1], _norm(x, "norm")]

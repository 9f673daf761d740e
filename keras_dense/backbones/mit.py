"""Mix Transformers, the encoders of SegFormer.

Xie, Wang, Yu, Anandkumar, Alvarez, Luo, "SegFormer: Simple and Efficient Design for Semantic
Segmentation with Transformers", NeurIPS 2021.
"""

from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from keras_dense._types import Tensor
from keras_dense.backbones.builder import Builder, builder
from keras_dense.layers import SpatialReductionAttention


@keras.saving.register_keras_serializable("keras_dense")
def gelu_tanh(x: Tensor) -> Tensor:
    """GELU as KerasHub computes it in its Mix Transformers, by a hyperbolic tangent.

    >>> round(float(gelu_tanh(np.array(1.0, "float32"))), 3)
    0.841
    """
    return keras.activations.gelu(x, approximate=True)


@dataclass(frozen=True)
class MiT:
    """The numbers of a Mix Transformer; a tuple has one for each stage.

    Attributes:
        widths: channels.
        depths: blocks.
        heads: attention heads.
        ratios: strides of the convolution before keys and values.
        patches: kernel sizes of the convolutions between the stages.
        strides: their strides.
        mlp_ratio: hidden channels of a feed-forward part, in multiples of the width.
        drop_path: rate at which the last block is left out in training; it grows from 0.
        attention_dropout, dropout: dropout rates of the attention and of its result.
        epsilon: of the layer norms in the blocks.
        stage_epsilon: of the layer norm after a stage.
        activation: of the feed-forward parts.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...] = (1, 2, 5, 8)
    ratios: tuple[int, ...] = (8, 4, 2, 1)
    patches: tuple[int, ...] = (7, 3, 3, 3)
    strides: tuple[int, ...] = (4, 2, 2, 2)
    mlp_ratio: float = 4
    drop_path: float = 0.1
    attention_dropout: float = 0.0
    dropout: float = 0.0
    epsilon: float = 1e-6
    stage_epsilon: float = 1e-6
    activation: object = "gelu"


def embed(x: Tensor, width: int, patch: int, stride: int, name: str) -> Tensor:
    """Overlapping patches: a strided convolution with a layer norm; maps have ceil sizes."""
    x = layers.ZeroPadding2D(patch // 2, name=f"{name}_pad", data_format="channels_last")(x)
    x = layers.Conv2D(width, patch, stride, name=name, data_format="channels_last")(x)
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


def add_path(x: Tensor, y: Tensor, rate: float, name: str) -> Tensor:
    """The sum of a map and a branch, which training leaves out for some images."""
    if rate:
        y = layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=name)([x, y])


def _block(x: Tensor, sizes: MiT, stage: int, drop_path: float, name: str) -> Tensor:
    """Attention to a smaller version of the map, and a feed-forward part with a convolution."""
    width = sizes.widths[stage]
    y = layers.LayerNormalization(epsilon=sizes.epsilon, name=f"{name}_norm1")(x)
    y = SpatialReductionAttention(
        sizes.heads[stage],
        sizes.ratios[stage],
        attention_dropout=sizes.attention_dropout,
        dropout=sizes.dropout,
        name=f"{name}_attention",
    )(y)
    x = add_path(x, y, drop_path, f"{name}_add1")
    y = layers.LayerNormalization(epsilon=sizes.epsilon, name=f"{name}_norm2")(x)
    y = layers.Dense(int(width * sizes.mlp_ratio), name=f"{name}_mlp1")(y)
    y = layers.DepthwiseConv2D(
        3, padding="same", name=f"{name}_mlp_conv", data_format="channels_last"
    )(y)
    y = layers.Activation(sizes.activation, name=f"{name}_mlp_gelu")(y)
    y = layers.Dense(width, name=f"{name}_mlp2")(y)
    return add_path(x, y, drop_path, f"{name}_add2")


def mit(image: Tensor, sizes: MiT) -> list[Tensor]:
    """The maps after all stages of a Mix Transformer, finest first."""
    rates = [float(rate) for rate in np.linspace(0, sizes.drop_path, sum(sizes.depths))]
    x, maps, rest = image, [], iter(rates)
    for stage, depth in enumerate(sizes.depths):
        name = f"stage{stage + 1}"
        numbers = (sizes.widths[stage], sizes.patches[stage], sizes.strides[stage])
        x = embed(x, *numbers, f"{name}_embed")
        for n in range(depth):
            x = _block(x, sizes, stage, next(rest), f"{name}_block{n + 1}")
        x = layers.LayerNormalization(epsilon=sizes.stage_epsilon, name=f"{name}_norm")(x)
        maps.append(x)
    return maps


def _network(network: str, sizes: MiT, millions: float) -> Builder:
    """A row of the table: the function that builds `network`."""
    return builder(
        network,
        lambda image: mit(image, sizes)[-1],
        sizes.widths[-1],
        f"""MiT-{network[-2:].upper()}, the encoder of SegFormer: {millions} million \
weights without top.

    Images are expected as RGB, standardized with the mean and deviation of ImageNet:
    `kd.backbone("{network}")` standardizes them, and reads published weights.""",
        reference="Xie et al., NeurIPS 2021, table 6.",
    )


_WIDE = (64, 128, 320, 512)

# Xie et al., table 6 and table 1(a).
mit_b0 = _network("mit_b0", MiT((32, 64, 160, 256), (2, 2, 2, 2)), 3.3)
mit_b1 = _network("mit_b1", MiT(_WIDE, (2, 2, 2, 2)), 13.2)
mit_b2 = _network("mit_b2", MiT(_WIDE, (3, 4, 6, 3)), 24.2)
mit_b3 = _network("mit_b3", MiT(_WIDE, (3, 4, 18, 3)), 44.1)
mit_b4 = _network("mit_b4", MiT(_WIDE, (3, 8, 27, 3)), 60.8)
mit_b5 = _network("mit_b5", MiT(_WIDE, (3, 6, 40, 3)), 81.4)

"""Attention between the cells of a map, as hierarchical vision transformers have it."""

from typing import Any

import keras
from keras import layers, ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.window_attention import (
    apart,
    attend,
    join_heads,
    join_windows,
    merge_patches,
    pad_to_windows,
    partition,
    relative_positions,
    shift_of,
    split_heads,
    turn,
    windows_of,
)


class _MapAttention(keras.layers.Layer):
    """The settings that both kinds of attention share."""

    def __init__(
        self, heads: int, *, attention_dropout: float, dropout: float, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.heads = _check.integer(heads, "heads", low=1)
        self.attention_dropout = _check.number(attention_dropout, "attention_dropout", 0, below=1)
        self.dropout = _check.number(dropout, "dropout", 0, below=1)
        self.input_spec = layers.InputSpec(ndim=4)

    def _check_channels(self, input_shape: Shape) -> int:
        channels = input_shape[-1]
        if channels is None or channels % self.heads:
            raise ValueError(
                f"The channels must be a multiple of heads={self.heads}. Received: a map of "
                f"{channels} channels"
            )
        return channels

    def _dense(self, units: int, name: str, **settings: Any) -> layers.Dense:
        return layers.Dense(units, dtype=self.dtype_policy, name=name, **settings)

    def _dropouts(self) -> None:
        self.drop_weights = layers.Dropout(self.attention_dropout, dtype=self.dtype_policy)
        self.drop_result = layers.Dropout(self.dropout, dtype=self.dtype_policy)

    def _attend(self, queries, keys, values, bias, training):
        drops = bool(self.attention_dropout and training)
        drop = (lambda x: self.drop_weights(x, training=True)) if drops else None
        return attend(queries, keys, values, bias, drop=drop)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return tuple(input_shape)

    def get_config(self) -> Config:
        config = {
            "heads": self.heads,
            "attention_dropout": self.attention_dropout,
            "dropout": self.dropout,
        }
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class SpatialReductionAttention(_MapAttention):
    """Attention from every cell of a map to all cells of a smaller version of it.

    `(B, H, W, C)` → `(B, H, W, C)`; H and W may be unknown. Keys and values are made from the map
    after a convolution whose stride is the ratio, and layer norm.

    Args:
        heads: int ≥ 1, attention heads; they divide the channels.
        ratio: int ≥ 1, stride and kernel size of the convolution; 1 for none.
        epsilon: float > 0, of the layer norm.
        attention_dropout: float from 0 to below 1, dropout rate of the weights of the sum.
        dropout: float from 0 to below 1, dropout rate of the result.

    Raises:
        ValueError: if the channels are no multiple of the heads, an argument is out of range, or
            the map is smaller than the ratio.

    Reference: Wang et al., "Pyramid Vision Transformer", ICCV 2021, section 3.3; Xie et al.,
    "SegFormer", NeurIPS 2021, section 3.1.

    >>> import numpy as np
    >>> tuple(SpatialReductionAttention(2, 4)(np.zeros((1, 9, 13, 8))).shape)
    (1, 9, 13, 8)
    """

    def __init__(
        self,
        heads: int,
        ratio: int = 1,
        *,
        epsilon: float = 1e-5,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(heads, attention_dropout=attention_dropout, dropout=dropout, **kwargs)
        self.ratio = _check.integer(ratio, "ratio", low=1)
        self.epsilon = _check.number(epsilon, "epsilon", above=0)

    def build(self, input_shape: Shape) -> None:
        channels, policy = self._check_channels(input_shape), self.dtype_policy
        one = (None, None, None, channels)
        if self.ratio > 1:
            self.reduce = layers.Conv2D(
                channels,
                self.ratio,
                self.ratio,
                dtype=policy,
                name="reduce",
                data_format="channels_last",
            )
            self.norm = layers.LayerNormalization(epsilon=self.epsilon, dtype=policy, name="norm")
            self.reduce.build(one)
            self.norm.build(one)
        for name in ("query", "key", "value", "project"):
            layer = self._dense(channels, name)
            setattr(self, name, layer)
            layer.build(one)
        self._dropouts()
        super().build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        height, width = ops.shape(inputs)[1:3]
        seen, fewer = inputs, height * width
        if self.ratio > 1:
            self._check_size(height, width)
            seen = self.norm(self.reduce(inputs))
            fewer = (height // self.ratio) * (width // self.ratio)
        queries = split_heads(self.query(inputs), self.heads, (height * width,))
        keys = split_heads(self.key(seen), self.heads, (fewer,))
        values = split_heads(self.value(seen), self.heads, (fewer,))
        x = join_heads(self._attend(queries, keys, values, None, training), (height, width))
        return self.drop_result(self.project(x), training=training)

    def _check_size(self, *sizes):
        if any(isinstance(n, int) and n < self.ratio for n in sizes):
            raise ValueError(
                f"The map must have at least {self.ratio}×{self.ratio} cells, for they are joined "
                f"by attention with ratio={self.ratio}. Enlarge the image. Received: a map of "
                f"{'×'.join(map(str, sizes))} cells"
            )

    def get_config(self) -> Config:
        return {**super().get_config(), "ratio": self.ratio, "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("keras_dense")
class WindowAttention(_MapAttention):
    """Attention within windows of a map, with a bias for each relative position.

    `(B, H, W, C)` → `(B, H, W, C)`; H and W may be unknown. The map is padded to whole windows
    with zeros at the bottom and the right, which count as cells, as in the authors' code. Shifted
    windows wrap around; cells that were no neighbors before do not see each other. On a map no
    higher or no wider than a window, windows are not shifted.

    Args:
        heads: int ≥ 1, attention heads; they divide the channels.
        window: int ≥ 1, cells along the side of a window.
        shift: int from 0 to below `window`, cells by which windows are shifted.
        use_bias: bool, whether queries, keys and values have a bias.
        attention_dropout: float from 0 to below 1, dropout rate of the weights of the sum.
        dropout: float from 0 to below 1, dropout rate of the result.

    Raises:
        ValueError: if the channels are no multiple of the heads, or an argument is out of range.

    Reference: Liu et al., "Swin Transformer", ICCV 2021, section 3.2.

    >>> import numpy as np
    >>> tuple(WindowAttention(2, 4, shift=2)(np.zeros((1, 9, 13, 8))).shape)
    (1, 9, 13, 8)
    """

    def __init__(
        self,
        heads: int,
        window: int,
        *,
        shift: int = 0,
        use_bias: bool = True,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(heads, attention_dropout=attention_dropout, dropout=dropout, **kwargs)
        self.window = _check.integer(window, "window", low=1)
        self.shift = _check.integer(shift, "shift", low=0, high=self.window - 1)
        self.use_bias = _check.flag(use_bias, "use_bias")

    def build(self, input_shape: Shape) -> None:
        channels = self._check_channels(input_shape)
        self.mix = self._dense(3 * channels, "mix", use_bias=self.use_bias)
        self.project = self._dense(channels, "project")
        for layer in (self.mix, self.project):
            layer.build((None, None, None, channels))
        self._dropouts()
        self.table = self.add_weight(
            ((2 * self.window - 1) ** 2, self.heads),
            initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            name="table",
        )
        super().build(input_shape)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        height, width = ops.shape(inputs)[1:3]
        shift = shift_of(self.window, self.shift, height, width)
        counts = [windows_of(n, self.window) for n in (height, width)]
        cells = (counts[0] * counts[1], self.window**2)
        x = turn(pad_to_windows(inputs, self.window), shift)
        parts = ops.split(self.mix(partition(x, self.window, *counts)), 3, axis=-1)
        queries, keys, values = (split_heads(part, self.heads, cells) for part in parts)
        bias = self._bias(shift, *counts)
        x = join_heads(self._attend(queries, keys, values, bias, training), cells)
        x = self.drop_result(self.project(x), training=training)
        x = turn(join_windows(x, self.window, *counts), -shift)
        return x[:, :height, :width]

    def _bias(self, shift, rows, columns):
        """A bias for every pair of cells of a window, `(heads, T, T)`, or `(n, heads, T, T)`."""
        index = relative_positions(self.window)
        bias = ops.take(ops.convert_to_tensor(self.table), index.reshape(-1), axis=0)
        bias = ops.transpose(ops.reshape(bias, (*index.shape, self.heads)), (2, 0, 1))
        if isinstance(shift, int) and not shift:
            return bias
        mask = ops.cast(apart(self.window, shift, rows, columns), bias.dtype)
        return bias[None] + mask[:, None]

    def get_config(self) -> Config:
        config = {"window": self.window, "shift": self.shift, "use_bias": self.use_bias}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class MergePatches(RearrangingLayer):
    """Concatenate the cells of every patch: `(B, H, W, C)` → `(B, H / f, W / f, f² C)`.

    H and W may be unknown; a map that the factor does not divide goes on with zeros. The cells of a
    patch follow each other column by column, as in Swin. Channels last.

    Args:
        factor: int ≥ 1, cells along the side of a patch.

    Raises:
        ValueError: if the factor is below 1.

    Reference: Liu et al., "Swin Transformer", ICCV 2021, section 3.1.

    >>> import numpy as np
    >>> y = MergePatches(2)(np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1))
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [1.0, 3.0, 2.0, 4.0]
    """

    def __init__(self, factor: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = _check.integer(factor, "factor", low=1)
        self.input_spec = layers.InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, channels = input_shape
        cells = (None if n is None else -(-n // self.factor) for n in sizes)
        return (batch, *cells, channels * self.factor**2)

    def call(self, inputs: Tensor) -> Tensor:
        return merge_patches(inputs, self.factor)

    def get_config(self) -> Config:
        return {**super().get_config(), "factor": self.factor}

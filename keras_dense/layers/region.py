"""Layers over a list of cells instead of a map, with the weights of the layers for maps.

A list is a batch of images of one pixel, `(N, 1, 1, C)`. So layers that look at each pixel alone
need no change. Layers that look at neighbors find them in a table, see `keras_dense.ops.region`.
"""

from typing import Any

import keras
from keras import layers, ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.ops.region import (
    pool_rows,
    region_conv,
    region_depthwise_conv,
    region_max,
    region_mean,
)


def _list(x: Tensor) -> Tensor:
    return ops.reshape(x, (-1, x.shape[-1]))


def _map(x: Tensor) -> Tensor:
    return ops.expand_dims(ops.expand_dims(x, 1), 1)


class _Window(layers.Layer):
    """Mixin before a convolution of Keras, called with a list and, if needed, a table."""

    def compute_output_shape(self, inputs_shape, table_shape=None):
        return (inputs_shape[0], 1, 1, self._channels(inputs_shape[-1]))

    def call(self, inputs: Tensor, table: Tensor | None = None) -> Tensor:
        outputs = _map(self.convolve(_list(inputs), table))
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable("keras_dense")
class RegionConv2D(_Window, layers.Conv2D):
    """`keras.layers.Conv2D` over the cells of a list."""

    def _channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, x: Tensor, table: Tensor | None) -> Tensor:
        return region_conv(x, table, self.kernel)


@keras.saving.register_keras_serializable("keras_dense")
class RegionDepthwiseConv2D(_Window, layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` over the cells of a list."""

    def _channels(self, channels: int) -> int:
        return self.depth_multiplier * channels

    def convolve(self, x: Tensor, table: Tensor | None) -> Tensor:
        return region_depthwise_conv(x, table, self.kernel)


@keras.saving.register_keras_serializable("keras_dense")
class RegionSeparableConv2D(_Window, layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` over the cells of a list."""

    def _channels(self, channels: int) -> int:
        return self.filters

    def convolve(self, x: Tensor, table: Tensor | None) -> Tensor:
        x = region_depthwise_conv(x, table, self.depthwise_kernel)
        return region_conv(x, None, self.pointwise_kernel)


@keras.saving.register_keras_serializable("keras_dense")
class RegionPooling2D(layers.Layer):
    """Max or average pooling of windows around the cells of a list.

    Args:
        mode: "max" or "mean".
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = _check.choice(mode, "mode", ("max", "mean"))

    def build(self, inputs_shape, table_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, table_shape):
        return tuple(inputs_shape)

    def call(self, inputs: Tensor, table: Tensor) -> Tensor:
        pool = region_max if self.mode == "max" else region_mean
        return _map(pool(_list(inputs), table))

    def get_config(self) -> Config:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class PoolRows(layers.Layer):
    """Global pooling of each group of cells in a list, to one cell per group.

    Call it with the list, the group of each of its cells `(N,)`, and any tensor with one row per
    group.

    Args:
        mode: "max" or "mean".
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = _check.choice(mode, "mode", ("max", "mean"))

    def build(self, inputs_shape, group_shape=None, groups_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, group_shape, groups_shape):
        return (groups_shape[0], *inputs_shape[1:])

    def call(self, inputs: Tensor, group: Tensor, groups: Tensor) -> Tensor:
        return _map(pool_rows(_list(inputs), group, ops.shape(groups)[0], self.mode))

    def get_config(self) -> Config:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class TakeRows(layers.Layer):
    """Take the row of its group for each cell of a list: the inverse of `PoolRows` in size."""

    def build(self, inputs_shape, group_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, group_shape):
        return (group_shape[0], *inputs_shape[1:])

    def call(self, inputs: Tensor, group: Tensor) -> Tensor:
        return ops.take(inputs, group, axis=0)

"""Windows over a list of cells instead of a map, with the weights of the layers for maps.

A list is a batch of images of one pixel, `(N, 1, 1, C)`: whatever looks at each pixel alone takes
it as it is. What looks at neighbors finds them in a table, see `keras_dense.ops.region`.
"""

import keras
from keras import layers, ops

from keras_dense.ops.region import (
    pool_rows,
    region_conv,
    region_depthwise_conv,
    region_max,
    region_mean,
)


def _list(x):
    return ops.reshape(x, (-1, x.shape[-1]))


def _map(x):
    return ops.expand_dims(ops.expand_dims(x, 1), 1)


class _Window:
    """A convolution called with a list of cells and, where its kernel has several, a table."""

    def compute_output_shape(self, inputs_shape, table_shape=None):
        return (inputs_shape[0], 1, 1, self._channels(inputs_shape[-1]))

    def call(self, inputs, table=None):
        outputs = _map(self.convolve(_list(inputs), table))
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)


@keras.saving.register_keras_serializable("keras_dense")
class RegionConv2D(_Window, layers.Conv2D):
    """`keras.layers.Conv2D` at the cells of a list."""

    def _channels(self, channels):
        return self.filters

    def convolve(self, x, table):
        return region_conv(x, table, self.kernel)


@keras.saving.register_keras_serializable("keras_dense")
class RegionDepthwiseConv2D(_Window, layers.DepthwiseConv2D):
    """`keras.layers.DepthwiseConv2D` at the cells of a list."""

    def _channels(self, channels):
        return self.depth_multiplier * channels

    def convolve(self, x, table):
        return region_depthwise_conv(x, table, self.kernel)


@keras.saving.register_keras_serializable("keras_dense")
class RegionSeparableConv2D(_Window, layers.SeparableConv2D):
    """`keras.layers.SeparableConv2D` at the cells of a list."""

    def _channels(self, channels):
        return self.filters

    def convolve(self, x, table):
        x = region_depthwise_conv(x, table, self.depthwise_kernel)
        return region_conv(x, None, self.pointwise_kernel)


@keras.saving.register_keras_serializable("keras_dense")
class RegionPooling2D(layers.Layer):
    """The largest or the mean cell of windows around the cells of a list.

    Args:
        mode: "max" or "mean".
    """

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, inputs_shape, table_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, table_shape):
        return tuple(inputs_shape)

    def call(self, inputs, table):
        pool = region_max if self.mode == "max" else region_mean
        return _map(pool(_list(inputs), table))

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class PoolRows(layers.Layer):
    """Global pooling: one cell for each group, of the cells of a list that belong to it.

    Call with the list, the group of each of its cells `(N,)`, and any tensor with a row for each
    group.

    Args:
        mode: "max" or "mean".
    """

    def __init__(self, mode, **kwargs):
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, inputs_shape, group_shape=None, groups_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, group_shape, groups_shape):
        return (groups_shape[0], *inputs_shape[1:])

    def call(self, inputs, group, groups):
        return _map(pool_rows(_list(inputs), group, ops.shape(groups)[0], self.mode))

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class TakeRows(layers.Layer):
    """For each cell of a list, the row of its group: undoes `PoolRows` in size."""

    def build(self, inputs_shape, group_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, group_shape):
        return (group_shape[0], *inputs_shape[1:])

    def call(self, inputs, group):
        return ops.take(inputs, group, axis=0)

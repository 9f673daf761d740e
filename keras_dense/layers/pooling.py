"""Pooling that Keras lacks."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("keras_dense")
class SlidingAverage2D(keras.layers.Layer):
    """The mean over a window around every cell, of the cells that lie on the map.

    `(B, H, W, C)` → `(B, H, W, C)`, stride 1. What
    `keras.layers.AveragePooling2D(padding="same", strides=1)` is meant to do; on torch that layer
    repeats the edge instead of leaving out what is not there. An even window reaches one cell
    further to the bottom and the right.

    Args:
        pool_size: pair of ints, height and width of the window.

    >>> import numpy as np
    >>> y = SlidingAverage2D((1, 3))(np.array([0.0, 3.0, 6.0]).reshape(1, 1, 3, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.5, 3.0, 4.5]
    """

    def __init__(self, pool_size, **kwargs):
        super().__init__(**kwargs)
        self.pool_size = tuple(pool_size)

    def call(self, inputs):
        pads = [((size - 1) // 2, size // 2) for size in self.pool_size]

        def average(x):
            x = ops.pad(x, ((0, 0), *pads, (0, 0)))
            return ops.average_pool(x, self.pool_size, 1, "valid", data_format="channels_last")

        return average(inputs) / average(ops.ones_like(inputs[:1, :, :, :1]))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "pool_size": self.pool_size}

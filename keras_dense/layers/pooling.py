"""Pooling with a dilation rate, which Keras lacks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.ops.atrous import explicit_pads
from keras_dense.ops.windows import max_windows, mean_windows


class _AtrousPooling2D(keras.layers.Layer):
    """Base class of both poolings, with their windows."""

    pool: Callable  # (x, pool_size, rate, strides, pads) -> pooled x

    def __init__(
        self,
        pool_size: Size,
        *,
        rate: Size = 1,
        strides: Size = 1,
        padding: str | Sequence[Sequence[int]] = "same",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = _check.pair(pool_size, "pool_size")
        self.rate = _check.pair(rate, "rate")
        self.strides = _check.pair(strides, "strides")
        self.padding = _check.padding(padding)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def _pads(self, sizes):
        return explicit_pads(self.padding, sizes, self.pool_size, self.rate, self.strides)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, channels = input_shape
        known = [0 if n is None else n for n in sizes]
        windows = zip(
            sizes, self.pool_size, self.rate, self.strides, self._pads(known), strict=True
        )
        pooled = []
        for n, k, r, s, pad in windows:
            free = None if n is None else n + sum(pad) - (k - 1) * r - 1
            if free is not None and free < 0:
                raise ValueError(
                    f"The input must be large enough for windows of {self.pool_size} cells with "
                    f"rate={self.rate} and padding={self.padding!r}. "
                    f"Received: input_shape={tuple(input_shape)}"
                )
            pooled.append(None if free is None else free // s + 1)
        return (batch, *pooled, channels)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        pads = self._pads(ops.shape(inputs)[1:3])
        inputs = ops.cast(inputs, self.compute_dtype)
        pooled = type(self).pool(inputs, self.pool_size, self.rate, self.strides, pads)
        return ops.cast(pooled, self.compute_dtype)  # torch: `ops.maximum` of float64 is float32

    def get_config(self) -> Config:
        config = {"pool_size": self.pool_size, "rate": self.rate, "strides": self.strides}
        return {**super().get_config(), **config, "padding": self.padding}


@keras.saving.register_keras_serializable("keras_dense")
class AtrousMaxPooling2D(_AtrousPooling2D):
    """Max pooling with a dilation rate: the cells of a window lie `rate` apart.

    `(B, H, W, C)` → `(B, H, W, C)` with the defaults. Padding is never the maximum.

    Args:
        pool_size: int ≥ 1 or a pair, height and width of the window in cells.
        rate: int ≥ 1 or a pair, the distance between cells of a window; 1 is ordinary pooling.
        strides: int ≥ 1 or a pair.
        padding: "same" (an even window reaches one cell further to the bottom and the right),
            "valid", or `((top, bottom), (left, right))`.

    Raises:
        ValueError: if a size, rate or stride is below 1, the padding is unknown, or the input is
            smaller than the window.

    >>> import numpy as np
    >>> y = AtrousMaxPooling2D((1, 2), rate=2)(np.array([3.0, 0, 1, 2, 0]).reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [0.0, 3.0, 2.0, 1.0, 2.0]
    """

    pool = staticmethod(max_windows)


@keras.saving.register_keras_serializable("keras_dense")
class AtrousAveragePooling2D(_AtrousPooling2D):
    """Average pooling with a dilation rate: the cells of a window lie `rate` apart.

    `(B, H, W, C)` → `(B, H, W, C)` with the defaults. Padding does not count in the mean. With
    `rate=1` this equals `keras.layers.AveragePooling2D(padding="same", strides=1)`, except on
    torch, where that layer repeats the edge and counts it.

    Args:
        pool_size: int ≥ 1 or a pair, height and width of the window in cells.
        rate: int ≥ 1 or a pair, the distance between cells of a window; 1 is ordinary pooling.
        strides: int ≥ 1 or a pair.
        padding: "same" (an even window reaches one cell further to the bottom and the right),
            "valid", or `((top, bottom), (left, right))`.

    Raises:
        ValueError: if a size, rate or stride is below 1, the padding is unknown, or the input is
            smaller than the window.

    >>> import numpy as np
    >>> y = AtrousAveragePooling2D((1, 3))(np.array([0.0, 3.0, 6.0]).reshape(1, 1, 3, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.5, 3.0, 4.5]
    """

    pool = staticmethod(mean_windows)

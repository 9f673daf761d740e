"""Pooling of the interleaved maps, the phases, of a network that dilation has made denser."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.image import pad_map, take, to_multiple


@keras.saving.register_keras_serializable("keras_dense")
class PhasePooling2D(keras.layers.Layer):
    """Global pooling of each phase of a map, which are the cells that lie `rate` apart.

    `(B, H, W, C)` → `(B, r_h, r_w, C)`: entry `(p, q)` pools the cells `(p + i r_h, q + j r_w)`.
    Dilation makes a map denser by interleaving `r_h r_w` maps of the original network; this layer
    is the global pooling of each of them.

    Args:
        rate: int ≥ 1 or a pair `(vertical, horizontal)`.
        mode: "mean" or "max".

    Raises:
        ValueError: if the rate is below 1 or the mode is unknown.

    >>> import numpy as np
    >>> y = PhasePooling2D((1, 2))(np.array([1.0, 10, 3, 30, 5]).reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 20.0]
    """

    def __init__(self, rate: Size, mode: str = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rate = _check.pair(rate, "rate")
        self.mode = _check.choice(mode, "mode", ("mean", "max"))
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        if self.mode == "max":
            return ops.max(self._phases(inputs, float("-inf")), axis=(1, 3))
        # The sum in float32: a map has thousands of cells, and bfloat16 counts to 256.
        x = ops.cast(inputs, "float32") if self.compute_dtype != "float64" else inputs
        total = ops.sum(self._phases(x, 0.0), axis=(1, 3))
        count = ops.sum(self._phases(ops.ones_like(x[:1, :, :, :1]), 0.0), axis=(1, 3))
        return ops.cast(total / ops.maximum(count, 1.0), self.compute_dtype)

    def _phases(self, x, fill):
        (height, width), (r_h, r_w) = ops.shape(x)[1:3], self.rate
        pads = (0, to_multiple(height, r_h)), (0, to_multiple(width, r_w))
        x = pad_map(x, *pads, fill=fill)
        height, width = ops.shape(x)[1:3]
        return ops.reshape(x, (-1, height // r_h, r_h, width // r_w, r_w, x.shape[-1]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.rate, input_shape[3])

    def get_config(self) -> Config:
        return {**super().get_config(), "rate": self.rate, "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class TilePhases(RearrangingLayer):
    """Repeat the values of the phases over a map: the inverse of `PhasePooling2D` in size.

    Call it with two tensors: `TilePhases()(phases, like)`, shapes `(B, r_h, r_w, C)` and
    `(B, H, W, D)`; it returns `(B, H, W, C)` whose cell `(i, j)` is `phases[i % r_h, j % r_w]`.

    >>> import numpy as np
    >>> phases, like = np.array([1.0, 2.0]).reshape(1, 1, 2, 1), np.zeros((1, 1, 5, 1))
    >>> ops.convert_to_numpy(TilePhases()(phases, like))[0, 0, :, 0].tolist()
    [1.0, 2.0, 1.0, 2.0, 1.0]
    """

    def build(self, phases_shape, like_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def call(self, phases: Tensor, like: Tensor) -> Tensor:
        for axis in (1, 2):
            index = ops.arange(ops.shape(like)[axis], dtype="int32") % phases.shape[axis]
            phases = take(phases, index, axis)
        return phases

    def compute_output_shape(self, phases_shape, like_shape):
        return (phases_shape[0], *like_shape[1:3], phases_shape[3])

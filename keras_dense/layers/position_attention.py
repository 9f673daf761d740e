"""Attention of every cell of a map to all others."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor


@keras.saving.register_keras_serializable("keras_dense")
class PositionAttention(keras.layers.Layer):
    """Mean of the values of all cells, weighted by the product of a query and their keys.

    Call it with three maps of one size, `PositionAttention()(query, key, value)`: `(B, H, W, D)`,
    `(B, H, W, D)` and `(B, H, W, C)`; it returns `(B, H, W, C)`. H and W may be unknown. It has no
    weights, and computes (H W)² products: it is meant for the coarsest map of a network.

    Args:
        joint: bool. `False`: the weights of each cell are a softmax over all cells. `True`: those
            of all cells together are one softmax, and the means, `(H W, C)` in memory, are read as
            `(C, H, W)`. That is how the MA-Net of segmentation_models_pytorch computes, and what
            its weights were trained with.

    Reference: Fu et al., "Dual Attention Network for Scene Segmentation", CVPR 2019, equation 1.

    >>> import numpy as np
    >>> query, key = np.array([[0.0], [9.0]]), np.array([[-9.0], [9.0]])
    >>> value = np.array([[1.0], [3.0]])
    >>> y = PositionAttention()(*(x.reshape(1, 1, 2, 1) for x in (query, key, value)))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [2.0, 3.0]
    """

    def __init__(self, *, joint: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.joint = _check.flag(joint, "joint")

    def build(self, query_shape, key_shape=None, value_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, query_shape: Shape, key_shape: Shape, value_shape: Shape):
        return tuple(value_shape)

    def call(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        height, width = ops.shape(value)[1:3]
        channels = value.shape[-1]

        def as_list(x: Tensor) -> Tensor:
            return ops.reshape(x, (-1, height * width, x.shape[-1]))

        query, key, value = (ops.cast(x, self.compute_dtype) for x in (query, key, value))
        products = ops.matmul(as_list(query), ops.transpose(as_list(key), (0, 2, 1)))
        # Half precision is too coarse for sums over all cells.
        weights = _softmax(ops.cast(products, "float32"), (1, 2) if self.joint else (2,))
        mean = ops.matmul(ops.cast(weights, value.dtype), as_list(value))
        if self.joint:
            mean = ops.reshape(mean, (-1, channels, height, width))
            return ops.transpose(mean, (0, 2, 3, 1))
        return ops.reshape(mean, (-1, height, width, channels))

    def get_config(self) -> Config:
        return {**super().get_config(), "joint": self.joint}


def _softmax(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    # `ops.softmax` takes several axes only where their sizes are known.
    x = ops.exp(x - ops.stop_gradient(ops.max(x, axis=axes, keepdims=True)))
    return x / ops.sum(x, axis=axes, keepdims=True)

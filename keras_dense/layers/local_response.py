"""Local response normalization, as used before batch normalization."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor


@keras.saving.register_keras_serializable("keras_dense")
class LocalResponseNormalization(keras.layers.Layer):
    """Divide each value by the strength of its neighboring channels, at each pixel.

        y_c = x_c / (bias + alpha / size · Σ x_d²)^beta,   the sum over |d - c| ≤ size // 2

    with zeros beyond the first and last channel, as in Caffe and in `torch.nn.LocalResponseNorm`.
    On an image 0–255 it evens out bright and dark regions. `(…, C)` → `(…, C)`, channels last,
    computed in float32 under any dtype policy.

    Args:
        size: int ≥ 1, odd, the number of channels in the sum.
        alpha, beta, bias: floats, see the formula.

    Raises:
        ValueError: if the size is even or below 1.

    Reference: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional
    Neural Networks", NeurIPS 2012, section 3.3.

    >>> import numpy as np
    >>> y = LocalResponseNormalization(3, alpha=3.0, beta=0.5)(np.array([[1.0, 1.0, 1.0, 0.0]]))
    >>> [round(float(v), 4) for v in ops.convert_to_numpy(y)[0]]
    [0.5774, 0.5, 0.5774, 0.0]
    """

    def __init__(
        self,
        size: int = 5,
        *,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.size = _check.integer(size, "size", low=1)
        if self.size % 2 == 0:
            raise _check.fail("size", "odd", size)
        self.alpha = _check.number(alpha, "alpha")
        self.beta = _check.number(beta, "beta")
        self.bias = _check.number(bias, "bias")

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        reach, channels = self.size // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), [(0, 0)] * (x.ndim - 1) + [(reach, reach)])
        total = sum(squares[..., n : n + channels] for n in range(self.size))
        x = x * ops.power(self.bias + self.alpha / self.size * total, -self.beta)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        config = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **config}

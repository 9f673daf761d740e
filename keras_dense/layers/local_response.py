"""Normalization of the years before batch norm."""

import keras
from keras import ops

from keras_dense import _check


@keras.saving.register_keras_serializable("keras_dense")
class LocalResponseNormalization(keras.layers.Layer):
    """Each number divided by the strength of its neighbors among the channels, pixel by pixel.

        y_c = x_c / (bias + alpha / size · Σ x_d²)^beta,   the sum over |d - c| ≤ size // 2

    with zeros beyond the first and last channel, as in Caffe and in `torch.nn.LocalResponseNorm`.
    On an image 0–255 it evens out bright and dark places. `(…, C)` → `(…, C)`, channels last, in
    float32 whatever the dtype policy.

    Args:
        size: odd int ≥ 1, how many channels are summed over.
        alpha, beta, bias: see the formula.

    Raises:
        ValueError: for a size that is even or below 1.

    Reference: Krizhevsky, Sutskever, Hinton, "ImageNet Classification with Deep Convolutional
    Neural Networks", NeurIPS 2012, section 3.3.

    >>> import numpy as np
    >>> y = LocalResponseNormalization(3, alpha=3.0, beta=0.5)(np.array([[1.0, 1.0, 1.0, 0.0]]))
    >>> [round(float(v), 4) for v in ops.convert_to_numpy(y)[0]]
    [0.5774, 0.5, 0.5774, 0.0]
    """

    def __init__(self, size=5, alpha=1e-4, beta=0.75, bias=1.0, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.size = _check.integer(size, "size", low=1)
        if self.size % 2 == 0:
            raise ValueError(f"`size` must be odd. Received: size={size!r}")
        self.alpha, self.beta, self.bias = float(alpha), float(beta), float(bias)

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        reach, channels = self.size // 2, x.shape[-1]
        squares = ops.pad(ops.square(x), [(0, 0)] * (x.ndim - 1) + [(reach, reach)])
        total = sum(squares[..., n : n + channels] for n in range(self.size))
        x = x * ops.power(self.bias + self.alpha / self.size * total, -self.beta)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "bias": self.bias}
        return {**super().get_config(), **config}

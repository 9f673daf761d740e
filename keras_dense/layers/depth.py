"""Depth in meters from scores."""

import math
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.layers.dtypes import Float32Layer

ACTIVATIONS = ("range_sigmoid", "log_sigmoid", "disparity", "exp", "softplus")


def check_range(min_depth: float, max_depth: float) -> tuple[float, float]:
    """Both as floats, if 0 < min_depth < max_depth.

    >>> check_range(1, 10)
    (1.0, 10.0)
    """
    low = _check.number(min_depth, "min_depth", above=0)
    return low, _check.number(max_depth, "max_depth", above=low)


@keras.saving.register_keras_serializable("keras_dense")
class DepthActivation(Float32Layer):
    """Map scores to depth in meters, which is always positive. Any shape; float32.

    | `activation` | depth of a score x, with s = sigmoid(x) | at x = 0 |
    |---|---|---|
    | `"range_sigmoid"` | min + (max - min) s | the middle |
    | `"log_sigmoid"` | min (max / min)ˢ | the geometric mean |
    | `"disparity"` | 1 / (1/max + (1/min - 1/max) s); large x is near | about 2 min |
    | `"exp"` | min + exp(x), not above 1000 max | min + 1 m |
    | `"softplus"` | min + log(1 + exp(x)) | min + 0.69 m |

    The first three lie between min and max; the last two have no upper limit. With `"disparity"`
    and `"log_sigmoid"` the scale depends on min: 0.1 suits indoor scenes, 1 suits streets.

    Args:
        activation: str, a name from the table.
        min_depth, max_depth: floats, meters, with 0 < min_depth < max_depth.

    Raises:
        ValueError: if the activation is unknown, or the range is not 0 < min_depth < max_depth.

    Reference: Lee et al., "From Big to Small", 2019 (range_sigmoid, BTS); Godard et al., ICCV 2019
    (disparity); Eigen et al., NIPS 2014 (exp).

    >>> layer = DepthActivation(min_depth=1.0, max_depth=9.0)
    >>> ops.convert_to_numpy(layer(ops.convert_to_tensor([-100.0, 0.0, 100.0]))).tolist()
    [1.0, 5.0, 9.0]
    """

    def __init__(
        self,
        activation: str = "range_sigmoid",
        *,
        min_depth: float = 1e-3,
        max_depth: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.activation = _check.choice(activation, "activation", ACTIVATIONS)
        self.min_depth, self.max_depth = check_range(min_depth, max_depth)

    def call(self, inputs: Tensor) -> Tensor:
        x, low, high = ops.cast(inputs, "float32"), self.min_depth, self.max_depth
        if self.activation == "softplus":
            return low + ops.softplus(x)
        if self.activation == "exp":
            return low + ops.exp(ops.minimum(x, math.log(1000 * high)))
        share = ops.sigmoid(x)
        if self.activation == "range_sigmoid":
            return low + (high - low) * share
        if self.activation == "log_sigmoid":
            return ops.exp(math.log(low) + math.log(high / low) * share)
        return 1.0 / (1.0 / high + (1.0 / low - 1.0 / high) * share)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        config = {
            "activation": self.activation,
            "min_depth": self.min_depth,
            "max_depth": self.max_depth,
        }
        return {**super().get_config(), **config}

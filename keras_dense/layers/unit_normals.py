"""Unit normals from scores."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import ArrayLike, Config, Shape, Tensor
from keras_dense.ops.geometry import normalize


@keras.saving.register_keras_serializable("keras_dense")
class UnitNormals(keras.layers.Layer):
    """Unit normals from scores: `unit(x + ahead)`, and a concentration from a fourth score.

    Scores of 0 point along `ahead`. This bias keeps the vectors away from length 0, where the
    direction has no gradient. The concentration is `κ = elu(y) + 1 + 0.01` (Bae, Budvytis and
    Cipolla, ICCV 2021). Computed in float32 under any dtype policy.

    Args:
        ahead: three floats, a direction.
        concentration: bool, the input has a fourth channel, y.

    Raises:
        ValueError: if `ahead` is not three numbers, or the input has another number of channels.

    >>> ops.convert_to_numpy(UnitNormals()(np.zeros((1, 1, 1, 3)))).ravel().tolist()
    [0.0, 0.0, -1.0]
    """

    def __init__(
        self,
        *,
        ahead: ArrayLike = (0.0, 0.0, -1.0),
        concentration: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        self.ahead = as_array(ahead, "ahead").astype("float64").tolist()
        if np.shape(self.ahead) != (3,) or not np.isfinite(self.ahead).all():
            raise _check.fail("ahead", "three finite numbers", ahead)
        self.concentration = _check.flag(concentration, "concentration")

    def build(self, input_shape: Shape) -> None:
        channels = 4 if self.concentration else 3
        if input_shape[-1] != channels:
            raise ValueError(
                f"The input must have {channels} channels with concentration={self.concentration}. "
                f"Received: input_shape={tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        normals = normalize(x[..., :3] + ops.convert_to_tensor(self.ahead, "float32"))
        if self.concentration:
            normals = ops.concatenate([normals, ops.elu(x[..., 3:]) + 1.01], axis=-1)
        return ops.cast(normals, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "ahead": self.ahead,
            "concentration": self.concentration,
        }

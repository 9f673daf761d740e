"""Directions at length 1, from scores."""

import keras
from keras import ops

from keras_dense.ops.geometry import normalize


@keras.saving.register_keras_serializable("keras_dense")
class UnitNormals(keras.layers.Layer):
    """Unit normals from scores: `unit(x + ahead)`, and a concentration from a fourth score.

    `ahead` is where scores of 0 point to: as a bias that begins there, it keeps the length away
    from 0, where a direction has no slope. A concentration is `κ = elu(y) + 1 + 0.01` (Bae,
    Budvytis and Cipolla, ICCV 2021). Computed in float32 whatever the dtype policy.

    Args:
        ahead: three numbers.
        concentration: Whether the input has a fourth channel, y.

    Raises:
        ValueError: if the input has other channels.

    >>> import numpy as np
    >>> ops.convert_to_numpy(UnitNormals()(np.zeros((1, 1, 1, 3)))).ravel().tolist()
    [0.0, 0.0, -1.0]
    """

    def __init__(self, ahead=(0.0, 0.0, -1.0), concentration=False, **kwargs):
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        self.ahead = [float(v) for v in ahead]
        self.concentration = bool(concentration)

    def build(self, input_shape):
        channels = 4 if self.concentration else 3
        if input_shape[-1] != channels:
            raise ValueError(
                f"UnitNormals with concentration={self.concentration} takes {channels} channels. "
                f"Received: shape {tuple(input_shape)}"
            )

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        normals = normalize(x[..., :3] + ops.convert_to_tensor(self.ahead, "float32"))
        if self.concentration:
            normals = ops.concatenate([normals, ops.elu(x[..., 3:]) + 1.01], axis=-1)
        return ops.cast(normals, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "ahead": self.ahead,
            "concentration": self.concentration,
        }

"""Input normalization of a pretrained network, as a layer inside the model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import ArrayLike, Config, Shape, Tensor


@keras.saving.register_keras_serializable("keras_dense")
class Standardize(keras.layers.Layer):
    """Normalize each channel of an image, `(x - mean) / std`, and optionally turn RGB into BGR.

    Inside the model, training and serving use the same numbers. Computed in float32 under any
    dtype policy: 8 bits of mantissa are too few to subtract a mean.

    Args:
        mean, std: floats, or sequences with one number per channel in the order of the input.
        reverse_channels: bool, reverse the order of the channels after the arithmetic.

    Raises:
        ValueError: if `std` holds a zero, or the number of channels differs from the input's.

    >>> import numpy as np
    >>> layer = Standardize(mean=127.5, std=127.5)
    >>> y = layer(np.array([0, 255], "uint8").reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [-1.0, 1.0]
    """

    def __init__(
        self,
        mean: ArrayLike = 0.0,
        std: ArrayLike = 1.0,
        *,
        reverse_channels: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})
        self.mean = as_array(mean, "mean").astype("float64").tolist()
        self.std = as_array(std, "std").astype("float64").tolist()
        self.reverse_channels = _check.flag(reverse_channels, "reverse_channels")
        if not np.all(self.std):
            raise _check.fail("std", "without a zero", std)

    def build(self, input_shape: Shape) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if isinstance(values, list) and len(values) != input_shape[-1]:
                raise ValueError(
                    f"`{name}` must have {input_shape[-1]} values, one per channel of the input. "
                    f"Received: {len(values)} values, input_shape={tuple(input_shape)}"
                )

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        mean, std = (ops.convert_to_tensor(v, "float32") for v in (self.mean, self.std))
        x = (x - mean) / std
        if self.reverse_channels:
            x = ops.flip(x, axis=-1)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        config = {"mean": self.mean, "std": self.std, "reverse_channels": self.reverse_channels}
        return {**super().get_config(), **config}

"""What a pretrained network wants of its input, as a layer inside the model."""

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable("keras_dense")
class Standardize(keras.layers.Layer):
    """`(x - mean) / std` for each channel of an image, RGB turned into BGR where asked.

    Keeping this inside the model makes training and serving see the same numbers. Computed in
    float32 whatever the dtype policy: 8 bits of mantissa are too few to subtract a mean.

    Args:
        mean, std: a number or one for each channel, in the order of the input's channels.
        reverse_channels: turn the order of the channels round, after the arithmetic.

    Raises:
        ValueError: if `std` holds a zero, or the channels do not fit the input.

    >>> import numpy as np
    >>> layer = Standardize(mean=127.5, std=127.5)
    >>> y = layer(np.array([0, 255], "uint8").reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [-1.0, 1.0]
    """

    def __init__(self, mean=0.0, std=1.0, reverse_channels=False, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})
        self.mean = np.asarray(mean, "float64").tolist()
        self.std = np.asarray(std, "float64").tolist()
        self.reverse_channels = reverse_channels
        if not np.all(self.std):
            raise ValueError(f"`std` must not hold a zero. Received: std={std!r}")

    def build(self, input_shape):
        for name in ("mean", "std"):
            values = getattr(self, name)
            if isinstance(values, list) and len(values) != input_shape[-1]:
                raise ValueError(
                    f"`{name}` has {len(values)} values, but the input has {input_shape[-1]} "
                    f"channels (shape {tuple(input_shape)})."
                )

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        mean, std = (ops.convert_to_tensor(v, "float32") for v in (self.mean, self.std))
        x = (x - mean) / std
        if self.reverse_channels:
            x = ops.flip(x, axis=-1)
        return ops.cast(x, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        config = {"mean": self.mean, "std": self.std, "reverse_channels": self.reverse_channels}
        return {**super().get_config(), **config}

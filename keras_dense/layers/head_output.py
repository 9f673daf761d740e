"""The last layer of an output, which carries the head of that output."""

from typing import Any

import keras
from keras import ops

from keras_dense._types import Config, Shape, Tensor


@keras.saving.register_keras_serializable("keras_dense")
class HeadOutput(keras.layers.Layer):
    """Identity in float32 that keeps the configuration of a head.

    It has no weights and changes no value. The head stays with the layer in `.keras` files,
    `keras.models.clone_model` and surgery; `kd.heads.of(model)` reads it.

    Args:
        head: the head, an object that Keras can serialize.

    Example:

    >>> import keras_dense as kd
    >>> layer = HeadOutput(kd.heads.Segmentation(3))
    >>> HeadOutput.from_config(layer.get_config()).head.channels
    3
    """

    def __init__(self, head: Any, **kwargs: Any) -> None:
        # Losses and decoding need float32 under any dtype policy.
        super().__init__(**{**kwargs, "autocast": False, "dtype": "float32"})
        self.head = head

    def call(self, inputs: Tensor) -> Tensor:
        return ops.cast(inputs, "float32")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def get_config(self) -> Config:
        config = super().get_config()
        config["head"] = keras.saving.serialize_keras_object(self.head)
        return config

    @classmethod
    def from_config(cls, config: Config) -> "HeadOutput":
        head = keras.saving.deserialize_keras_object(config["head"])
        return cls(**{**config, "head": head})

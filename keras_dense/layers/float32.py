"""What metric depths, colors and probabilities have in common: eight bits of mantissa are too few."""

import keras
from keras import tree


class Float32Layer(keras.layers.Layer):
    """A layer whose output is float32 whatever the dtype policy, and declared so.

    Inputs are not cast on the way in: `call` casts them to float32 itself.

    >>> class Halved(Float32Layer):
    ...     def call(self, inputs):
    ...         return keras.ops.cast(inputs, "float32") / 2
    ...
    ...     def compute_output_shape(self, input_shape):
    ...         return input_shape
    >>> Halved(dtype="mixed_float16")(keras.Input((3,))).dtype
    'float32'
    """

    def __init__(self, **kwargs):
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})

    def compute_output_spec(self, *args, **kwargs):
        spec = super().compute_output_spec(*args, **kwargs)
        return tree.map_structure(lambda x: keras.KerasTensor(x.shape, dtype="float32"), spec)

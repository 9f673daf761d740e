"""Base classes of layers whose output dtype differs from the compute dtype, in graphs too."""

from typing import Any

import keras
from keras import tree


class Float32Layer(keras.layers.Layer):
    """A layer whose output is float32 under any dtype policy.

    For metric depth, colors and probabilities, for which half precision is too coarse. Keras does
    not cast the inputs: `call` must cast them to float32 itself.

    >>> class Halved(Float32Layer):
    ...     def call(self, inputs):
    ...         return keras.ops.cast(inputs, "float32") / 2
    ...
    ...     def compute_output_shape(self, input_shape):
    ...         return input_shape
    >>> Halved(dtype="mixed_float16")(keras.Input((3,))).dtype
    'float32'
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})

    def compute_output_spec(self, *args, **kwargs):
        spec = super().compute_output_spec(*args, **kwargs)
        return tree.map_structure(lambda x: keras.KerasTensor(x.shape, dtype="float32"), spec)


class RearrangingLayer(keras.layers.Layer):
    """A layer that only moves values, so that integers stay integers.

    >>> class Turned(RearrangingLayer):
    ...     def call(self, inputs):
    ...         return keras.ops.flip(inputs, axis=1)
    ...
    ...     def compute_output_shape(self, input_shape):
    ...         return input_shape
    >>> Turned()(keras.Input((3,), dtype="int32")).dtype
    'int32'
    """

    def compute_output_spec(self, *args, **kwargs):
        spec = super().compute_output_spec(*args, **kwargs)
        # By keyword, the first argument of `call` after `self`.
        moved = args[0] if args else kwargs[self.call.__code__.co_varnames[1]]
        dtype = keras.backend.standardize_dtype(moved.dtype)
        return spec if "float" in dtype else keras.KerasTensor(spec.shape, dtype=dtype)

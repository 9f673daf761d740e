"""A network that does not see the image, to compare with."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from keras_dense._types import Tensor
from keras_dense.heads import Head, Heads, attach, of


def blind(heads: keras.Model | Head | Mapping[str, Head], *, filters: int = 32) -> keras.Model:
    """A small network that sees positions only: how good is a guess without the image?

    Sky is at the top, and the floor is near at the bottom: a network that is not clearly better
    than this one has learned little from its images. It is trained and evaluated like any other.

    Args:
        heads: a head, a dict of heads, or a model that carries heads. Those that only help
            training are left out.
        filters: int >= 1, channels of the two hidden layers.

    Returns:
        A `keras.Model` from images `(B, H, W, 3)` to predictions in the structure of `heads`, which
        it carries. Predictions depend on the relative row and column of a pixel, from 0 to 1, and
        not on the image. It is not compiled.

    Example:

    >>> from keras_dense.heads import Segmentation
    >>> blind(Segmentation(5)).output_shape
    (None, None, None, 5)
    """
    chosen = Heads(of(heads) if isinstance(heads, keras.Model) else heads).final()
    image = keras.Input((None, None, 3))
    ones = ops.ones_like(image)
    places = [ops.cumsum(ones, axis) / ops.sum(ones, axis, keepdims=True) for axis in (1, 2)]
    x = layers.Concatenate(name="positions")(places)
    for number in (1, 2):
        x = layers.Dense(filters, activation="gelu", name=f"hidden{number}")(x)

    def predict(key: str, head: Head) -> Tensor:
        name = key or "prediction"
        small = x[:, :: head.stride, :: head.stride]
        return head.finish(layers.Dense(head.channels, name=f"{name}_scores")(small), name)

    outputs: Any = chosen.map(predict)
    return attach(keras.Model(image, outputs, name="blind"), chosen.pack(chosen))

"""A network that holds no map longer than it needs it."""

from typing import Any

import keras
from keras import ops

from keras_dense._types import Nested
from keras_dense.surgery.graph import functional, walk


class Lean(keras.Model):
    """The network of a functional model, in which every map is freed after its last use.

    TensorFlow and JAX compile predictions and free maps themselves. With torch, a functional model
    keeps the maps of all layers until the end, of a MobileNet six times what it needs.

    Weights are those of the model. It predicts; it is neither trained nor saved.

    Args:
        model: functional `keras.Model` of one image.

    >>> model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(5, 1)])
    >>> image = ops.ones((1, 4, 6, 3))
    >>> bool(ops.all(Lean(model)(image) == model(image)))
    True
    """

    def __init__(self, model: keras.Model) -> None:
        # Each layer casts what it takes.
        super().__init__(name=model.name, autocast=False)
        self.network = functional(model)
        self.built = True

    def call(self, images: Any, training: bool = False) -> Nested:
        if images.dtype != self.network.input.dtype:
            images = ops.cast(images, self.network.input.dtype)
        return walk(self.network, images, _apply)


def _apply(node, *args, **kwargs):
    return node.operation(*args, **kwargs)

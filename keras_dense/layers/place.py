"""Layers for maps whose cells have fixed positions in the image."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.ops.resize import resize_placed


@keras.saving.register_keras_serializable("keras_dense")
class PlaceLike(keras.layers.Layer):
    """Resize a map to an image, keeping its cells at their positions: bilinear, edges repeated.

    Convolutions without padding give a map that begins inside the image. `ResizeLike` would stretch
    it over the whole image; this layer keeps each cell at the pixel it was computed for. Call it
    with two tensors: `PlaceLike(…)(x, image)`, shapes `(B, h, w, C)` and `(B, H, W, D)`; it
    returns `(B, H, W, C)`. All sizes may be unknown.

    Args:
        first: float, row and column of the center of the first cell, in pixels of the image that
            the network saw; 0 is the center of the first pixel.
        step: float > 0, pixels from cell to cell.
        size: `(height, width)` of the image that the network saw. `image` is that image at another
            size.

    Raises:
        ValueError: if the step is not positive, or a size is below 1.

    >>> import numpy as np
    >>> x = np.array([1.0, 3.0], "float32").reshape(1, 1, 2, 1)  # seen at columns 1 and 3
    >>> y = PlaceLike(first=1, step=2, size=(1, 5))(x, np.zeros((1, 1, 5, 3)))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """

    def __init__(self, *, first: float, step: float, size: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.first = _check.number(first, "first")
        self.step = _check.number(step, "step", above=0)
        self.size = _check.pair(size, "size")

    def build(self, x_shape, image_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, image_shape):
        return (x_shape[0], *image_shape[1:3], x_shape[3])

    def call(self, x: Tensor, image: Tensor) -> Tensor:
        height, width = ops.shape(image)[1:3]
        x = ops.cast(x, self.compute_dtype)
        return resize_placed(x, height, width, self.first, self.step, self.size)

    def get_config(self) -> Config:
        config = {"first": self.first, "step": self.step, "size": self.size}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class LocationBias(keras.layers.Layer):
    """Add a learned number to every cell: a prior over positions, independent of the image.

    `(B, H, W, C)` → the same shape; H and W must be known.

    Raises:
        ValueError: if the size of the map is unknown.

    >>> layer = LocationBias()
    >>> layer.build((None, 55, 74, 1))
    >>> layer.count_params()
    4070
    """

    def build(self, input_shape):
        if None in input_shape[1:]:
            raise ValueError(
                "Height and width of the input must be known. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        self.bias = self.add_weight(name="bias", shape=input_shape[1:], initializer="zeros")

    def call(self, inputs: Tensor) -> Tensor:
        return ops.cast(inputs, self.compute_dtype) + self.bias

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

"""Layers for maps whose cells are bound to places of the image."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense.ops.resize import resize_placed


@keras.saving.register_keras_serializable("keras_dense")
class PlaceLike(keras.layers.Layer):
    """A map whose cells lie at known pixels, at every pixel of an image: bilinear, edges repeated.

    Convolutions without padding leave a map that begins inside the image: `ResizeLike` would
    stretch it over the whole, this layer leaves its cells where they have been computed. Call with
    two tensors: `PlaceLike(…)(x, image)`, shapes `(B, h, w, C)` and `(B, H, W, D)`; returns
    `(B, H, W, C)`. All sizes may be unknown.

    Args:
        first: the row (and column) of the first cell's center, in pixels of the image that the
            network saw; 0 is the center of the first pixel.
        step: pixels from cell to cell.
        size: `(height, width)` of the image that the network saw, of which `image` is a version of
            another size.

    Raises:
        ValueError: for a step that is not positive, or sizes below 1.

    >>> import numpy as np
    >>> x = np.array([1.0, 3.0], "float32").reshape(1, 1, 2, 1)  # seen at columns 1 and 3
    >>> y = PlaceLike(1, 2, (1, 5))(x, np.zeros((1, 1, 5, 3)))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """

    def __init__(self, first, step, size, **kwargs):
        super().__init__(**kwargs)
        if not step > 0:
            raise ValueError(f"`step` must be positive. Received: step={step!r}")
        self.first, self.step = float(first), float(step)
        self.size = _check.pair(size, "size")

    def build(self, x_shape, image_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, x_shape, image_shape):
        return (x_shape[0], *image_shape[1:3], x_shape[3])

    def call(self, x, image):
        height, width = ops.shape(image)[1:3]
        x = ops.cast(x, self.compute_dtype)
        return resize_placed(x, height, width, self.first, self.step, self.size)

    def get_config(self):
        config = {"first": self.first, "step": self.step, "size": self.size}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class LocationBias(keras.layers.Layer):
    """Adds a learned number to every cell: what is likely at a place, whatever is seen there.

    `(B, H, W, C)` → the same shape; H and W must be known.

    Raises:
        ValueError: where the size of the map is not known.

    >>> layer = LocationBias()
    >>> layer.build((None, 55, 74, 1))
    >>> layer.count_params()
    4070
    """

    def build(self, input_shape):
        if None in input_shape[1:]:
            raise ValueError(
                "LocationBias needs maps of a known size. Received: a map of shape "
                f"{tuple(input_shape)}"
            )
        self.bias = self.add_weight(name="bias", shape=input_shape[1:], initializer="zeros")

    def call(self, inputs):
        return ops.cast(inputs, self.compute_dtype) + self.bias

    def compute_output_shape(self, input_shape):
        return input_shape

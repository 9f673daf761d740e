"""Perceptron on hypercolumns, at every pixel or at sampled ones."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Config, Size, Tensor
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.hypercolumn import gather_pixels, perceptron, perceptron_by_bands


@keras.saving.register_keras_serializable("keras_dense")
class HypercolumnMLP(keras.layers.Layer):
    """Multilayer perceptron on hypercolumns, at every pixel or at sampled ones.

    The hypercolumn of a pixel is the concatenation of several maps at that pixel, upsampled
    bilinearly to the image. Call it with a list of maps `(B, H / s, W / s, C)`:

        HypercolumnMLP(units, strides)(maps) → (B, H, W, units[-1])
        HypercolumnMLP(units, strides)(maps, positions) → (B, N, units[-1])

    with `positions` `(B, N, 2)`, ints: row and column of N pixels. Both compute the same function;
    with `positions`, the memory for the gradient grows with N instead of H W.

    Hypercolumns are never built: the first layer is linear, so each map passes its own part of
    that layer before upsampling. Prediction processes the image in bands as high as the coarsest
    stride, one after another, so memory does not grow with the number of bands: about
    `max(strides) · W · max(units)` numbers. Training at every pixel (without `positions`) keeps
    all activations, since the gradient needs them. Channels last.

    Args:
        units: int ≥ 1 or several, the widths of the layers; the last one is the number of scores.
        strides: for each map an int ≥ 1 or a pair `(vertical, horizontal)`: pixels of the image
            per cell. The vertical ones must divide the largest of them.
        activation: name or function, applied after every layer but the last.

    Raises:
        ValueError: if units or strides are below 1, a stride does not divide the largest one, or
            the number of maps or their sizes do not fit the strides.

    Reference: Bansal et al., "PixelNet: Representation of the pixels, by the pixels, and for the
    pixels", arXiv:1702.06506; Hariharan et al., "Hypercolumns for object segmentation and
    fine-grained localization", CVPR 2015.

    >>> import numpy as np
    >>> maps = [np.zeros((1, 8, 12, 5), "float32"), np.zeros((1, 2, 3, 7), "float32")]
    >>> layer = HypercolumnMLP((16, 3), strides=(1, 4))
    >>> tuple(layer(maps).shape)
    (1, 8, 12, 3)
    >>> tuple(layer(maps, positions=np.array([[[7, 11], [0, 0]]])).shape)
    (1, 2, 3)
    """

    def __init__(
        self,
        units: int | Sequence[int],
        strides: Sequence[Size],
        *,
        activation: Any = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = _check.integers([units] if _check.is_integer(units) else units, "units")
        if not isinstance(strides, (tuple, list, np.ndarray)) or len(strides) == 0:
            raise _check.fail("strides", "a tuple with a stride for each map", strides)
        self.strides = tuple(_check.pair(s, "strides") for s in strides)
        coarsest = max(vertical for vertical, _ in self.strides)
        if any(coarsest % vertical for vertical, _ in self.strides):
            raise _check.fail("strides", f"divisors of the largest one, {coarsest}", strides)
        self.activation = keras.activations.get(activation)

    def build(self, maps_shape, positions_shape=None):
        self._check(maps_shape)
        channels = [shape[-1] for shape in maps_shape]
        inputs = (sum(channels), *self.units[:-1])
        # Initialized as one matrix: each part of the first layer has only some of its inputs.
        starts = [
            keras.initializers.RandomNormal(stddev=(gain / n) ** 0.5)
            for n, gain in zip(inputs, (2.0,) * (len(self.units) - 1) + (1.0,), strict=True)
        ]
        self.kernels = [
            self.add_weight(name=f"kernel_{n}", shape=(c, self.units[0]), initializer=starts[0])
            for n, c in enumerate(channels)
        ]
        self.others = [
            self.add_weight(name=f"kernel_of_layer_{n}", shape=shape, initializer=start)
            for n, (shape, start) in enumerate(
                zip(zip(self.units, self.units[1:], strict=False), starts[1:], strict=True), 1
            )
        ]
        self.biases = [
            self.add_weight(name=f"bias_{n}", shape=(width,), initializer="zeros")
            for n, width in enumerate(self.units)
        ]

    def _check(self, shapes):
        if len(shapes) != len(self.strides):
            raise ValueError(
                f"The inputs must be one map for each of the strides {self.strides}. "
                f"Received: {len(shapes)} maps"
            )
        for axis in (0, 1):
            sizes = {
                shape[1 + axis] * stride[axis]
                for shape, stride in zip(shapes, self.strides, strict=True)
                if shape[1 + axis] is not None
            }
            if len(sizes) > 1:
                raise ValueError(
                    f"Maps of strides {self.strides} must have the sizes of one image. "
                    f"Received: maps of shapes {[tuple(shape) for shape in shapes]}"
                )

    def compute_output_shape(self, maps_shape, positions_shape=None):
        self._check(maps_shape)
        batch, height, width, _ = maps_shape[0]
        if positions_shape is not None:
            return (batch, positions_shape[1], self.units[-1])
        sizes = zip((height, width), self.strides[0], strict=True)
        return (batch, *(None if n is None else n * s for n, s in sizes), self.units[-1])

    def call(
        self, maps: Sequence[Tensor], positions: Tensor | None = None, training: bool = False
    ) -> Tensor:
        self._check([x.shape for x in maps])
        maps = [keras.ops.cast(x, self.compute_dtype) for x in maps]
        matrices = (self.kernels, *self.others)
        stack = list(zip(matrices, self.biases, strict=True))
        if positions is None and not training:
            return perceptron_by_bands(maps, self.strides, stack, self.activation)
        return perceptron(maps, self.strides, stack, self.activation, positions)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "units": self.units,
            "strides": self.strides,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable("keras_dense")
class GatherPixels(RearrangingLayer):
    """Gather cells of a map at positions: `(B, H, W, C)` and ints `(B, N, 2)` → `(B, N, C)`.

    Call it with two tensors: `GatherPixels()(x, positions)`; a position is a row and a column.
    Channels last.

    >>> import numpy as np
    >>> y = GatherPixels()(np.arange(6.0).reshape(1, 2, 3, 1), np.array([[[0, 2], [1, 0]]]))
    >>> keras.ops.convert_to_numpy(y)[0, :, 0].tolist()
    [2.0, 3.0]
    """

    def build(self, x_shape, positions_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, positions_shape):
        return (x_shape[0], positions_shape[1], x_shape[3])

    def call(self, x: Tensor, positions: Tensor) -> Tensor:
        return gather_pixels(x, positions)

"""Pooling that Keras lacks: with spread windows, and phase by phase."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.atrous import same_pads
from keras_dense.ops.image import pad_map, take, to_multiple
from keras_dense.ops.windows import max_windows, mean_windows


class _AtrousPooling2D(keras.layers.Layer):
    def __init__(self, pool_size, rate=1, strides=1, padding="same", **kwargs):
        super().__init__(**kwargs)
        self.pool_size = _check.pair(pool_size, "pool_size")
        self.rate = _check.pair(rate, "rate")
        self.strides = _check.pair(strides, "strides")
        self.padding = _check.padding(padding)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def _pads(self, sizes):
        if self.padding == "valid":
            return ((0, 0), (0, 0))
        if self.padding == "same":
            return tuple(map(same_pads, sizes, self.pool_size, self.rate, self.strides))
        return self.padding

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        known = [0 if n is None else n for n in sizes]
        windows = zip(
            sizes, self.pool_size, self.rate, self.strides, self._pads(known), strict=True
        )
        pooled = []
        for n, k, r, s, pad in windows:
            free = None if n is None else n + sum(pad) - (k - 1) * r - 1
            if free is not None and free < 0:
                raise ValueError(
                    f"The input is too small for windows of {self.pool_size} cells with "
                    f"rate={self.rate} and padding={self.padding!r}. "
                    f"Received: input_shape={tuple(input_shape)}"
                )
            pooled.append(None if free is None else free // s + 1)
        return (batch, *pooled, channels)

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)
        pads = self._pads(ops.shape(inputs)[1:3])
        inputs = ops.cast(inputs, self.compute_dtype)
        pooled = type(self).pool(inputs, self.pool_size, self.rate, self.strides, pads)
        return ops.cast(pooled, self.compute_dtype)  # on torch `ops.maximum` knows no float64

    def get_config(self):
        config = {"pool_size": self.pool_size, "rate": self.rate, "strides": self.strides}
        return {**super().get_config(), **config, "padding": self.padding}


@keras.saving.register_keras_serializable("keras_dense")
class AtrousMaxPooling2D(_AtrousPooling2D):
    """The largest of the cells in a window whose cells lie `rate` apart.

    `(B, H, W, C)` → `(B, H, W, C)` with the defaults. What is not on the map never wins.

    Args:
        pool_size: int or pair, height and width of the window, in cells.
        rate: int or pair, the distance between the cells of a window; 1 is ordinary pooling.
        strides: int or pair.
        padding: "same" (an even window reaches one cell further to the bottom and the right),
            "valid", or `((top, bottom), (left, right))`.

    Raises:
        ValueError: for sizes, rates or strides below 1, an unknown padding, or an input smaller
            than the window.

    >>> import numpy as np
    >>> y = AtrousMaxPooling2D((1, 2), rate=2)(np.array([3.0, 0, 1, 2, 0]).reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [0.0, 3.0, 2.0, 1.0, 2.0]
    """

    pool = staticmethod(max_windows)


@keras.saving.register_keras_serializable("keras_dense")
class AtrousAveragePooling2D(_AtrousPooling2D):
    """The mean of the cells in a window whose cells lie `rate` apart, of those on the map.

    `(B, H, W, C)` → `(B, H, W, C)` with the defaults. With `rate=1` this is what
    `keras.layers.AveragePooling2D(padding="same", strides=1)` is meant to do; on torch that layer
    repeats the edge instead of leaving out what is not there.

    Args:
        pool_size: int or pair, height and width of the window, in cells.
        rate: int or pair, the distance between the cells of a window; 1 is ordinary pooling.
        strides: int or pair.
        padding: "same" (an even window reaches one cell further to the bottom and the right),
            "valid", or `((top, bottom), (left, right))`.

    Raises:
        ValueError: for sizes, rates or strides below 1, an unknown padding, or an input smaller
            than the window.

    >>> import numpy as np
    >>> y = AtrousAveragePooling2D((1, 3))(np.array([0.0, 3.0, 6.0]).reshape(1, 1, 3, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.5, 3.0, 4.5]
    """

    pool = staticmethod(mean_windows)


@keras.saving.register_keras_serializable("keras_dense")
class PhasePooling2D(keras.layers.Layer):
    """Global pooling of each phase of a map: of the cells that lie `rate` apart.

    `(B, H, W, C)` → `(B, r_h, r_w, C)`: entry `(p, q)` pools the cells `(p + i r_h, q + j r_w)`. A
    map that was made denser by dilation holds `r_h r_w` maps of the original network interleaved;
    this is the global pooling of each of them.

    Args:
        rate: int or pair.
        mode: "mean" or "max".

    Raises:
        ValueError: for a rate below 1 or an unknown mode.

    >>> import numpy as np
    >>> y = PhasePooling2D((1, 2))(np.array([1.0, 10, 3, 30, 5]).reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 20.0]
    """

    def __init__(self, rate, mode="mean", **kwargs):
        super().__init__(**kwargs)
        self.rate = _check.pair(rate, "rate")
        if mode not in ("mean", "max"):
            raise ValueError(f"`mode` must be 'mean' or 'max'. Received: mode={mode!r}")
        self.mode = mode
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def call(self, inputs):
        inputs = ops.cast(inputs, self.compute_dtype)
        if self.mode == "max":
            return ops.max(self._phases(inputs, float("-inf")), axis=(1, 3))
        # The sum in float32: a map has thousands of cells, and bfloat16 counts to 256.
        x = ops.cast(inputs, "float32") if self.compute_dtype != "float64" else inputs
        total = ops.sum(self._phases(x, 0.0), axis=(1, 3))
        count = ops.sum(self._phases(ops.ones_like(x[:1, :, :, :1]), 0.0), axis=(1, 3))
        return ops.cast(total / ops.maximum(count, 1.0), self.compute_dtype)

    def _phases(self, x, fill):
        (height, width), (r_h, r_w) = ops.shape(x)[1:3], self.rate
        pads = (0, to_multiple(height, r_h)), (0, to_multiple(width, r_w))
        x = pad_map(x, *pads, fill=fill)
        height, width = ops.shape(x)[1:3]
        return ops.reshape(x, (-1, height // r_h, r_h, width // r_w, r_w, x.shape[-1]))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *self.rate, input_shape[3])

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class TilePhases(RearrangingLayer):
    """Give every cell of a map the value of its phase: undoes `PhasePooling2D` in size.

    Call with two tensors: `TilePhases()(phases, like)`, shapes `(B, r_h, r_w, C)` and
    `(B, H, W, D)`; returns `(B, H, W, C)` whose cell `(i, j)` is `phases[i % r_h, j % r_w]`.

    >>> import numpy as np
    >>> phases, like = np.array([1.0, 2.0]).reshape(1, 1, 2, 1), np.zeros((1, 1, 5, 1))
    >>> ops.convert_to_numpy(TilePhases()(phases, like))[0, 0, :, 0].tolist()
    [1.0, 2.0, 1.0, 2.0, 1.0]
    """

    def build(self, phases_shape, like_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def call(self, phases, like):
        for axis in (1, 2):
            index = ops.arange(ops.shape(like)[axis], dtype="int32") % phases.shape[axis]
            phases = take(phases, index, axis)
        return phases

    def compute_output_shape(self, phases_shape, like_shape):
        return (phases_shape[0], *like_shape[1:3], phases_shape[3])

"""Max pooling that returns the indices of the maxima, and its inverse."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.atrous import explicit_pads
from keras_dense.ops.unpooling import max_pool_with_argmax, max_unpool


class _Pooling(keras.layers.Layer):
    """Base class of pooling and unpooling, with their window."""

    def __init__(
        self,
        pool_size: Size = 2,
        *,
        strides: Size | None = None,
        padding: str | Sequence[Sequence[int]] = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_size = _check.pair(pool_size, "pool_size")
        self.strides = self.pool_size if strides is None else _check.pair(strides, "strides")
        self.padding = _check.padding(padding)
        pads = ((0, 0), (0, 0)) if isinstance(self.padding, str) else self.padding
        if any(max(pair) >= size for pair, size in zip(pads, self.pool_size, strict=True)):
            raise ValueError(
                "`padding` must be smaller than `pool_size`: a window of padding alone has no "
                f"maximum. Received: padding={padding!r}, pool_size={pool_size!r}"
            )
        self.data_format = _check.data_format(data_format)

    def _pads(self, sizes):
        return explicit_pads(self.padding, sizes, self.pool_size, (1, 1), self.strides)

    def _last(self, x):
        last = self.data_format == "channels_last"
        return x if last else ops.transpose(x, (0, 2, 3, 1))

    def _back(self, x):
        last = self.data_format == "channels_last"
        return x if last else ops.transpose(x, (0, 3, 1, 2))

    def _sizes(self, shape):
        return tuple(shape[1:3] if self.data_format == "channels_last" else shape[2:4])

    def _with_sizes(self, shape, sizes):
        if self.data_format == "channels_last":
            return (shape[0], *sizes, shape[3])
        return (*shape[:2], *sizes)

    def _pooled(self, sizes):
        """Height and width after pooling: `None` if unknown, below 1 for too small a map."""

        def along(axis, n):
            pads = self._pads((n, n))[axis]
            return (n + sum(pads) - self.pool_size[axis]) // self.strides[axis] + 1

        return tuple(None if n is None else along(axis, n) for axis, n in enumerate(sizes))

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable("keras_dense")
class MaxPoolWithArgmax2D(_Pooling):
    """Max pooling that also returns the index of each maximum, for `MaxUnpool2D`.

    `(B, H, W, C)` → `(values, indices)`, both `(B, h, w, C)`, as with `torch.nn.MaxPool2d(k, s, p,
    return_indices=True)`: indices are int32, `row * W + column` in the map without padding, for
    each channel. Among equal maxima the first one counts, row by row. The gradient flows through
    the values to the cells of the indices. H and W may be unknown, odd, and not divisible.

    Args:
        pool_size: int ≥ 1, or a pair `(vertical, horizontal)`.
        strides: int ≥ 1 or a pair; default: the pool size. Windows may overlap.
        padding: "valid"; "same", which is TensorFlow's rule; or a number of cells smaller than the
            window, as `((top, bottom), (left, right))`. Padding is never the maximum.
        data_format: "channels_last" or "channels_first", for values and indices; default: the
            setting of the Keras config.

    Raises:
        ValueError: if a size or stride is below 1, the padding is unknown, or the window is larger
            than the map.

    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0, 0.0, 0.0], [2.0, 0.0, 0.0, 4.0]]).reshape(1, 2, 4, 1)
    >>> values, indices = MaxPoolWithArgmax2D()(x)
    >>> [ops.convert_to_numpy(y).ravel().tolist() for y in (values, indices)]
    [[3.0, 4.0], [1, 7]]
    """

    def __init__(self, pool_size: Size = 2, **kwargs: Any) -> None:
        super().__init__(pool_size, **kwargs)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape]:
        pooled = self._pooled(self._sizes(input_shape))
        if any(n is not None and n < 1 for n in pooled):
            raise ValueError(
                f"The input must be large enough for a window of {self.pool_size} cells with "
                f"padding={self.padding!r}. Received: input_shape={tuple(input_shape)}"
            )
        shape = self._with_sizes(input_shape, pooled)
        return shape, shape

    def compute_output_spec(self, inputs):
        values, indices = self.compute_output_shape(inputs.shape)
        return (
            keras.KerasTensor(values, dtype=self.compute_dtype),
            keras.KerasTensor(indices, dtype="int32"),
        )

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        self.compute_output_shape(inputs.shape)
        x = self._last(ops.cast(inputs, self.compute_dtype))
        pads = self._pads(ops.shape(x)[1:3])
        values, indices = max_pool_with_argmax(x, self.pool_size, self.strides, pads)
        return self._back(values), self._back(indices)


@keras.saving.register_keras_serializable("keras_dense")
class MaxUnpool2D(_Pooling, RearrangingLayer):
    """Put values back at the positions of the maxima of a pooling, with zeros elsewhere.

    Call it with the values and the indices of `MaxPoolWithArgmax2D`, and a map of the size that was
    pooled: `MaxUnpool2D()(x, indices, like)`, shapes `(B, h, w, C)` twice and `(B, H, W, D)`; it
    returns `(B, H, W, C)`. Without `like`, the result has the smallest size with that many windows,
    `(h - 1) s + k` minus the padding ("same": `h s`), as in `torch.nn.MaxUnpool2d`. If the pooling
    left out a last row or column, `like` is needed.

    Overlapping windows may share an index. Then the last of them counts, row by row, and only that
    one receives the gradient, since the others have no influence. (PyTorch gives the gradient to
    all of them.) Without overlap both agree.

    Args:
        pool_size, strides, padding, data_format: the settings of the pooling.

    Raises:
        ValueError: if a size or stride is below 1, the padding is unknown, or `x`, `indices` and
            `like` do not belong to the same pooling.

    >>> import numpy as np
    >>> x, indices = np.array([3.0, 4.0]), np.array([1, 7])
    >>> y = MaxUnpool2D()(x.reshape(1, 1, 2, 1), indices.reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist()
    [[0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]]
    """

    def build(self, x_shape, indices_shape=None, like_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, indices_shape, like_shape=None):
        self._check(x_shape, indices_shape)
        if like_shape is None:
            return self._with_sizes(x_shape, self._unpooled(self._sizes(x_shape)))
        sizes, pooled = self._sizes(like_shape), self._pooled(self._sizes(like_shape))
        if _differ(pooled, self._sizes(x_shape)):
            raise ValueError(
                f"`x` must have the {pooled[0]}×{pooled[1]} windows of a map of the size of `like` "
                f"with pool_size={self.pool_size}, strides={self.strides} and "
                f"padding={self.padding!r}. Received: x.shape={tuple(x_shape)}, "
                f"like.shape={tuple(like_shape)}"
            )
        return self._with_sizes(x_shape, sizes)

    def call(self, x: Tensor, indices: Tensor, like: Tensor | None = None) -> Tensor:
        dtype = keras.backend.standardize_dtype(indices.dtype)
        if "int" not in dtype:
            raise ValueError(
                "`indices` must be integers, the second output of `MaxPoolWithArgmax2D`. "
                f"Received: indices.dtype={dtype}"
            )
        self.compute_output_shape(x.shape, indices.shape, None if like is None else like.shape)
        x, indices = self._last(x), self._last(indices)
        if like is None:
            sizes = self._unpooled(ops.shape(x)[1:3])
        else:
            sizes = self._sizes(ops.shape(like))
        y = max_unpool(x, indices, self.pool_size, self.strides, self._pads(sizes), *sizes)
        return self._back(y)

    def _check(self, x_shape, indices_shape):
        if len(x_shape) != 4 or len(indices_shape) != 4 or _differ(x_shape, indices_shape):
            raise ValueError(
                "`indices` must have one index for each value of `x`, from the same pooling. "
                f"Received: x.shape={tuple(x_shape)}, indices.shape={tuple(indices_shape)}"
            )

    def _unpooled(self, sizes):
        """Smallest height and width with that many windows."""

        def along(axis, n):
            if self.padding == "same":
                return n * self.strides[axis]
            pads = 0 if self.padding == "valid" else sum(self.padding[axis])
            return (n - 1) * self.strides[axis] + self.pool_size[axis] - pads

        return tuple(None if n is None else along(axis, n) for axis, n in enumerate(sizes))


def _differ(a, b):
    """Compare two shapes where both are known."""
    return any(None not in (m, n) and m != n for m, n in zip(a, b, strict=True))

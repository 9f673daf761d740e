"""Maps of several strides at the same pixels, without upsampling them.

All functions take channels-last maps `(B, H, W, C)` of unknown sizes.
"""

from collections.abc import Callable, Sequence
from typing import Any

from keras import backend, ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.image import as_float, upsample_bilinear


def gather_pixels(x: ArrayLike, positions: ArrayLike) -> Tensor:
    """The cells of a map at given positions.

    Args:
        x: `(B, H, W, C)`.
        positions: `(B, N, 2)` ints, row and column, on the map.

    Returns:
        `(B, N, C)`.

    >>> import numpy as np
    >>> x = np.arange(6.0).reshape(1, 2, 3, 1)
    >>> y = gather_pixels(x, np.array([[[0, 2], [1, 0]]]))
    >>> ops.convert_to_numpy(y)[0, :, 0].tolist()
    [2.0, 3.0]
    """
    x, positions = ops.convert_to_tensor(x), ops.cast(positions, "int32")
    batch, height, width = ops.shape(x)[:3]
    image = ops.reshape(ops.arange(batch, dtype="int32"), (-1, 1))
    index = (image * height + positions[..., 0]) * width + positions[..., 1]
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), index, axis=0)


def sample_bilinear(x: ArrayLike, positions: ArrayLike, stride: Sequence[int]) -> Tensor:
    """A coarse map at some pixels of the image, as `upsample_bilinear` would give them.

    Args:
        x: `(B, H, W, C)`.
        positions: `(B, N, 2)` ints, row and column in the image of `(s_h H, s_w W)` pixels.
        stride: pair of ints, pixels for each cell.

    Returns:
        `(B, N, C)`.

    >>> import numpy as np
    >>> x = np.array([0.0, 4.0]).reshape(1, 1, 2, 1)
    >>> y = sample_bilinear(x, np.array([[[0, 1], [0, 3]]]), (1, 2))
    >>> ops.convert_to_numpy(y)[0, :, 0].tolist()
    [1.0, 4.0]
    """
    if tuple(stride) == (1, 1):
        return gather_pixels(x, positions)
    x = as_float(x)
    below, above, share = [], [], []
    for axis in (0, 1):
        last = ops.shape(x)[1 + axis] - 1
        place = (ops.cast(positions[..., axis], "float32") + 0.5) / stride[axis] - 0.5
        place = ops.clip(place, 0.0, ops.cast(last, "float32"))
        cell = ops.cast(ops.floor(place), "int32")
        below.append(cell)
        above.append(ops.minimum(cell + 1, last))
        share.append(ops.expand_dims(place - ops.cast(cell, "float32"), -1))

    def row(rows):
        left = gather_pixels(x, ops.stack([rows, below[1]], axis=-1))
        if stride[1] == 1:
            return left
        right = gather_pixels(x, ops.stack([rows, above[1]], axis=-1))
        return left + (right - left) * ops.cast(share[1], x.dtype)

    top = row(below[0])
    if stride[0] == 1:
        return top
    return top + (row(above[0]) - top) * ops.cast(share[0], x.dtype)


def dense(x: ArrayLike, kernel: Tensor) -> Tensor:
    """The same matrix for every cell: a 1×1 convolution of a tensor of any rank."""
    x, shape = as_float(x), ops.shape(x)
    y = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
    return ops.reshape(y, (*shape[:-1], kernel.shape[-1]))


def bands(x: ArrayLike, rows: int) -> Tensor:
    """A map divided into bands of rows, each with one more row above and below.

    Args:
        x: `(B, n rows, W, C)`.
        rows: int, rows of a band.

    Returns:
        `(B n, rows + 2, W, C)`; the first and the last row of the map are repeated.

    >>> import numpy as np
    >>> y = bands(np.arange(4.0).reshape(1, 4, 1, 1), 2)
    >>> ops.convert_to_numpy(y)[:, :, 0, 0].tolist()
    [[0.0, 0.0, 1.0, 2.0], [1.0, 2.0, 3.0, 3.0]]
    """
    x = ops.convert_to_tensor(x)
    height, width = ops.shape(x)[1:3]
    padded = ops.concatenate([x[:, :1], x, x[:, -1:]], axis=1)
    shape = (-1, height // rows, rows, width, x.shape[-1])
    body = ops.reshape(x, shape)
    above = ops.expand_dims(padded[:, 0:height:rows], 2)
    below = ops.expand_dims(padded[:, rows + 1 : height + 2 : rows], 2)
    banded = ops.concatenate([above, body, below], axis=2)
    return ops.reshape(banded, (-1, rows + 2, width, x.shape[-1]))


def in_turn(function: Callable, values: Sequence[Tensor], dtype: str) -> Tensor:
    """The results of `function` for every entry of the first axis, one after the other, stacked.

    >>> import numpy as np
    >>> ops.convert_to_numpy(in_turn(lambda x: x[0] + 1, [np.arange(3)], "int64")).tolist()
    [1, 2, 3]
    """
    if backend.backend() != "tensorflow":
        return ops.map(function, values)
    import tensorflow as tf

    # With `ops.map` TensorFlow computes ten entries at a time, with the memory of ten: on ten
    # threads a perceptron of 1,024 units took 701 MB instead of 293 MB.
    return tf.map_fn(function, values, fn_output_signature=dtype, parallel_iterations=1)


def perceptron(
    maps: Sequence[Tensor],
    strides: Sequence[Sequence[int]],
    layers: Sequence[Any],
    activation: Callable,
    positions: ArrayLike | None = None,
) -> Tensor:
    """A multilayer perceptron on the hypercolumns of an image: at every pixel or at some.

    The hypercolumn of a pixel is the values there of all maps, upsampled bilinearly. The first
    layer is linear in it, so each map passes its own part of that layer at its own small size, and
    the results are upsampled and summed: neither the maps nor their concatenation are upsampled.

    Args:
        maps: list of `(B, H / s, W / s, C)`.
        strides: for each map a pair of ints.
        layers: list of `(kernels, bias)`; the first layer has a kernel for each map.
        activation: function between the layers.
        positions: `(B, N, 2)` ints, the pixels; default: all.

    Returns:
        `(B, H, W, units)`, or `(B, N, units)`.

    >>> import numpy as np
    >>> maps = [np.array([0.0, 4.0], "float32").reshape(1, 1, 2, 1)]
    >>> layers = [([ops.ones((1, 1))], ops.ones(1))]
    >>> y = perceptron(maps, [(1, 2)], layers, ops.relu)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 2.0, 4.0, 5.0]
    """
    (kernels, bias), *others = layers
    total = None
    for x, stride, kernel in zip(maps, strides, kernels, strict=True):
        if positions is None:
            y = upsample_bilinear(dense(x, kernel), stride)
        else:
            y = dense(sample_bilinear(x, positions, stride), kernel)
        total = y if total is None else total + y
    y = total + bias
    for kernel, bias in others:
        y = dense(activation(y), kernel) + bias
    return y


def perceptron_by_bands(
    maps: Sequence[Tensor],
    strides: Sequence[Sequence[int]],
    layers: Sequence[Any],
    activation: Callable,
) -> Tensor:
    """`perceptron` at every pixel, in the memory of one band as high as the coarsest cell.

    Args:
        maps, strides, layers, activation: see `perceptron`; the vertical strides must divide the
            largest of them.

    Returns:
        `(B, H, W, units)`.

    >>> import numpy as np
    >>> maps = [np.array([0.0, 4.0], "float32").reshape(1, 1, 2, 1)]
    >>> layers = [([ops.ones((1, 1))], ops.ones(1))]
    >>> y = perceptron_by_bands(maps, [(1, 2)], layers, ops.relu)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 2.0, 4.0, 5.0]
    """
    height = max(vertical for vertical, _ in strides)
    width = ops.shape(maps[0])[2] * strides[0][1]
    rows = ops.shape(maps[0])[1] * strides[0][0]

    def band(pieces):
        (kernels, bias), *others = layers
        total = None
        for x, (vertical, horizontal), kernel in zip(pieces, strides, kernels, strict=True):
            x = x[1:-1] if vertical == 1 else x
            y = upsample_bilinear(dense(x, kernel)[None], (vertical, horizontal))[0]
            y = y if vertical == 1 else y[vertical:-vertical]
            total = y if total is None else total + y
        y = total + bias
        for kernel, bias in others:
            y = dense(activation(y), kernel) + bias
        return y

    pieces = [bands(x, height // s) for x, (s, _) in zip(maps, strides, strict=True)]
    y = in_turn(band, pieces, backend.standardize_dtype(maps[0].dtype))
    return ops.reshape(y, (-1, rows, width, layers[-1][1].shape[-1]))

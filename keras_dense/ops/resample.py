"""Maps at other sizes as vision transformers need them: bicubic, and by a true scale.

As in `keras_dense.ops.resize`, resizing is a product with two small matrices, one per axis, made
from `ops.arange`: it traces, exports and differentiates where sizes are known only at run time.
"""

from typing import Any

from keras import ops

from keras_dense._types import ArrayLike, Size, Tensor
from keras_dense.ops.resize import apply_to_axes, as_number


def _cubic(x, a):
    """Keys' kernel at distances `x`, zero from 2 on; the cubic is -a apart from the mean."""
    x = ops.absolute(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return ops.where(x < 1, near, ops.where(x < 2, far, ops.zeros_like(x)))


def _cells(size):
    return ops.expand_dims(ops.arange(size, dtype="int32"), 0)


def _new_cells(new):
    return ops.expand_dims(ops.arange(new, dtype="int32"), 1)


def _bicubic_matrix(size, new):
    """`(new, size)`: row i mixes the four cells around its center, edge cells repeated."""
    cells, twice = _cells(size), 2 * new
    # The center in halves of a new cell, moved by two cells so that no number is negative: the
    # remainder of a negative number has another sign in ONNX.
    center = (2 * _new_cells(new) + 1) * size - new + 2 * twice
    low = center // twice
    between = as_number(center - low * twice) / as_number(twice)
    matrix = 0.0
    for tap in (-1, 0, 1, 2):
        index = ops.minimum(ops.maximum(low + (tap - 2), 0), size - 1)
        matrix = matrix + as_number(ops.equal(cells, index)) * _cubic(between - tap, -0.75)
    return matrix


def _antialiased_matrix(size, new):
    """`(new, size)`: a kernel as wide as a new cell where the map becomes smaller."""
    # Positions in halves of `1 / new` cells are whole numbers.
    distance = (2 * _cells(size) + 1) * new - (2 * _new_cells(new) + 1) * size
    # One cell is `2 new` of them; a kernel of the new cells' width is stretched to `2 size`.
    width = ops.maximum(as_number(2 * new), as_number(2 * size))
    weights = _cubic(as_number(distance) / width, -0.5)
    return weights / ops.sum(weights, axis=1, keepdims=True)


def resize_bicubic(x: ArrayLike, height: Any, width: Any, *, antialias: bool = False) -> Tensor:
    """Half-pixel bicubic resizing to any size, as PyTorch does it.

    Equals `torch.nn.functional.interpolate(x, (height, width), mode="bicubic",
    antialias=antialias)`: Keys' cubic with a = -0.75 and edge cells repeated, or a = -0.5 and the
    kernel cut off at the edge with antialiasing. `keras.ops.image.resize` has a = -0.5 in both
    cases, and cannot be traced if a size is known only at run time. The same size is the identity.

    Args:
        x: `(B, H, W, C)`, H and W may be unknown.
        height, width: ints, or integer scalars such as parts of `ops.shape(like)`.
        antialias: bool, whether a smaller map averages over the width of its cells.

    Returns:
        `(B, height, width, C)`, computed in float32, in the dtype of `x` (float32 for integers).

    >>> import numpy as np
    >>> y = resize_bicubic(np.array([0.0, 0.0, 1.0, 1.0]).reshape(1, 1, 4, 1), 1, 2)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].round(4).tolist()
    [-0.0938, 1.0938]
    """
    matrix = _antialiased_matrix if antialias else _bicubic_matrix
    old_height, old_width = ops.shape(x)[1:3]
    return apply_to_axes(x, matrix(old_height, height), matrix(old_width, width), height, width)


def _scaled_matrix(size, new, old_stride, new_stride):
    """`(new, size)`: row i mixes the two cells around the pixel in its middle, edges repeated."""
    # In halves of a pixel: cell c lies at (2 c + 1) p, new cell i at (2 i + 1) s.
    position = (2 * _new_cells(new) + 1) * new_stride - old_stride
    position = ops.minimum(ops.maximum(position, 0), 2 * old_stride * (size - 1))
    distance = ops.absolute(position - 2 * old_stride * _cells(size))
    return as_number(ops.maximum(2 * old_stride - distance, 0)) / (2 * old_stride)


def resize_to_stride(
    x: ArrayLike, height: Any, width: Any, old_stride: Size, new_stride: Size
) -> Tensor:
    """A map of one stride on the grid of another: half-pixel bilinear, edges repeated.

    The scale is that of the strides, not of the sizes: a map of stride 14 over a padded image may
    have more cells than the image needs, and its cells stay where they are.

    Args:
        x: `(B, H, W, C)`, a cell for every `old_stride` pixels; H and W may be unknown.
        height, width: ints or integer scalars: the size of the result.
        old_stride, new_stride: ints >= 1 or pairs, pixels per cell before and after.

    Returns:
        `(B, height, width, C)`, computed in float32, in the dtype of `x` (float32 for integers).

    >>> import numpy as np
    >>> x = np.array([7.0, 21.0, 35.0]).reshape(1, 1, 3, 1)  # the pixel in the middle of each cell
    >>> y = resize_to_stride(x, 1, 5, 14, 8)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].round(3).tolist()
    [7.0, 12.0, 20.0, 28.0, 35.0]
    """
    strides = [(s, s) if isinstance(s, int) else s for s in (old_stride, new_stride)]
    sizes = zip(ops.shape(x)[1:3], (height, width), *strides, strict=True)
    rows, columns = (_scaled_matrix(*axis) for axis in sizes)
    return apply_to_axes(x, rows, columns, height, width)

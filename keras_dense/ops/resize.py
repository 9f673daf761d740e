"""Maps at other sizes, including sizes that are known only when the graph runs.

All functions take channels-last tensors `(B, H, W, C)`. Averaging over bins and resizing are
products with two small matrices, one per axis, made from `ops.arange`: they trace, export and
differentiate on every backend, whether or not H and W are known.
"""

from collections.abc import Sequence
from typing import Any

from keras import backend, ops

from keras_dense._types import ArrayLike, Size, Tensor
from keras_dense.ops.image import at_least, take


def as_number(x):
    """Positions as float32; Python ints and integer tensors alike."""
    return ops.cast(x, "float32")


def _matrix_of_bins(bins, size):
    """`(bins, size)`: row i averages the cells from floor(i n / b) to ceil((i + 1) n / b)."""
    cells = ops.expand_dims(ops.arange(size, dtype="int32"), 0)
    first = ops.expand_dims(ops.arange(bins, dtype="int32"), 1) * size
    start, stop = first // bins, (first + size + bins - 1) // bins
    inside = ops.logical_and(cells >= start, cells < stop)
    return as_number(inside) / as_number(stop - start)


def _matrix_of_positions(size, new, align_corners=False):
    """`(new, size)`: row i mixes the two cells between which the i-th new cell lies.

    Its center is at `((2 i + 1) n - m) / (2 m)`, with aligned corners at `i (n - 1) / (m - 1)`; all
    but the last division is done in integers.
    """
    cells = ops.expand_dims(ops.arange(size, dtype="int32"), 0)
    new_cells = ops.expand_dims(ops.arange(new, dtype="int32"), 1)
    if align_corners:
        steps = at_least(new - 1, 1)
        distance = ops.absolute(new_cells * (size - 1) - steps * cells)
        return as_number(ops.maximum(steps - distance, 0)) / as_number(steps)
    position = (2 * new_cells + 1) * size - new
    position = ops.minimum(ops.maximum(position, 0), 2 * new * (size - 1))
    distance = ops.absolute(position - 2 * new * cells)
    return as_number(ops.maximum(2 * new - distance, 0)) / as_number(2 * new)


def apply_to_axes(x, rows, columns, height, width):
    """`rows @ x @ columns.T` of every image and channel, in float32: `(B, height, width, C)`."""
    x = ops.convert_to_tensor(x)
    dtype = backend.standardize_dtype(x.dtype)
    old_height, old_width = ops.shape(x)[1:3]
    channels = x.shape[-1]
    y = ops.reshape(ops.cast(x, "float32"), (-1, old_height, old_width * channels))
    y = ops.reshape(ops.matmul(rows, y), (-1, height, old_width, channels))
    y = ops.reshape(ops.matmul(columns, y), (-1, height, width, channels))
    return ops.cast(y, dtype) if "float" in dtype else y


def adaptive_average_pool(x: ArrayLike, bins: Size) -> Tensor:
    """The map averaged over a grid of bins, for any size of the map.

    Bin i of b on an axis of n cells is the mean of the cells from floor(i n / b) to
    ceil((i + 1) n / b): neighboring bins share a cell where b does not divide n, and cells are
    repeated where n < b. Equals `torch.nn.functional.adaptive_avg_pool2d`.

    Args:
        x: `(B, H, W, C)`, H and W may be unknown.
        bins: int >= 1, or a pair `(vertical, horizontal)`.

    Returns:
        `(B, *bins, C)`, computed in float32, in the dtype of `x` (float32 for integers).

    >>> import numpy as np
    >>> y = adaptive_average_pool(np.array([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1), (1, 2))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.5, 4.0]
    """
    vertical, horizontal = (bins, bins) if isinstance(bins, int) else bins
    height, width = ops.shape(x)[1:3]
    rows, columns = _matrix_of_bins(vertical, height), _matrix_of_bins(horizontal, width)
    return apply_to_axes(x, rows, columns, vertical, horizontal)


def resize_bilinear(
    x: ArrayLike, height: Any, width: Any, *, align_corners: bool = False
) -> Tensor:
    """Bilinear resizing to any size, edges repeated, without antialiasing.

    Half-pixel by default. Equals `keras.ops.image.resize(x, (height, width), "bilinear")`, which
    cannot be traced if a size is known only at run time, and
    `torch.nn.functional.interpolate(x, mode="bilinear", align_corners=…)`. The matrices are dense:
    meant for maps, not for large photographs.

    Args:
        x: `(B, H, W, C)`, H and W may be unknown.
        height, width: ints, or integer scalars such as parts of `ops.shape(like)`;
            `2 height H` must stay below 2³¹.
        align_corners: bool. `True` puts the first and the last cell on the first and the last cell
            of the result: cell i of m is read at `i (n - 1) / (m - 1)` of n cells.

    Returns:
        `(B, height, width, C)`, computed in float32, in the dtype of `x` (float32 for integers).

    >>> import numpy as np
    >>> y = resize_bilinear(np.array([0.0, 3.0]).reshape(1, 1, 2, 1), 1, 3)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [0.0, 1.5, 3.0]
    """
    old_height, old_width = ops.shape(x)[1:3]
    rows = _matrix_of_positions(old_height, height, align_corners)
    columns = _matrix_of_positions(old_width, width, align_corners)
    return apply_to_axes(x, rows, columns, height, width)


def resize_nearest(x: ArrayLike, height: Any, width: Any) -> Tensor:
    """Resizing to any size by repeating or leaving out cells.

    Cell i of m is cell `floor(i n / m)` of n, as in `torch.nn.functional.interpolate`; upsampling
    by an integer factor repeats every cell as often.

    Args:
        x: `(B, H, W, C)`, H and W may be unknown.
        height, width: ints, or integer scalars.

    Returns:
        `(B, height, width, C)`, in the dtype of `x`.

    >>> import numpy as np
    >>> y = resize_nearest(np.array([0.0, 3.0]).reshape(1, 1, 2, 1), 1, 3)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [0.0, 0.0, 3.0]
    """
    for axis, new in ((1, height), (2, width)):
        x = take(x, ops.arange(new, dtype="int32") * ops.shape(x)[axis] // new, axis)
    return x


def resize_placed(
    x: ArrayLike, height: Any, width: Any, first: float, step: float, size: Sequence[int]
) -> Tensor:
    """A map with cells at known places of an image, bilinearly interpolated at every pixel.

    Args:
        x: `(B, H, W, C)`; cell i lies at row (or column) `first + step i` of an image of `size`.
        height, width: ints or integer scalars: the size of the result, another version of that
            image.
        first, step: floats.
        size: pair of ints.

    Returns:
        `(B, height, width, C)`, edges repeated; computed in float32, in the dtype of `x`.

    >>> import numpy as np
    >>> x = np.array([1.0, 3.0]).reshape(1, 1, 2, 1)
    >>> y = resize_placed(x, 1, 5, first=1, step=2, size=(1, 5))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """
    matrices = []
    for old, new, seen in zip(ops.shape(x)[1:3], (height, width), size, strict=True):
        cells = as_number(ops.expand_dims(ops.arange(old, dtype="int32"), 0))
        pixel = as_number(ops.expand_dims(ops.arange(new, dtype="int32"), 1))
        position = ((pixel + 0.5) * (seen / as_number(new)) - 0.5 - first) / step
        position = ops.clip(position, 0.0, as_number(old - 1))
        matrices.append(ops.maximum(1.0 - ops.absolute(position - cells), 0.0))
    rows, columns = matrices
    return apply_to_axes(x, rows, columns, height, width)


def pixel_shuffle(x: ArrayLike, factor: Size) -> Tensor:
    """Channels laid out as blocks of cells: depth to space.

    `y[f i + a, f j + b, c] = x[i, j, (c f + a) f + b]`: the `f²` cells of one output channel lie
    side by side, as in TuSimple's dense upsampling convolution and `torch.nn.PixelShuffle`
    (TensorFlow's `depth_to_space` has the output channels side by side instead).

    Args:
        x: `(B, H, W, C f²)`, H and W may be unknown.
        factor: int >= 1, or a pair `(vertical, horizontal)`.

    Returns:
        `(B, f H, f W, C)`.

    Raises:
        ValueError: if the channels are not a multiple of f².

    >>> import numpy as np
    >>> y = pixel_shuffle(np.arange(8).reshape(1, 1, 1, 8), 2)
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist(), ops.convert_to_numpy(y)[0, :, :, 1].tolist()
    ([[0, 1], [2, 3]], [[4, 5], [6, 7]])
    """
    f_h, f_w = (factor, factor) if isinstance(factor, int) else factor
    if x.shape[-1] % (f_h * f_w):
        raise ValueError(
            f"`x` must have a multiple of {f_h}·{f_w} channels for factor={factor}. "
            f"Received: {x.shape[-1]} channels"
        )
    channels = x.shape[-1] // (f_h * f_w)
    height, width = ops.shape(x)[1:3]
    y = ops.reshape(x, (-1, height, width, channels, f_h, f_w))
    y = ops.transpose(y, (0, 1, 4, 2, 5, 3))
    return ops.reshape(y, (-1, height * f_h, width * f_w, channels))

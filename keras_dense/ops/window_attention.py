"""Attention between the cells of a map: between all of them, or within windows."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.image import at_least, pad_map, take, to_multiple

# Added to the scores of cells that must not see each other, as in the authors' code.
_APART = -100.0


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    bias: Tensor | None = None,
    *,
    drop: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """`softmax(q kᵀ / √d + bias) v`, by the fused kernel where the backend has one.

    Args:
        queries: `(…, T, d)`.
        keys, values: `(…, S, d)`.
        bias: of a shape that broadcasts to `(…, T, S)`.
        drop: function of the weights of the sum, for dropout.

    Returns:
        `(…, T, d)`.

    >>> x = np.array([[1.0], [3.0]], "float32")
    >>> ops.convert_to_numpy(attend(0 * x, x, x)).ravel().tolist()
    [2.0, 2.0]
    """
    queries, keys, values = map(ops.convert_to_tensor, (queries, keys, values))
    if bias is not None:
        bias = ops.cast(bias, queries.dtype)
    symbolic = isinstance(queries, keras.KerasTensor)
    if keras.backend.backend() == "torch" and drop is None and not symbolic:
        from torch.nn.functional import scaled_dot_product_attention

        return scaled_dot_product_attention(queries, keys, values, attn_mask=bias)
    queries = queries * queries.shape[-1] ** -0.5
    axes = [*range(len(keys.shape) - 2), len(keys.shape) - 1, len(keys.shape) - 2]
    scores = ops.matmul(queries, ops.transpose(keys, axes))
    if bias is not None:
        scores = scores + bias
    # Half precision is too coarse for the sum of many exponentials.
    weights = ops.cast(ops.softmax(ops.cast(scores, "float32")), queries.dtype)
    return ops.matmul(weights if drop is None else drop(weights), values)


def split_heads(x: Tensor, heads: int, cells: Sequence[Any]) -> Tensor:
    """Queries, keys or values of each head: `(B, …, C)` → `(B, *cells[:-1], heads, T, C / heads)`.

    Args:
        x: `(B, …, C)`.
        heads: int, which divides C.
        cells: sizes of the axes between the first and the last, of which attention sees the last
            one, T: `(H W,)` for a map, `(n, T)` for windows.

    >>> tuple(split_heads(np.zeros((2, 7, 5, 12)), 3, (35,)).shape)
    (2, 3, 35, 4)
    """
    x = ops.convert_to_tensor(x)
    before = len(cells)
    # One reshape, with sizes that are not read off a reshaped tensor: exporters merge the others.
    x = ops.reshape(x, (-1, *cells, heads, x.shape[-1] // heads))
    return ops.transpose(x, (*range(before), before + 1, before, before + 2))


def join_heads(x: Tensor, cells: Sequence[Any]) -> Tensor:
    """The reverse of `split_heads`: `(B, …, heads, T, d)` → `(B, *cells, heads d)`.

    >>> tuple(join_heads(np.zeros((2, 3, 35, 4)), (7, 5)).shape)
    (2, 7, 5, 12)
    """
    x = ops.convert_to_tensor(x)
    before, width = len(x.shape) - 3, x.shape[-3] * x.shape[-1]
    x = ops.transpose(x, (*range(before), before + 1, before, before + 2))
    return ops.reshape(x, (-1, *cells, width))


def partition(x: Tensor, window: int, rows: Any, columns: Any) -> Tensor:
    """The windows of a map, row by row: `(B, H, W, C)` → `(B, n, window², C)`.

    Args:
        x: `(B, rows window, columns window, C)`.
        window: int.
        rows, columns: numbers of windows, ints or integer tensors.

    >>> x = np.arange(8.0).reshape(1, 2, 4, 1)
    >>> ops.convert_to_numpy(partition(x, 2, 1, 2))[0, :, :, 0].tolist()
    [[0.0, 1.0, 4.0, 5.0], [2.0, 3.0, 6.0, 7.0]]
    """
    x = ops.convert_to_tensor(x)
    channels = x.shape[-1]
    x = ops.reshape(x, (-1, rows, window, columns, window, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, rows * columns, window * window, channels))


def join_windows(x: Tensor, window: int, rows: Any, columns: Any) -> Tensor:
    """The reverse of `partition`: `(B, n, window², C)` → `(B, rows window, columns window, C)`.

    >>> x = np.arange(8.0).reshape(1, 2, 4, 1)
    >>> ops.convert_to_numpy(join_windows(partition(x, 2, 1, 2), 2, 1, 2)).ravel().tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    """
    channels = x.shape[-1]
    x = ops.reshape(x, (-1, rows, columns, window, window, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (-1, rows * window, columns * window, channels))


def shift_of(window: int, shift: int, height: Any, width: Any) -> Any:
    """The shift of windows on a map: none where one of them covers it in height or width.

    Args:
        window, shift: ints, side of the window and its shift on larger maps.
        height, width: sizes of the map, ints or integer tensors.

    >>> shift_of(7, 3, 14, 8), shift_of(7, 3, 14, 7)
    (3, 0)
    """
    if not shift:
        return 0
    if isinstance(height, int) and isinstance(width, int):
        return shift if min(height, width) > window else 0
    larger = [at_least(n - window, 0) for n in (height, width)]
    # 0 or 1 by arithmetic: comparisons of sizes that are traced have no form in some exports.
    return shift * ops.cast(ops.minimum(ops.minimum(*larger), 1), "int32")


def turn(x: Tensor, shift: Any) -> Tensor:
    """A map whose first rows and columns come last: cell `(i, j)` is `(i + shift, j + shift)`.

    Args:
        x: `(B, H, W, C)`.
        shift: int or integer tensor, negative for the reverse.

    >>> ops.convert_to_numpy(turn(np.arange(3.0).reshape(1, 1, 3, 1), 1)).ravel().tolist()
    [1.0, 2.0, 0.0]
    """
    if isinstance(shift, int):
        return ops.roll(x, (-shift, -shift), axis=(1, 2)) if shift else x
    for axis in (1, 2):
        size = ops.shape(x)[axis]
        # Not the remainder of a negative number: see `to_multiple`.
        index = (ops.arange(size, dtype="int32") + (size + shift)) % size
        x = take(x, index, axis)
    return x


def apart(window: int, shift: Any, rows: Any, columns: Any) -> Tensor:
    """A bias that keeps cells apart that only the shift brought into one window.

    Args:
        window: int.
        shift: int or integer tensor, see `turn`.
        rows, columns: numbers of windows.

    Returns:
        `(n, window², window²)`: 0, or -100 for two cells that are no neighbors on the map.

    >>> ops.convert_to_numpy(apart(2, 1, 1, 2))[:, 0].tolist()
    [[0.0, 0.0, -100.0, -100.0], [0.0, -100.0, -100.0, -100.0]]
    """

    def regions(size):
        place = ops.arange(size, dtype="int32")
        # 0, 1 in the last window, 2 for what comes from the other side.
        return sum(ops.cast(place >= size - n, "float32") for n in (window, shift))

    region = 3.0 * regions(rows * window)[:, None] + regions(columns * window)[None, :]
    region = partition(region[None, :, :, None], window, rows, columns)[0, :, :, 0]
    differs = ops.not_equal(region[:, :, None], region[:, None, :])
    return ops.where(differs, _APART, 0.0)


def relative_positions(window: int) -> np.ndarray:
    """The row of a table of `(2 window - 1)²` positions for every pair of cells of a window.

    Returns:
        ints of shape `(window², window²)`.

    >>> relative_positions(2)[0].tolist()
    [4, 3, 1, 0]
    """
    cells = np.stack(np.meshgrid(*[np.arange(window)] * 2, indexing="ij"), -1).reshape(-1, 2)
    down, right = np.moveaxis(cells[:, None] - cells[None] + window - 1, -1, 0)
    return (down * (2 * window - 1) + right).astype("int32")


def windows_of(size: Any, window: int) -> Any:
    """The number of windows along an axis, the last one perhaps beyond the map.

    >>> windows_of(9, 4)
    3
    """
    return (size + window - 1) // window


def pad_to_windows(x: Tensor, window: int) -> Tensor:
    """Grow H and W with zeros, at the bottom and the right, to multiples of the window.

    >>> tuple(pad_to_windows(np.zeros((1, 5, 8, 3)), 4).shape)
    (1, 8, 8, 3)
    """
    x = ops.convert_to_tensor(x)
    bottom, right = (to_multiple(n, window) for n in ops.shape(x)[1:3])
    if isinstance(bottom, int) and isinstance(right, int) and not (bottom or right):
        return x
    return pad_map(x, (0, bottom), (0, right))


def merge_patches(x: Tensor, factor: int) -> Tensor:
    """The cells of every patch of a map, one behind the other: fewer cells, more channels.

    Args:
        x: `(B, H, W, C)`, continued with zeros.
        factor: int >= 1, side of a patch.

    Returns:
        `(B, ceil(H / factor), ceil(W / factor), factor² C)`, the cells of a patch column by
        column.

    >>> y = merge_patches(np.array([[1.0, 2], [3, 4]]).reshape(1, 2, 2, 1), 2)
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [1.0, 3.0, 2.0, 4.0]
    """
    height, width = (windows_of(n, factor) for n in ops.shape(x)[1:3])
    x = pad_to_windows(x, factor)
    channels = x.shape[-1]
    x = ops.reshape(x, (-1, height, factor, width, factor, channels))
    x = ops.transpose(x, (0, 1, 3, 4, 2, 5))
    return ops.reshape(x, (-1, height, width, factor * factor * channels))

"""Max pooling with the positions of the maxima, and unpooling to these positions.

Both are static loops over the cells of a window, made of slices, comparisons and `where`, without
argmax or scatter. So they trace with unknown sizes, export, and differentiate on every backend.
PyTorch, which runs each step separately, uses its own pooling and scatters instead (see below).
"""

import itertools
from collections.abc import Sequence
from typing import Any

from keras import backend, ops

from keras_dense._types import ArrayLike, Sides, Tensor
from keras_dense.ops.image import as_float, at_least, pad_map


def max_pool_with_argmax(
    x: ArrayLike, size: Sequence[int], strides: Sequence[int], pads: Sides
) -> tuple[Tensor, Tensor]:
    """The largest cell of every window, and its index.

    As `torch.nn.functional.max_pool2d(return_indices=True)`: of equal maxima the first counts, row
    by row; a NaN is larger than all numbers, and the last NaN of a window counts. The gradient goes
    only to the cell with that index.

    Args:
        x: `(B, H, W, C)`, H and W may be unknown.
        size, strides: pairs of ints.
        pads: `((top, bottom), (left, right))`, cells that are never the maximum; fewer than a
            window has, so that every window has a cell on the map.

    Returns:
        `(values, indices)`, both `(B, h, w, C)`; indices are int32, `row * W + column` of the map
        without padding, for each channel.

    >>> import numpy as np
    >>> x = np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 5.0]]).reshape(1, 2, 3, 1)
    >>> y, indices = max_pool_with_argmax(x, (2, 2), (1, 1), ((0, 0), (0, 0)))
    >>> ops.convert_to_numpy(y).ravel().tolist(), ops.convert_to_numpy(indices).ravel().tolist()
    ([3.0, 5.0], [1, 5])
    """
    x = as_float(x)
    if _is_eager_torch():
        return _torch_pool(x, size, strides, pads)
    (k_h, k_w), (s_h, s_w) = size, strides
    height, width = ops.shape(x)[1:3]
    grown = _repeat_edges(x, pads, size)
    reach = [ops.shape(grown)[axis] - k + 1 for axis, k in ((1, k_h), (2, k_w))]
    # Rounded up; `-(-n // s)` would be rounded towards zero in ONNX.
    counts = [(n + s - 1) // s for n, s in zip(reach, strides, strict=True)]
    rows, columns = _corners(counts, strides, pads)
    best = where = None
    for a, b in itertools.product(range(k_h), range(k_w)):
        tap = grown[:, a : a + reach[0] : s_h, b : b + reach[1] : s_w]
        row = ops.clip(rows + a, 0, height - 1)
        place = row * width + ops.clip(columns + b, 0, width - 1)
        if best is None:
            best, where = tap, ops.zeros_like(tap, dtype="int32") + place
            continue
        wins = ops.logical_or(ops.greater(tap, best), ops.isnan(tap))
        best, where = ops.where(wins, tap, best), ops.where(wins, place, where)
    return best, where


def max_unpool(
    x: ArrayLike,
    indices: ArrayLike,
    size: Sequence[int],
    strides: Sequence[int],
    pads: Sides,
    height: Any,
    width: Any,
) -> Tensor:
    """Undo a max pooling: every value at the position of its maximum, zeros elsewhere.

    As `torch.nn.functional.max_unpool2d`. If windows overlap, several may have the same cell: the
    last counts, row by row (as in torch on the CPU), and the gradient goes to that window only, as
    is correct; torch gives it to all of them.

    Args:
        x: `(B, h, w, C)`, the values.
        indices: `(B, h, w, C)`, ints, from `max_pool_with_argmax` of a map of this height and
            width. Indices of another pooling give wrong results or an error of the backend.
        size, strides, pads: arguments of the pooling.
        height, width: of the result: ints, or integer scalars such as parts of `ops.shape(like)`.

    Returns:
        `(B, height, width, C)` in the dtype of `x`.

    >>> import numpy as np
    >>> x, indices = np.array([7.0, 8.0]).reshape(1, 1, 2, 1), np.array([4, 3]).reshape(1, 1, 2, 1)
    >>> y = max_unpool(x, indices, (2, 2), (2, 2), ((0, 0), (0, 0)), 2, 4)
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist()
    [[0.0, 0.0, 0.0, 8.0], [7.0, 0.0, 0.0, 0.0]]
    """
    x, indices = ops.convert_to_tensor(x), ops.cast(indices, "int32")
    if _is_eager_torch():
        overlap = any(k > s for k, s in zip(size, strides, strict=True))
        return _torch_unpool(x, indices, height, width, overlap)
    (k_h, k_w), (s_h, s_w), ((top, _), (left, _)) = size, strides, pads
    rows, columns = _corners(ops.shape(x)[1:3], strides, pads)
    where = indices - (rows * width + columns)  # a * width + b for cell (a, b) of a window
    # Blocks of s_h × s_w cells tile the padded map. A window begins in the block of its own number
    # and reaches over so many:
    over_h, over_w = -(-k_h // s_h), -(-k_w // s_w)
    blocks_h, blocks_w = (height + top + s_h - 1) // s_h, (width + left + s_w - 1) // s_w
    shape = ops.shape(x)
    around = (
        (over_h - 1, at_least(blocks_h - shape[1], 0)),
        (over_w - 1, at_least(blocks_w - shape[2], 0)),
    )
    x, where = _pad(x, around, 0), _pad(where, around, -1)

    def behind(i, j):
        """Values and places of the windows that begin i and j blocks before each block."""
        rows = slice(over_h - 1 - i, over_h - 1 - i + blocks_h)
        columns = slice(over_w - 1 - j, over_w - 1 - j + blocks_w)
        return x[:, rows, columns], where[:, rows, columns]

    # Reversed, as `cells` writes later windows of this list over earlier ones: the window that
    # begins the fewest blocks before, the last of the map, comes last.
    windows = [(i, j, *behind(i, j)) for i in range(over_h) for j in range(over_w)][::-1]
    nothing = ops.zeros_like(windows[0][2])

    def cells(u, v):
        """Cell (u, v) of every block."""
        y = nothing
        for i, j, value, place in windows:
            a, b = i * s_h + u, j * s_w + v
            if a < k_h and b < k_w:
                y = ops.where(ops.equal(place, a * width + b), value, y)
        return y

    y = _tiled([[cells(u, v) for v in range(s_w)] for u in range(s_h)], blocks_h, blocks_w)
    return y[:, top : top + height, left : left + width]


def _tiled(cells, rows, columns):
    """`(B, s_h rows, s_w columns, C)` from the maps `(B, rows, columns, C)` of each cell (u, v)."""
    s_h, s_w, channels = len(cells), len(cells[0]), cells[0][0].shape[-1]
    lines = [line[0] if s_w == 1 else ops.stack(line, axis=3) for line in cells]
    lines = [ops.reshape(line, (-1, rows, columns * s_w, channels)) for line in lines]
    if s_h == 1:
        return lines[0]
    return ops.reshape(ops.stack(lines, axis=2), (-1, rows * s_h, columns * s_w, channels))


def _corners(counts, strides, pads):
    """Row and column of the first cell of each window, shaped to be added to a map."""
    lines = [
        ops.arange(count, dtype="int32") * stride - before
        for count, stride, (before, _) in zip(counts, strides, pads, strict=True)
    ]
    return ops.reshape(lines[0], (1, -1, 1, 1)), ops.reshape(lines[1], (1, 1, -1, 1))


def _repeat_edges(x, pads, size):
    """A map padded with its edges: a window that extends beyond an edge contains that edge, too.

    So no maximum changes, and the first of equal maxima stays the first. Minus infinity would do
    for the values, but converters to ONNX turn `where` into a sum of products, and minus infinity
    times 0 is NaN.
    """
    for axis, ((before, after), k) in enumerate(zip(pads, size, strict=True), start=1):
        n, known = ops.shape(x)[axis], isinstance(before, int) and isinstance(after, int)
        if known and before == after == 0:
            continue
        first, last = (x[:, :1], x[:, -1:]) if axis == 1 else (x[:, :, :1], x[:, :, -1:])
        copies = (before, after) if known else (k - 1, k - 1)
        x = ops.concatenate([first] * copies[0] + [x] + [last] * copies[1], axis=axis)
        if not known:
            kept = slice(copies[0] - before, copies[0] + n + after)
            x = x[:, kept] if axis == 1 else x[:, :, kept]
    return x


def _pad(x, pads, fill):
    if all(isinstance(p, int) and p == 0 for pair in pads for p in pair):
        return x
    return pad_map(x, *pads, fill=fill)


def _is_eager_torch() -> bool:
    """True on PyTorch outside of exports; in an export the portable form can be written as ONNX."""
    if backend.backend() != "torch":
        return False
    import torch

    return not (torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export())


def _torch_pool(x, size, strides, pads):
    """PyTorch's own pooling, several times as fast as the loop is there (benchmarks/unpooling.py).

    The loop, which a compiler fuses to one pass over the map, takes dozens of passes in PyTorch.
    """
    import torch

    height, width = x.shape[1:3]
    (top, bottom), (left, right) = pads
    y, before = x.permute(0, 3, 1, 2), (top, left)
    if (top, left) == (bottom, right) and all(
        2 * p <= k for p, k in zip(before, size, strict=True)
    ):
        y, i = torch.nn.functional.max_pool2d(y, size, strides, before, return_indices=True)
    else:
        y = torch.nn.functional.pad(y, (left, right, top, bottom), value=float("-inf"))
        y, i = torch.nn.functional.max_pool2d(y, size, strides, return_indices=True)
        padded = left + width + right
        # A cell of the padding comes first only in a window of minus infinities.
        rows = torch.clamp(i // padded - top, min=0)
        i = rows * width + torch.clamp(i % padded - left, min=0)
    return y.permute(0, 2, 3, 1), i.permute(0, 2, 3, 1).to(torch.int32)


def _torch_unpool(x, indices, height, width, overlap):
    """A scatter for every image and channel that writes each cell once: deterministic also on GPUs.

    PyTorch's own unpooling gives the gradient to all windows with the same cell.
    """
    import torch

    batch, channels = x.shape[0], x.shape[3]
    shape = (batch, height * width, channels)
    cells, values = (t.reshape(batch, -1, channels) for t in (indices.long(), x))
    if overlap:
        number = torch.arange(cells.shape[1], device=x.device).reshape(1, -1, 1).expand_as(cells)
        last = number.new_full(shape, -1).scatter_reduce(1, cells, number, "amax")
        values = torch.where(last.gather(1, cells) == number, values, 0)
    return (
        values.new_zeros(shape)
        .scatter_add(1, cells, values)
        .reshape(batch, height, width, channels)
    )

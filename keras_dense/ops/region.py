"""Windows over some cells of a map: a list of cells, and a table of their neighbors.

A list `(N, C)` holds some cells of a batch of maps. A table `(N, taps)` names for each of them the
rows of the list that its window covers: row `r` as `r + 2`, a cell that is on the map but not in
the list as `LEFT`, a cell beyond the border as `OUTSIDE`. So `N` can be any number, and time and
memory are proportional to it. For example, cells 0 and 2 of a row of three, and windows of three:

    map       [ a | · | b ]
    list      a, b            rows 0 and 1, written 2 and 3
    table     [OUTSIDE, 2, LEFT], [LEFT, 3, OUTSIDE]
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Array, ArrayLike, Sides, Tensor

LEFT, OUTSIDE = 0, 1
_SPECIAL = 2


def neighbors(
    mask: Array,
    kernel_size: Sequence[int],
    rate: Sequence[int] = (1, 1),
    pads: Sides = ((0, 0), (0, 0)),
    zeros: bool = False,
    rows: int | None = None,
) -> Array:
    """The table of neighbors for the cells where a mask is true, in NumPy.

    Args:
        mask: `(B, H, W)`, bool: the cells in the list, in row-major order.
        kernel_size, rate: pairs of ints.
        pads: `((top, bottom), (left, right))`, cells around the map.
        zeros: bool; cells around the map are zeros, as for a convolution.
        rows: int, length of the list if it has more rows than cells; the windows of these rows are
            empty.

    Returns:
        int32 `(rows, k_h k_w)`.

    >>> neighbors(np.array([[[True, False, True]]]), (1, 3), pads=((0, 0), (1, 1))).tolist()
    [[1, 2, 0], [0, 3, 1]]
    """
    batch, height, width = mask.shape
    table = np.where(mask, np.cumsum(mask).reshape(mask.shape) + _SPECIAL - 1, LEFT)
    table = np.pad(table, ((0, 0), *pads), constant_values=LEFT if zeros else OUTSIDE)
    image, row, column = np.nonzero(mask)
    # A row for each tap, so that the cells of a tap are fetched from a map in order.
    taps = [
        table[image, row + a * rate[0], column + b * rate[1]]
        for a in range(kernel_size[0])
        for b in range(kernel_size[1])
    ]
    found = np.stack(taps, axis=1) if len(image) else np.zeros((0, len(taps)))
    more = (len(image) if rows is None else rows) - len(image)
    return np.pad(found, ((0, more), (0, 0)), constant_values=LEFT).astype("int32")


def rows_for(count: int) -> int:
    """The length of a list for a number of cells.

    JAX compiles again for every length, so on JAX lengths grow in steps of a quarter.

    >>> rows_for(1000) >= 1000
    True
    """
    if keras.backend.backend() != "jax":
        return count
    step = 2 ** max(int(count).bit_length() - 3, 5)
    return -(-count // step) * step


def _windows(x, table, left=0.0, outside=0.0):
    """`(N, taps, C)`: the cells that each window covers."""
    special = ops.concatenate([ops.full_like(x[:1], left), ops.full_like(x[:1], outside)])
    return ops.take(ops.concatenate([special, x]), table, axis=0)


def region_conv(x: ArrayLike, table: ArrayLike | None, kernel: ArrayLike) -> Tensor:
    """Convolution at the cells of a list; cells not in the list count as zero.

    Args:
        x: `(N, C)`.
        table: `(N, k_h k_w)` from `neighbors`; `None` for a kernel of one cell.
        kernel: `(k_h, k_w, C / groups, filters)`; its shape gives the number of groups.

    Returns:
        `(N, filters)`.

    >>> x = np.array([[1.0], [5.0]], "float32")  # the cells 0 and 2 of three
    >>> table = neighbors(np.array([[[True, False, True]]]), (1, 3), (1, 1), ((0, 0), (1, 1)))
    >>> y = region_conv(x, table, np.ones((1, 3, 1, 1), "float32"))
    >>> ops.convert_to_numpy(y).tolist()
    [[1.0], [5.0]]
    """
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    kernel = ops.cast(kernel, x.dtype)
    taps, depth, filters = kernel.shape[0] * kernel.shape[1], kernel.shape[2], kernel.shape[3]
    groups = x.shape[-1] // depth
    if depth == 1 and groups > 1:
        return _one_by_one(x, table, ops.reshape(kernel, (taps, filters)))
    seen = ops.expand_dims(x, 1) if table is None else _windows(x, table)
    if groups == 1:
        kernel = ops.reshape(kernel, (taps * depth, filters))
        return ops.matmul(ops.reshape(seen, (-1, taps * depth)), kernel)
    seen = ops.reshape(seen, (-1, taps, groups, depth))
    kernel = ops.reshape(kernel, (taps, depth, groups, filters // groups))
    return ops.reshape(ops.einsum("ntgd,tdgf->ngf", seen, kernel), (-1, filters))


def _one_by_one(x, table, kernel):
    """Depthwise, tap by tap: all windows at once are slower, on JAX 15 times."""
    multiplier = kernel.shape[1] // x.shape[1]
    if multiplier > 1:
        x = ops.repeat(x, multiplier, axis=1)
    if table is None:
        return x * kernel[0]
    x = ops.concatenate([ops.zeros_like(x[:1]), ops.zeros_like(x[:1]), x])
    total = 0.0
    for tap in range(kernel.shape[0]):
        total = total + ops.take(x, table[:, tap], axis=0) * kernel[tap]
    return total


def region_depthwise_conv(x: ArrayLike, table: ArrayLike | None, kernel: Tensor) -> Tensor:
    """Depthwise convolution at the cells of a list; cells not in the list count as zero.

    Args:
        x: `(N, C)`.
        table: `(N, k_h k_w)` from `neighbors`; `None` for a kernel of one cell.
        kernel: `(k_h, k_w, C, multiplier)`.

    Returns:
        `(N, multiplier C)`.

    >>> x = np.array([[1.0, 2.0]], "float32")
    >>> ops.convert_to_numpy(region_depthwise_conv(x, None, np.ones((1, 1, 2, 1)))).tolist()
    [[1.0, 2.0]]
    """
    shape = (*kernel.shape[:2], 1, kernel.shape[2] * kernel.shape[3])
    return region_conv(x, table, ops.reshape(kernel, shape))


def region_max(x: ArrayLike, table: ArrayLike) -> Tensor:
    """The maximum of each window; cells not in the list count as zero, cells outside do not count.

    >>> x = np.array([[-1.0], [-5.0]], "float32")
    >>> y = region_max(x, np.array([[1, 2, 3], [2, 3, 0]]))
    >>> ops.convert_to_numpy(y).tolist()
    [[-1.0], [0.0]]
    """
    return ops.max(_windows(ops.convert_to_tensor(x), table, outside=float("-inf")), axis=1)


def region_mean(x: ArrayLike, table: ArrayLike) -> Tensor:
    """The mean of each window over its cells on the map; cells not in the list count as zero.

    >>> y = region_mean(np.array([[2.0], [4.0]], "float32"), np.array([[1, 2, 3], [2, 3, 0]]))
    >>> ops.convert_to_numpy(y).tolist()
    [[3.0], [2.0]]
    """
    x = ops.convert_to_tensor(x)
    count = ops.sum(ops.cast(ops.not_equal(table, OUTSIDE), x.dtype), axis=1, keepdims=True)
    return ops.sum(_windows(x, table), axis=1) / ops.maximum(count, 1)


def pool_rows(x: ArrayLike, group: ArrayLike, groups: Any, mode: str = "mean") -> Tensor:
    """The mean or maximum of the rows of each group; 0 for a group without rows.

    Args:
        x: `(N, C)`.
        group: `(N,)`, int: the group of each row.
        groups: int or integer scalar, how many groups.
        mode: "mean" or "max".

    Returns:
        `(groups, C)`.

    >>> y = pool_rows(np.array([[1.0], [3.0], [5.0]], "float32"), np.array([0, 0, 2]), 3)
    >>> ops.convert_to_numpy(y).tolist()
    [[2.0], [0.0], [5.0]]
    """
    x = ops.convert_to_tensor(x)
    member = ops.equal(ops.expand_dims(ops.arange(groups, dtype="int32"), 1), group)
    if mode == "max":
        best = ops.max(ops.where(ops.expand_dims(member, -1), x, float("-inf")), axis=1)
        return ops.where(ops.any(member, axis=1, keepdims=True), best, 0.0)
    member = ops.cast(member, "float32")
    total = ops.matmul(member, ops.cast(x, "float32"))
    mean = total / ops.maximum(ops.sum(member, axis=1, keepdims=True), 1.0)
    return ops.cast(mean, x.dtype)

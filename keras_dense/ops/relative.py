"""Positions of the keys relative to the queries, in attention over the cells of a map."""

from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.image import take
from keras_dense.ops.resize import resize_bilinear


def _table(stored, cells):
    """`(cells, cells, C)`: the vector of each query and key, by their distance."""
    wanted = 2 * cells - 1
    if not (isinstance(cells, int) and stored.shape[0] == wanted):
        exact = ops.reshape(ops.cast(stored, "float32"), (1, 1, *stored.shape))
        # Rows are one cell wide: of one cell, interpolation makes the same.
        stored = ops.cast(resize_bilinear(exact, 1, wanted)[0, 0], stored.dtype)
    place = ops.arange(cells, dtype="int32")
    distance = ops.expand_dims(place, 1) - ops.expand_dims(place, 0) + (cells - 1)
    rows = take(stored, ops.reshape(distance, (-1,)), 0)
    return ops.reshape(rows, (cells, cells, stored.shape[-1]))


def relative_positions(query: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Summand of the product of a query and a key in attention, by their places on the map.

    The sum of two products, of the query with a vector for the distance in rows and one for that in
    columns. Vectors are stored for the distances from `1 - n` to `n - 1` of one size of map, and
    interpolated linearly for others, as `torch.nn.functional.interpolate(mode="linear")` does.

    Args:
        query: `(B, H, W, heads, C)`, H and W may be unknown.
        rows, columns: `(2 n - 1, C)`.

    Returns:
        `(B, heads, H W, H W)`, in the dtype of the query.

    Reference: Li et al., "MViTv2", CVPR 2022, section 4.1.

    >>> import numpy as np
    >>> query, table = np.ones((1, 1, 2, 1, 1)), np.array([[1.0], [0.0], [5.0]])
    >>> y = relative_positions(query, np.zeros((1, 1)), table)
    >>> ops.convert_to_numpy(y)[0, 0].tolist()
    [[0.0, 1.0], [5.0, 0.0]]
    """
    query = ops.convert_to_tensor(query)
    height, width, heads = ops.shape(query)[1:4]
    by_row, by_column = (
        _table(ops.cast(ops.convert_to_tensor(stored), query.dtype), cells)
        for stored, cells in ((rows, height), (columns, width))
    )
    by_row = ops.einsum("bhwnc,hkc->bnhwk", query, by_row)
    by_column = ops.einsum("bhwnc,wkc->bnhwk", query, by_column)
    total = ops.expand_dims(by_row, -1) + ops.expand_dims(by_column, -2)
    count = height * width
    return ops.reshape(total, (-1, heads, count, count))

"""Rows of a table by their numbers: read, add to, set. All numbers must be in range.

`ops.take` and `ops.segment_*` also handle negative and missing numbers, which doubles their time
(and on torch `ops.segment_min` computes in float32).
"""

from typing import Any

import keras
from keras import ops

from keras_dense._types import ArrayLike, Tensor


def take_rows(x: ArrayLike, numbers: ArrayLike) -> Tensor:
    """`x[numbers]`.

    >>> import numpy as np
    >>> ops.convert_to_numpy(take_rows(np.array([5, 6, 7]), np.array([2, 0]))).tolist()
    [7, 5]
    """
    x, numbers = ops.convert_to_tensor(x), ops.convert_to_tensor(numbers)
    backend = keras.backend.backend()
    if backend == "jax":
        return x.at[numbers].get(mode="promise_in_bounds")
    if backend == "torch":
        return x[numbers]
    import tensorflow as tf

    return tf.gather(x, numbers)


def weighted_rows(x: ArrayLike, numbers: ArrayLike, weights: ArrayLike) -> Tensor:
    """The sum over k of `weights[:, k] * x[numbers[:, k]]`.

    Args:
        x: `(R, C)` floats.
        numbers: int32 `(N, K)`.
        weights: `(N, K)`, of the type of `x`.

    Returns:
        `(N, C)`.

    >>> import numpy as np
    >>> x = np.array([[1.0], [2.0]], "float32")
    >>> y = weighted_rows(x, np.array([[0, 1], [1, 1]]), np.full((2, 2), 0.5, "float32"))
    >>> ops.convert_to_numpy(y).tolist()
    [[1.5], [2.0]]
    """
    x, numbers = ops.convert_to_tensor(x), ops.convert_to_tensor(numbers)
    weights = ops.convert_to_tensor(weights)
    if keras.backend.backend() == "torch":  # 3 to 10 times as fast as indexing
        from torch.nn.functional import embedding_bag

        return embedding_bag(numbers, x, mode="sum", per_sample_weights=weights)
    out = 0.0
    for k in range(numbers.shape[1]):
        # Not `[:, k, None]`: with one channel TensorFlow's graph optimizer makes a square of it.
        out = out + take_rows(x, numbers[:, k]) * weights[:, k : k + 1]
    return out


def spreading(numbers: Tensor, weights: Tensor, rows: int) -> tuple[Tensor, ...]:
    """The plan for `spread`, computed once: tensors.

    Args:
        numbers: int32 `(N, K)`.
        weights: `(N, K)`.
        rows: int, rows of the result.
    """
    if keras.backend.backend() != "torch":
        return numbers, weights
    import torch

    # Sorted by rows, the terms of every row are contiguous: some 40 times as fast.
    numbers = torch.as_tensor(numbers)
    ordered, order = torch.sort(numbers.reshape(-1), stable=True)
    every = torch.arange(rows, dtype=ordered.dtype, device=ordered.device)
    begins = torch.searchsorted(ordered, every)
    weights = torch.as_tensor(weights).reshape(-1)[order]
    return (order // numbers.shape[1]).int(), weights, begins.int()


def spread(values: ArrayLike, plan: tuple[Tensor, ...], rows: int) -> Tensor:
    """Each value, with weights, added to several rows: the transpose of `weighted_rows`.

    Args:
        values: `(N, C)` floats.
        plan: the result of `spreading`.
        rows: int, the same as for `spreading`.

    Returns:
        `(rows, C)`.

    >>> import numpy as np
    >>> plan = spreading(np.array([[0, 1]], "int32"), np.array([[0.25, 0.75]], "float32"), 3)
    >>> ops.convert_to_numpy(spread(np.array([[4.0]], "float32"), plan, 3)).tolist()
    [[1.0], [3.0], [0.0]]
    """
    values = ops.convert_to_tensor(values)
    backend = keras.backend.backend()
    if backend == "torch":
        from torch.nn.functional import embedding_bag

        source, weights, begins = plan
        weights = weights.to(values.dtype)
        return embedding_bag(source, values, begins, mode="sum", per_sample_weights=weights)
    numbers, weights = (ops.transpose(part) for part in plan)
    weights = ops.expand_dims(ops.cast(weights, values.dtype), -1)

    def add(k, x):
        to, more = take_rows(numbers, k), values * take_rows(weights, k)
        if backend == "jax":
            return x.at[to].add(more, mode="promise_in_bounds")
        import tensorflow as tf

        return tf.tensor_scatter_nd_add(x, to[:, None], more)

    # A loop: on JAX it takes a third of the time of six sums one after the other.
    empty = ops.zeros((rows, values.shape[-1]), values.dtype)
    return ops.fori_loop(0, numbers.shape[0], add, empty)


def set_rows(x: ArrayLike, numbers: ArrayLike, values: ArrayLike) -> Tensor:
    """`x` with some entries set; if a number occurs several times, any of its values.

    >>> import numpy as np
    >>> ops.convert_to_numpy(set_rows(np.zeros(3), np.array([2, 0]), np.array([7.0, 5.0]))).tolist()
    [5.0, 0.0, 7.0]
    """
    x, numbers = ops.convert_to_tensor(x), ops.convert_to_tensor(numbers)
    backend = keras.backend.backend()
    if backend == "jax":
        return x.at[numbers].set(values, mode="promise_in_bounds")
    if backend == "torch":
        return x.index_put((numbers,), ops.convert_to_tensor(values))
    import tensorflow as tf

    return tf.tensor_scatter_nd_update(x, numbers[:, None], values)


def smallest(values: ArrayLike, numbers: ArrayLike, rows: int, otherwise: Any) -> Tensor:
    """The smallest of the int32 values in each row, or `otherwise`, which must not be below any.

    >>> import numpy as np
    >>> values, numbers = np.array([7, 5, 6], "int32"), np.array([1, 1, 0], "int32")
    >>> ops.convert_to_numpy(smallest(values, numbers, 3, 9)).tolist()
    [6, 5, 9]
    """
    values, numbers = ops.convert_to_tensor(values), ops.convert_to_tensor(numbers)
    x = ops.full((rows,), otherwise, dtype="int32")
    backend = keras.backend.backend()
    if backend == "jax":
        return x.at[numbers].min(values, mode="promise_in_bounds")
    if backend == "torch":
        return x.scatter_reduce(0, numbers.long(), values, "amin")
    import tensorflow as tf

    return tf.tensor_scatter_nd_min(x, numbers[:, None], values)


def exact_size(count: Tensor, bound: Any) -> Any:
    """`count` as an int if it is known, outside of compiled functions; else `bound`.

    >>> import numpy as np
    >>> exact_size(ops.convert_to_tensor(np.array(3)), 10)
    3
    """
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return bound if isinstance(count, jax.core.Tracer) else int(count)
    if backend == "torch":
        import torch

        exporting = torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export()
        return bound if exporting else int(count)
    import tensorflow as tf

    return int(count) if tf.executing_eagerly() else bound

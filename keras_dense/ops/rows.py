"""Rows of a table by their numbers: taken, added to, set. All numbers are in range.

`ops.take` and `ops.segment_*` serve negative and missing numbers, too, which costs as much again
(and on torch `ops.segment_min` counts in float32).
"""

import keras
from keras import ops


def take_rows(x, numbers):
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


def add_rows(x, numbers, values):
    """`x` with values added to some rows; to one row, any number of times.

    >>> import numpy as np
    >>> x = add_rows(np.zeros((2, 1), "float32"), np.array([1, 1]), np.ones((2, 1), "float32"))
    >>> ops.convert_to_numpy(x).tolist()
    [[0.0], [2.0]]
    """
    x, numbers = ops.convert_to_tensor(x), ops.convert_to_tensor(numbers)
    backend = keras.backend.backend()
    if backend == "jax":
        return x.at[numbers].add(values, mode="promise_in_bounds")
    if backend == "torch":
        return x.index_add(0, numbers, ops.convert_to_tensor(values))
    import tensorflow as tf

    return tf.tensor_scatter_nd_add(x, numbers[:, None], values)


def set_rows(x, numbers, values):
    """`x` with some entries set; where several are set, any of them.

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


def smallest(values, numbers, rows, otherwise):
    """The smallest of the int32 values in each row, or `otherwise`, which is not below any.

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


def exact_size(count, bound):
    """`count` as an int where it can be had, as where nothing is compiled; else `bound`.

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

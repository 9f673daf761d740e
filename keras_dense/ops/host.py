"""NumPy functions within compiled graphs."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Array, Tensor


def on_host(
    function: Callable[..., Array], inputs: Sequence[Tensor], shape: Sequence[Any], name: str
) -> Tensor:
    """The result of a NumPy function of tensors; inside a graph, it is called when the graph runs.

    There is no gradient. PyTorch and JAX run it in any graph. TensorFlow cannot call Python from
    XLA, by which Keras compiles models on its own account: its error then names the node, and so
    `name` says what to do.

    Args:
        function: from arrays to a float32 array of `shape`; it must not change its arguments.
        inputs: tensors.
        shape: shape of the result, with ints or integer tensors.
        name: str of letters, digits and underscores.

    >>> doubled = on_host(lambda x: 2 * x, [ops.ones(3)], (3,), "doubled")
    >>> ops.convert_to_numpy(doubled).tolist()
    [2.0, 2.0, 2.0]
    """

    def run(*arrays):
        return np.asarray(function(*map(np.asarray, arrays)), "float32")

    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        if any(isinstance(x, jax.core.Tracer) for x in inputs):
            return jax.pure_callback(run, jax.ShapeDtypeStruct(tuple(shape), "float32"), *inputs)
    if backend == "tensorflow":
        import tensorflow as tf

        if not tf.executing_eagerly():
            found = tf.numpy_function(run, list(inputs), tf.float32, stateful=False, name=name)
            return tf.ensure_shape(found, [d if isinstance(d, int) else None for d in shape])
    if backend == "torch" and any(x.is_meta for x in inputs):
        # Keras only asks for the shape.
        return ops.zeros(tuple(shape), dtype="float32")
    return ops.convert_to_tensor(run(*map(ops.convert_to_numpy, inputs)), dtype="float32")

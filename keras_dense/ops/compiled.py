"""Functions outside any model, compiled where the backend compiles."""

import functools

import keras
import numpy as np

# Sizes are made multiples of that, so that pictures of many sizes share what was compiled.
_GRID = 16


def compiled(function):
    """The function, compiled once for the shapes of its arguments and for its keywords.

    Args:
        function: from tensors (or tuples of them) to tensors; keywords are Python values that can
            be hashed. On torch it runs as it is, without gradients.

    >>> scaled = compiled(lambda x, *, factor: x * factor)
    >>> keras.ops.convert_to_numpy(scaled(np.ones(2, "float32"), factor=3)).tolist()
    [3.0, 3.0]
    """
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        def run(*args, **settings):
            with torch.no_grad():
                return function(*args, **settings)

        return functools.wraps(function)(run)
    if backend == "jax":
        import inspect

        import jax

        parameters = inspect.signature(function).parameters.values()
        static = [p.name for p in parameters if p.kind == p.KEYWORD_ONLY]
        return jax.jit(function, static_argnames=static)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def pad_to_grid(*maps):
    """Maps `(B, H, W, …)` of one size, their edges repeated until sizes are worth compiling for.

    >>> pad_to_grid(np.ones((1, 20, 16, 3)))[0].shape in ((1, 20, 16, 3), (1, 32, 16, 3))
    True
    """
    if keras.backend.backend() == "torch":
        return maps
    height, width = maps[0].shape[1:3]
    more = ((0, 0), (0, -height % _GRID), (0, -width % _GRID))
    return tuple(np.pad(x, more + ((0, 0),) * (x.ndim - 3), "edge") for x in maps)

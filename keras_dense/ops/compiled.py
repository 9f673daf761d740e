"""Compilation of functions outside of models, on the backends that compile."""

import functools
from collections.abc import Callable

import keras
import numpy as np

from keras_dense._types import Array

# Sizes are padded to multiples of this, so that images of many sizes share compiled functions.
_GRID = 16


def compiled(function: Callable) -> Callable:
    """A function compiled once for each set of argument shapes and keywords.

    Args:
        function: from tensors (or tuples of them) to tensors; keywords are hashable Python values.
            On torch it runs as it is, without gradients.

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
        import jax

        @functools.cache
        def with_settings(settings):
            return jax.jit(functools.partial(function, **dict(settings)))

        return lambda *args, **settings: with_settings(tuple(sorted(settings.items())))(*args)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def pad_to_grid(*maps: Array) -> tuple[Array, ...]:
    """Maps `(B, H, W, …)` of one size, with edges repeated to one of few sizes for compilation.

    >>> pad_to_grid(np.ones((1, 20, 16, 3)))[0].shape in ((1, 20, 16, 3), (1, 32, 16, 3))
    True
    """
    if keras.backend.backend() == "torch":
        return maps
    height, width = maps[0].shape[1:3]
    more = ((0, 0), (0, -height % _GRID), (0, -width % _GRID))
    return tuple(np.pad(x, more + ((0, 0),) * (x.ndim - 3), "edge") for x in maps)

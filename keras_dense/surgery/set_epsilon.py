"""Another epsilon for the batch norms of a network."""

from typing import Any

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Nested
from keras_dense.surgery.graph import rebuild
from keras_dense.surgery.pad_symmetrically import Rewrite


def with_epsilon(epsilon: float) -> Rewrite:
    """The rewriting of `set_epsilon`, for `rebuild`."""

    def rewrite(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Nested | None:
        op = node.operation
        if isinstance(op, layers.BatchNormalization):
            return copies(op, *args, config={"epsilon": epsilon}, **kwargs)
        return None

    return rewrite


def set_epsilon(model: keras.Model, epsilon: float, *, name: str | None = None) -> keras.Model:
    """A network whose batch norms add `epsilon` to the variance, with the same weights.

    It belongs to the weights: Keras adds 1e-3, PyTorch 1e-5. Where channels vary little, the
    difference is large.

    Args:
        model: functional `keras.Model`, nested models included.
        epsilon: float >= 0.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` with the output structure of `model`, with copies of the weights.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a negative `epsilon`.

    >>> model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization()])
    >>> set_epsilon(model, 1e-5).layers[-1].epsilon
    1e-05
    """
    return rebuild(model, with_epsilon(_check.number(epsilon, "epsilon", low=0)), name=name)

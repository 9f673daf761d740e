"""Batch normalization by one operation during training."""

import types
from typing import Any

import keras
from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.batch_norm import normalize_batch
from keras_dense.training.batch_norm import batch_norms


def fuse_batch_norm(model: keras.Model) -> int:
    """Let every `BatchNormalization` of a model train by one operation of the backend.

    The numbers stay the same, up to rounding: outputs, gradients, moving averages. On TensorFlow
    and PyTorch, where Keras computes statistics and normalization one after the other, a training
    step takes less time (docs/training.md has figures); JAX fuses operations by itself, and nothing
    changes there. Predictions, weights and `.keras` files are those of Keras; a loaded model trains
    as Keras does until this is called again. Call it before `compile`.

    On several devices or processes, statistics are those that Keras would use (docs/scale.md).

    Layers that are synchronized between devices, renormalized, without scale or offset, or not over
    the last of four axes stay as they are.

    Args:
        model: a Keras model, changed in place.

    Returns:
        The number of changed layers.

    Raises:
        TypeError: if `model` is not a Keras layer or model.

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> fuse_batch_norm(model)
    1
    """
    layers = [layer for layer in batch_norms(model) if _fits(layer)]
    for layer in layers:
        layer.call = types.MethodType(_call, layer)
    return len(layers)


def _fits(layer: Any) -> bool:
    return (
        type(layer).call is keras.layers.BatchNormalization.call
        and layer.input_spec is not None
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and not layer.synchronized
        and not layer.renorm
    )


def _call(self: Any, inputs: Tensor, training: bool | None = None, mask: Any = None) -> Tensor:
    """Replace `BatchNormalization.call`."""
    symbolic = isinstance(inputs, keras.KerasTensor)
    if not training or not self.trainable or mask is not None or symbolic:
        return type(self).call(self, inputs, training=training, mask=mask)
    gamma, beta = ops.cast(self.gamma, "float32"), ops.cast(self.beta, "float32")
    y, mean, variance = normalize_batch(inputs, gamma, beta, self.epsilon)
    for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
        old = ops.cast(average, "float32")
        average.assign(old * self.momentum + new * (1.0 - self.momentum))
    return ops.cast(y, self.compute_dtype)

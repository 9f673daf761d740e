"""Normalization of a batch by its own statistics, in one operation where the backend has one."""

import keras
from keras import ops

from keras_dense._types import Tensor


def normalize_batch(
    x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalize each channel by its mean and variance over the batch, then scale and shift it.

    Keras computes statistics and normalization by operations of their own, each with a pass over
    the map and its gradient. TensorFlow and PyTorch have one operation for all of it. JAX fuses the
    parts by itself.

    Args:
        x: `(B, H, W, C)`, float.
        gamma, beta: `(C,)`, float32 (float64 if `x` is), scale and offset.
        epsilon: float, added to the variance.

    Returns:
        The normalized map in the dtype of `x`, and the mean and the (biased) variance `(C,)` in
        the dtype of `gamma`, which pass no gradient on.

    >>> import numpy as np
    >>> x = np.array([1.0, 3.0], "float32").reshape(1, 1, 2, 1)
    >>> y, mean, variance = normalize_batch(x, np.ones(1, "float32"), np.zeros(1, "float32"), 0.0)
    >>> float(y[0, 0, 1, 0]), float(mean[0]), float(variance[0])
    (1.0, 2.0, 1.0)
    """
    x = ops.convert_to_tensor(x)
    gamma, beta = ops.convert_to_tensor(gamma), ops.convert_to_tensor(beta)
    name, wide = keras.backend.backend(), keras.backend.standardize_dtype(gamma.dtype)
    portable = name not in ("tensorflow", "torch") or (name == "tensorflow" and wide == "float64")
    if isinstance(x, keras.KerasTensor) or portable:
        return normalize_batch_by_parts(x, gamma, beta, epsilon)
    if name == "torch":
        import torch

        channels_first = x.permute(0, 3, 1, 2)  # a view: no copy, and none back
        y, mean, inverse = torch.native_batch_norm(
            channels_first, gamma, beta, None, None, True, 0.0, epsilon
        )
        variance = inverse.detach().to(gamma.dtype) ** -2 - epsilon
        return y.permute(0, 2, 3, 1), mean.detach().to(gamma.dtype), variance
    import tensorflow as tf

    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(
        x, gamma, beta, epsilon=epsilon, is_training=True
    )
    count = tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), "float32")
    variance = variance * (count - 1.0) / count  # It comes as the unbiased one.
    return y, tf.stop_gradient(mean), tf.stop_gradient(variance)


def normalize_batch_by_parts(
    x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """`normalize_batch` on every backend, computed in the dtype of `gamma`, as Keras does.

    >>> import numpy as np
    >>> x = np.array([1.0, 3.0], "float32").reshape(1, 1, 2, 1)
    >>> ones = np.ones(1, "float32")
    >>> float(normalize_batch_by_parts(x, 2 * ones, ones, 0.0)[0][0, 0, 0, 0])
    -1.0
    """
    wide = ops.cast(x, gamma.dtype)
    mean, variance = ops.moments(wide, axes=(0, 1, 2))
    y = ops.batch_normalization(wide, mean, variance, -1, beta, gamma, epsilon)
    return ops.cast(y, x.dtype), ops.stop_gradient(mean), ops.stop_gradient(variance)

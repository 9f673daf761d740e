"""Keras' own layers, computed by the fastest operations of the backend."""

import types
import weakref
from collections.abc import Callable
from typing import Any

import keras
from keras import layers, ops

from keras_dense._types import Tensor
from keras_dense.layers import AtrousConv2D
from keras_dense.ops.atrous import atrous_conv, atrous_depthwise_conv
from keras_dense.ops.batch_norm import normalize_batch
from keras_dense.ops.transposed import conv_transpose


def accelerate(model: keras.Model) -> int:
    """Let the layers of Keras in a model compute by faster operations of the backend.

    The numbers stay the same, up to rounding: outputs, gradients, moving averages; so do
    configurations, weights and `.keras` files. All networks of keras_dense are accelerated when
    they are built. Call this for a network of your own, and after `keras.saving.load_model`.

    | backend | layers | instead |
    |---|---|---|
    | PyTorch | convolutions, pooling | no copies of maps and kernels, which Keras 3.15 makes |
    | PyTorch, TensorFlow | `BatchNormalization` in training | one operation |
    | JAX, on the CPU | depthwise convolutions | sums of shifted maps |

    docs/benchmarks.md has the times. On several devices or processes, statistics of batch norms are
    those that Keras would use (docs/scale.md). Subclasses of the layers, layers whose `call` was
    replaced, channels-first layers, and batch normalization that is synchronized between devices,
    renormalized, or without scale or offset stay as they are.

    Args:
        model: a Keras model or layer, changed in place.

    Returns:
        The number of accelerated layers.

    Raises:
        TypeError: if `model` is not a Keras layer or model.

    >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.BatchNormalization()])
    >>> accelerate(model) == (keras.backend.backend() != "jax")
    True
    """
    if not isinstance(model, keras.Layer):
        raise TypeError(f"`model` must be a Keras model. Received: model={model!r}")
    kinds = _replacements()
    changed = [
        layer
        for layer in _inside(model)
        if type(layer) in kinds and "call" not in vars(layer) and _fits(layer)
    ]
    for layer in changed:
        layer.call = types.MethodType(kinds[type(layer)], layer)
    if keras.backend.backend() == "torch":
        _lay_out(model)
    return len(changed)


def _replacements() -> dict[type, Callable]:
    """The calls that replace those of Keras, for each type of layer."""
    name = keras.backend.backend()
    separate = {layers.DepthwiseConv2D: _depthwise, layers.SeparableConv2D: _separable}
    if name == "jax":
        return separate
    if name == "tensorflow":
        return {layers.BatchNormalization: _normalization}
    if name == "torch":
        pooling = {layers.MaxPooling2D: _pooling, layers.AveragePooling2D: _pooling}
        normal = {layers.BatchNormalization: _normalization}
        dense = {layers.Conv2D: _convolution, layers.Conv2DTranspose: _transposed}
        return {**dense, **separate, **pooling, **normal}
    return {}


def _fits(layer: Any) -> bool:
    if not isinstance(layer, layers.BatchNormalization):
        return layer.data_format == "channels_last"
    return (
        layer.input_spec is not None
        and layer.input_spec.ndim == 4
        and layer.axis in (-1, 3)
        and layer.scale
        and layer.center
        and not layer.synchronized
        and not layer.renorm
    )


def _settings(layer: Any) -> dict[str, Any]:
    return {"rate": layer.dilation_rate, "strides": layer.strides, "padding": layer.padding}


def _activated(layer: Any, x: Tensor) -> Tensor:
    return x if layer.activation is None else layer.activation(x)


def _convolution(self: Any, inputs: Tensor) -> Tensor:
    """Replace `Conv2D.call`."""
    _watch(self)
    return _activated(self, atrous_conv(inputs, self.kernel, bias=self.bias, **_settings(self)))


def _depthwise(self: Any, inputs: Tensor) -> Tensor:
    """Replace `DepthwiseConv2D.call`."""
    x = atrous_depthwise_conv(inputs, self.kernel, bias=self.bias, **_settings(self))
    return _activated(self, x)


def _separable(self: Any, inputs: Tensor) -> Tensor:
    """Replace `SeparableConv2D.call`."""
    x = atrous_depthwise_conv(inputs, self.depthwise_kernel, **_settings(self))
    return _activated(self, atrous_conv(x, self.pointwise_kernel, bias=self.bias))


def _transposed(self: Any, inputs: Tensor) -> Tensor:
    """Replace `Conv2DTranspose.call`, where its output is strides times its input."""
    exact = self.padding == "same" or self.kernel_size == self.strides
    if not exact or self.output_padding is not None or max(self.dilation_rate) > 1:
        return type(self).call(self, inputs)
    return _activated(self, conv_transpose(inputs, self.kernel, self.strides, self.bias))


def _pooling(self: Any, inputs: Tensor) -> Tensor:
    """Replace the call of `MaxPooling2D` and `AveragePooling2D`, where windows fill the map."""
    from keras_dense.ops.torch_maps import pool

    size, strides = self.pool_size, self.strides
    whole = all(
        s == k and n % k == 0 for n, k, s in zip(inputs.shape[1:3], size, strides, strict=True)
    )
    if self.padding == "same" and not whole:
        return type(self).call(self, inputs)
    return pool(inputs, size, strides, self.pool_mode)


def _normalization(
    self: Any, inputs: Tensor, training: bool | None = None, mask: Any = None
) -> Tensor:
    """Replace `BatchNormalization.call`."""
    _watch(self)
    learns = training and self.trainable
    if mask is not None or isinstance(inputs, keras.KerasTensor):
        return type(self).call(self, inputs, training=training, mask=mask)
    if not learns:
        return _normalized(self, inputs)
    wide = "float64" if _dtype(inputs) == "float64" else "float32"
    gamma, beta = ops.cast(self.gamma, wide), ops.cast(self.beta, wide)
    y, mean, variance = normalize_batch(inputs, gamma, beta, self.epsilon)
    for average, new in ((self.moving_mean, mean), (self.moving_variance, variance)):
        old = ops.cast(average, wide)
        average.assign(old * self.momentum + new * (1.0 - self.momentum))
    return ops.cast(y, self.compute_dtype)


def _dtype(x: Tensor) -> str:
    return keras.backend.standardize_dtype(x.dtype)


def _normalized(self: Any, inputs: Tensor) -> Tensor:
    """Normalize by moving averages."""
    dtype = _dtype(inputs)
    if keras.backend.backend() != "torch" or dtype not in ("float32", "float64"):
        return type(self).call(self, inputs, training=False)
    from keras_dense.ops.torch_maps import normalize

    weights = (self.moving_mean, self.moving_variance, self.gamma, self.beta)
    mean, variance, gamma, beta = (ops.cast(weight, dtype) for weight in weights)
    y = normalize(inputs, mean, variance, gamma, beta, self.epsilon)
    return ops.cast(y, self.compute_dtype)


def _inside(model: keras.Layer) -> list:
    return model._flatten_layers(include_self=True, recursive=True)


def _kernels(model: keras.Model) -> list[keras.Variable]:
    """The kernels that convolutions without copies read."""
    found = [layer for layer in _inside(model) if type(layer) in (layers.Conv2D, AtrousConv2D)]
    kernels = [layer.kernel for layer in found if layer.built]
    return [kernel for kernel in kernels if isinstance(kernel, keras.Variable)]


# The layer that watches for the optimizer of a model, and the optimizer that is laid out.
_WATCHED: Any = weakref.WeakKeyDictionary()


def _lay_out(model: keras.Model) -> None:
    """Store kernels in the order in which PyTorch reads them, and soon those of the optimizer."""
    from keras_dense.ops.torch_maps import lay_out

    for kernel in _kernels(model):
        lay_out(kernel)
    first = next((layer for layer in _inside(model) if type(layer) in _replacements()), None)
    if first is not None:
        _WATCHED.setdefault(first, weakref.WeakKeyDictionary())[model] = None


def _watch(layer: Any) -> None:
    """Store what an optimizer keeps for a kernel in the order of the kernel.

    Gradients come in that order, too. With another one, adding them up takes 16 % of a training
    step of ResNet-50 (two images of 256×256). The optimizer makes its variables at the first step,
    so the layer looks for them when it is called.
    """
    for model, done in _WATCHED.get(layer, {}).items():
        optimizer = getattr(model, "optimizer", None)
        if optimizer is None or not optimizer.built or (done and done() is optimizer):
            continue
        from keras_dense.ops.torch_maps import lay_out

        prefixes = tuple(kernel.path.replace("/", "_") + "_" for kernel in _kernels(model))
        for variable in optimizer.variables:
            if len(variable.shape) == 4 and variable.name.startswith(prefixes):
                lay_out(variable)
        _WATCHED[layer][model] = weakref.ref(optimizer)

"""Atrous convolutions: a dilation rate together with strides and padding in cells."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.ops import atrous_conv, atrous_depthwise_conv
from keras_dense.ops.atrous import explicit_pads


class _Atrous(keras.layers.Layer):
    """Mixin before a convolution of Keras: rates with strides, and padding in cells."""

    def __init__(self, *, kernel_size, rate, strides, padding, **kwargs):
        if "dilation_rate" in kwargs:
            raise ValueError(
                f"`dilation_rate` must be given as `rate` to {type(self).__name__}. "
                f"Received: dilation_rate={kwargs['dilation_rate']!r}"
            )
        for name in ("filters", "depth_multiplier", "groups"):
            if name in kwargs:
                kwargs[name] = _check.integer(kwargs[name], name, low=1)
        if "use_bias" in kwargs:
            kwargs["use_bias"] = _check.flag(kwargs["use_bias"], "use_bias")
        rate, padding = _check.pair(rate, "rate"), _check.padding(padding)
        # Keras refuses strides together with rates, and knows padding by name only.
        super().__init__(
            kernel_size=_check.pair(kernel_size, "kernel_size"),
            strides=_check.pair(strides, "strides"),
            padding="valid",
            **kwargs,
        )
        self.rate = rate
        self.padding = padding
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def rate(self):
        """Dilation rate `(vertical, horizontal)`: cells from tap to tap. May be set.

        The weights stay. Keras caches its compiled functions: compile a model again if it has
        been fitted or has predicted before.
        """
        return self.dilation_rate

    @rate.setter
    def rate(self, rate):
        self.dilation_rate = _check.pair(rate, "rate")

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 4:
            raise ValueError(
                "The input must be a tensor with four axes. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        last = self.data_format == "channels_last"
        shape = list(input_shape)
        for axis in range(2):
            where = axis + (1 if last else 2)
            shape[where] = self._size(shape[where], axis, tuple(input_shape))
        where = 3 if last else 1
        shape[where] = self._channels(shape[where])
        return tuple(shape)

    def _size(self, size, axis, input_shape):
        """Height or width of the output."""
        if size is None:
            return None
        kernel, rate, stride = self.kernel_size[axis], self.rate[axis], self.strides[axis]
        padding = self.padding if isinstance(self.padding, str) else (self.padding[axis],)
        (pads,) = explicit_pads(padding, (size,), (kernel,), (rate,), (stride,))
        free = size + sum(pads) - rate * (kernel - 1) - 1
        if free < 0:
            raise ValueError(
                f"The input must be large enough for a kernel of {self.kernel_size} cells with "
                f"rate={self.rate} and padding={self.padding!r}. "
                f"Received: input_shape={input_shape}"
            )
        return free // stride + 1

    def _activated(self, outputs):
        return outputs if self.activation is None else self.activation(outputs)

    def _holes(self):
        return {
            "rate": self.rate,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }

    def get_config(self) -> Config:
        config = {**super().get_config(), "rate": self.rate, "padding": self.padding}
        config.pop("dilation_rate")
        return config


@keras.saving.register_keras_serializable("keras_dense")
class AtrousConv2D(_Atrous, keras.layers.Conv2D):
    """Atrous convolution: `y[i] = Σ_a w[a] x[stride i + rate a - pad]` along each axis.

    `keras.layers.Conv2D` with three additions: padding in cells, strides together with rates, and
    a `rate` that can be changed on a layer that has weights. With one group per channel it runs as
    a depthwise convolution, which is the same function. The weights are those of `Conv2D`.

    `(B, H, W, C)` → `(B, H', W', filters)`, floats of the dtype policy. H and W may be unknown.

    Args:
        filters: int ≥ 1, the number of output channels.
        kernel_size: int ≥ 1 or a pair.
        rate: int ≥ 1 or a pair `(vertical, horizontal)`, the dilation rate: cells from tap to tap.
        strides: int ≥ 1 or a pair.
        padding: "same" (TensorFlow's rule for a kernel of `rate (k - 1) + 1` cells), "valid", or
            the number of zeros as `((top, bottom), (left, right))`.
        groups: int ≥ 1, a divisor of the input channels and of `filters`.
        data_format: "channels_last" or "channels_first"; default: the setting of the Keras config.
        **kwargs: other arguments of `keras.layers.Conv2D`: `activation`, `use_bias`,
            initializers, regularizers, constraints, …

    Raises:
        ValueError: if a rate is below 1, padding is negative, or the input is smaller than the
            kernel.

    Reference: Chen et al., "Semantic Image Segmentation with Deep Convolutional Nets and Fully
    Connected CRFs", ICLR 2015, section 3.1; Yu, Koltun, "Multi-Scale Context Aggregation by
    Dilated Convolutions", ICLR 2016, section 2.

    >>> import numpy as np
    >>> layer = AtrousConv2D(1, (1, 3), rate=2, kernel_initializer="ones")
    >>> y = layer(np.arange(5, dtype="float32").reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [2.0, 4.0, 6.0, 4.0, 6.0]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        *,
        rate: Size = 1,
        strides: Size = 1,
        padding: str | Sequence[Sequence[int]] = "same",
        groups: int = 1,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            rate=rate,
            strides=strides,
            padding=padding,
            groups=groups,
            data_format=_check.data_format(data_format),
            **kwargs,
        )

    def _channels(self, channels: int) -> int:
        return self.filters

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        return atrous_conv(inputs, kernel, **self._holes())

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        outputs = atrous_conv(inputs, self.kernel, bias=self.bias, **self._holes())
        return self._activated(outputs)


@keras.saving.register_keras_serializable("keras_dense")
class AtrousDepthwiseConv2D(_Atrous, keras.layers.DepthwiseConv2D):
    """Atrous depthwise convolution: each channel has kernels of its own.

    `keras.layers.DepthwiseConv2D` with padding in cells, strides together with rates, different
    strides for the two axes, and a `rate` that can be changed on a layer that has weights.

    `(B, H, W, C)` → `(B, H', W', depth_multiplier C)`, H and W may be unknown.

    Args:
        kernel_size: int ≥ 1 or a pair.
        rate, strides, padding, data_format: as in `AtrousConv2D`.
        depth_multiplier: int ≥ 1, kernels for each channel.
        **kwargs: other arguments of `keras.layers.DepthwiseConv2D`: `activation`, `use_bias`,
            `depthwise_initializer`, …

    Raises:
        ValueError: if a rate is below 1, padding is negative, or the input is smaller than the
            kernel.

    >>> import numpy as np
    >>> layer = AtrousDepthwiseConv2D((1, 2), rate=3, padding="valid", depthwise_initializer="ones")
    >>> y = layer(np.arange(5, dtype="float32").reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 5.0]
    """

    def __init__(
        self,
        kernel_size: Size,
        *,
        rate: Size = 1,
        strides: Size = 1,
        padding: str | Sequence[Sequence[int]] = "same",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size=kernel_size,
            rate=rate,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=_check.data_format(data_format),
            **kwargs,
        )

    def _channels(self, channels: int) -> int:
        return self.depth_multiplier * channels

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        outputs = atrous_depthwise_conv(inputs, self.kernel, bias=self.bias, **self._holes())
        return self._activated(outputs)


@keras.saving.register_keras_serializable("keras_dense")
class AtrousSeparableConv2D(_Atrous, keras.layers.SeparableConv2D):
    """Atrous separable convolution: a depthwise one, then a 1×1 one that mixes the channels.

    `keras.layers.SeparableConv2D` with padding in cells, strides together with rates, different
    strides for the two axes, and a `rate` that can be changed on a layer that has weights. There
    is neither a bias nor an activation between the two convolutions.

    `(B, H, W, C)` → `(B, H', W', filters)`, H and W may be unknown.

    Args:
        filters: int ≥ 1, the number of output channels.
        kernel_size: int ≥ 1 or a pair.
        rate, strides, padding, data_format: as in `AtrousConv2D`, for the depthwise convolution.
        depth_multiplier: int ≥ 1, depthwise kernels for each channel.
        **kwargs: other arguments of `keras.layers.SeparableConv2D`: `activation`, `use_bias`,
            `depthwise_initializer`, `pointwise_initializer`, …

    Raises:
        ValueError: if a rate is below 1, padding is negative, or the input is smaller than the
            kernel.

    Reference: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018, section 3.1.

    >>> import numpy as np
    >>> layer = AtrousSeparableConv2D(8, 3, rate=6)
    >>> tuple(layer(np.ones((1, 10, 11, 4), "float32")).shape), layer.count_params()
    ((1, 10, 11, 8), 76)
    """

    def __init__(
        self,
        filters: int,
        kernel_size: Size,
        *,
        rate: Size = 1,
        strides: Size = 1,
        padding: str | Sequence[Sequence[int]] = "same",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            rate=rate,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=_check.data_format(data_format),
            **kwargs,
        )

    def _channels(self, channels: int) -> int:
        return self.filters

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        outputs = atrous_depthwise_conv(inputs, self.depthwise_kernel, **self._holes())
        settings = {"data_format": self.data_format, "bias": self.bias}
        return self._activated(atrous_conv(outputs, self.pointwise_kernel, **settings))

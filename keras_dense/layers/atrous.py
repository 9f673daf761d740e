"""Convolutions with holes (atrous): a rate, strides along with it, padding in cells."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense.ops import atrous_conv, atrous_depthwise_conv
from keras_dense.ops.atrous import explicit_pads


class _Atrous:
    """What the three layers have over the Keras layer that each of them is."""

    def __init__(self, *, rate, padding, **kwargs):
        if "dilation_rate" in kwargs:
            raise ValueError(
                f"What Keras calls `dilation_rate` is `rate` in {type(self).__name__}. "
                f"Received: dilation_rate={kwargs['dilation_rate']!r}"
            )
        rate, padding = _check.pair(rate, "rate"), _check.padding(padding)
        # Keras refuses strides together with rates, and knows padding by name only.
        super().__init__(padding="valid", **kwargs)
        self.rate = rate
        self.padding = padding
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def rate(self):
        """Cells from tap to tap, `(vertical, horizontal)`. May be set; the weights stay.

        Keras remembers what it compiled: a model that has been fitted or asked to predict has to
        be compiled again to notice.
        """
        return self.dilation_rate

    @rate.setter
    def rate(self, rate):
        self.dilation_rate = _check.pair(rate, "rate")

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(
                f"{type(self).__name__} takes a tensor of four axes. "
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
        """What becomes of a height or width."""
        if size is None:
            return None
        kernel, rate, stride = self.kernel_size[axis], self.rate[axis], self.strides[axis]
        padding = self.padding if isinstance(self.padding, str) else (self.padding[axis],)
        (pads,) = explicit_pads(padding, (size,), (kernel,), (rate,), (stride,))
        free = size + sum(pads) - rate * (kernel - 1) - 1
        if free < 0:
            raise ValueError(
                f"The input is too small for the kernel {self.kernel_size} with rate={self.rate} "
                f"and padding={self.padding!r}. Received: input_shape={input_shape}"
            )
        return free // stride + 1

    def _finish(self, outputs):
        """Bias and activation."""
        if self.use_bias:
            shape = (1, 1, 1, -1) if self.data_format == "channels_last" else (1, -1, 1, 1)
            outputs = ops.add(outputs, ops.reshape(self.bias, shape))
        return outputs if self.activation is None else self.activation(outputs)

    def _holes(self):
        return {
            "rate": self.rate,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
        }

    def get_config(self):
        config = {**super().get_config(), "rate": self.rate, "padding": self.padding}
        config.pop("dilation_rate")
        return config


@keras.saving.register_keras_serializable("keras_dense")
class AtrousConv2D(_Atrous, keras.layers.Conv2D):
    """Convolution with holes: `y[i] = Σ_a w[a] x[stride i + rate a - pad]` on either axis.

    `keras.layers.Conv2D` with what surgery on networks needs: padding in cells, strides along
    with rates, and a `rate` that can be set on a layer that has weights. With a group for each
    channel it runs as the depthwise convolution which that is. Weights are those of `Conv2D`.

    `(B, H, W, C)` → `(B, H', W', filters)`, H and W may be unknown; float of the dtype policy.

    Args:
        filters: int ≥ 1, the number of output channels.
        kernel_size: int ≥ 1 or a pair.
        rate: int ≥ 1 or a pair `(vertical, horizontal)`: cells from tap to tap.
        strides: int ≥ 1 or a pair.
        padding: "same" (TensorFlow's rule for a kernel of `rate (k - 1) + 1` cells), "valid", or
            zeros as `((top, bottom), (left, right))`.
        groups: int ≥ 1 that divides the channels and `filters`.
        data_format: "channels_last" or "channels_first"; default: that of the Keras config.
        **kwargs: `activation`, `use_bias`, initializers, regularizers, constraints, … of
            `keras.layers.Conv2D`.

    Raises:
        ValueError: for rates below 1, negative padding, or an input smaller than the kernel.

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
        filters,
        kernel_size,
        rate=1,
        strides=1,
        padding="same",
        groups=1,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            rate=rate,
            strides=strides,
            padding=padding,
            groups=groups,
            data_format=data_format,
            **kwargs,
        )

    def _channels(self, channels):
        return self.filters

    def convolution_op(self, inputs, kernel):
        inputs = ops.cast(inputs, self.compute_dtype)
        return atrous_conv(inputs, kernel, **self._holes())


@keras.saving.register_keras_serializable("keras_dense")
class AtrousDepthwiseConv2D(_Atrous, keras.layers.DepthwiseConv2D):
    """Convolution with holes of each channel by itself.

    `keras.layers.DepthwiseConv2D` with padding in cells, strides along with rates, strides that
    differ, and a `rate` that can be set on a layer that has weights.

    `(B, H, W, C)` → `(B, H', W', depth_multiplier C)`, H and W may be unknown.

    Args:
        kernel_size: int ≥ 1 or a pair.
        rate, strides, padding, data_format: as in `AtrousConv2D`.
        depth_multiplier: int ≥ 1, kernels for each channel.
        **kwargs: `activation`, `use_bias`, `depthwise_initializer`, … of
            `keras.layers.DepthwiseConv2D`.

    Raises:
        ValueError: for rates below 1, negative padding, or an input smaller than the kernel.

    >>> import numpy as np
    >>> layer = AtrousDepthwiseConv2D((1, 2), rate=3, padding="valid", depthwise_initializer="ones")
    >>> y = layer(np.arange(5, dtype="float32").reshape(1, 1, 5, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 5.0]
    """

    def __init__(
        self,
        kernel_size,
        rate=1,
        strides=1,
        padding="same",
        depth_multiplier=1,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            kernel_size=kernel_size,
            rate=rate,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            **kwargs,
        )

    def _channels(self, channels):
        return self.depth_multiplier * channels

    def call(self, inputs):
        inputs = ops.cast(inputs, self.compute_dtype)
        return self._finish(atrous_depthwise_conv(inputs, self.kernel, **self._holes()))


@keras.saving.register_keras_serializable("keras_dense")
class AtrousSeparableConv2D(_Atrous, keras.layers.SeparableConv2D):
    """A depthwise convolution with holes, then one of 1×1 cells that mixes the channels.

    `keras.layers.SeparableConv2D` with padding in cells, strides along with rates, strides that
    differ, and a `rate` that can be set on a layer that has weights. Nothing lies between the
    two: no bias, no activation.

    `(B, H, W, C)` → `(B, H', W', filters)`, H and W may be unknown.

    Args:
        filters: int ≥ 1, the number of output channels.
        kernel_size: int ≥ 1 or a pair.
        rate, strides, padding, data_format: as in `AtrousConv2D`; they are those of the depthwise
            convolution.
        depth_multiplier: int ≥ 1, depthwise kernels for each channel.
        **kwargs: `activation`, `use_bias`, `depthwise_initializer`, `pointwise_initializer`, … of
            `keras.layers.SeparableConv2D`.

    Raises:
        ValueError: for rates below 1, negative padding, or an input smaller than the kernel.

    Reference: Chen et al., "Encoder-Decoder with Atrous Separable Convolution for Semantic Image
    Segmentation", ECCV 2018, section 3.1.

    >>> import numpy as np
    >>> layer = AtrousSeparableConv2D(8, 3, rate=6)
    >>> tuple(layer(np.ones((1, 10, 11, 4), "float32")).shape), layer.count_params()
    ((1, 10, 11, 8), 76)
    """

    def __init__(
        self,
        filters,
        kernel_size,
        rate=1,
        strides=1,
        padding="same",
        depth_multiplier=1,
        data_format=None,
        **kwargs,
    ):
        super().__init__(
            filters=filters,
            kernel_size=kernel_size,
            rate=rate,
            strides=strides,
            padding=padding,
            depth_multiplier=depth_multiplier,
            data_format=data_format,
            **kwargs,
        )

    def _channels(self, channels):
        return self.filters

    def call(self, inputs):
        inputs = ops.cast(inputs, self.compute_dtype)
        outputs = atrous_depthwise_conv(inputs, self.depthwise_kernel, **self._holes())
        outputs = atrous_conv(outputs, self.pointwise_kernel, data_format=self.data_format)
        return self._finish(outputs)

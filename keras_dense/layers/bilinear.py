"""Bilinear upsampling, and transposed convolution that starts as bilinear upsampling."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Shape, Size, Tensor
from keras_dense.ops.image import upsample_bilinear
from keras_dense.ops.resize import resize_bilinear
from keras_dense.ops.transposed import conv_transpose, depthwise_conv_transpose


def bilinear_kernel(factor: int, align_corners: bool = False) -> Array:
    """Weights of bilinear interpolation by `factor` along one axis, `2 f - f % 2` of them.

    With `align_corners` the old cells lie on new ones: the center is a tap, so that of an even
    number the last one is 0.

    >>> bilinear_kernel(2).tolist(), bilinear_kernel(2, align_corners=True).tolist()
    ([0.25, 0.75, 0.75, 0.25], [0.5, 1.0, 0.5, 0.0])
    """
    size = 2 * factor - factor % 2
    center = factor - 1 if align_corners else (size - 1) / 2
    return 1 - np.abs(np.arange(size) - center) / factor


class _Upsampling(keras.layers.Layer):
    """Base class of both upsamplings, with a factor and a data format."""

    def __init__(self, factor: Size, *, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = _check.pair(factor, "factor")
        self.data_format = _check.data_format(data_format)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    @property
    def _last(self):
        return self.data_format == "channels_last"

    def _channels_last(self, function: Callable, x: Tensor) -> Tensor:
        """Apply a function of channels-last tensors."""
        if self._last:
            return function(x)
        return ops.transpose(function(ops.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))

    def _grown(self, input_shape, channels=None):
        shape = list(input_shape)
        for axis, factor in zip((1, 2) if self._last else (2, 3), self.factor, strict=True):
            shape[axis] = None if shape[axis] is None else shape[axis] * factor
        if channels is not None:
            shape[-1 if self._last else 1] = channels
        return tuple(shape)

    def get_config(self) -> Config:
        config = {"factor": self.factor, "data_format": self.data_format}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class BilinearUpsampling(_Upsampling):
    """Half-pixel bilinear upsampling by an integer factor: no weights, exact at the borders.

    `(B, H, W, C)` → `(B, f H, f W, C)`. H and W may be unknown, in exported models too, where
    `keras.layers.UpSampling2D(interpolation="bilinear")` needs known sizes.

    Args:
        factor: int ≥ 1, or a pair `(vertical, horizontal)`.
        data_format: "channels_last" or "channels_first"; default: the setting of the Keras config.

    Raises:
        ValueError: if a factor is below 1 or the data format is unknown.

    >>> import numpy as np
    >>> x = np.array([[0.0, 4.0]], "float32").reshape(1, 1, 2, 1)
    >>> ops.convert_to_numpy(BilinearUpsampling((1, 2))(x))[0, 0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._grown(input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        return self._channels_last(lambda x: upsample_bilinear(x, self.factor), inputs)


@keras.saving.register_keras_serializable("keras_dense")
class AlignedUpsampling(_Upsampling):
    """Bilinear upsampling by an integer factor with aligned corners.

    The first and the last cell of both maps lie on each other. H and W may be unknown.

    | `size` | result | cell i is read at |
    |---|---|---|
    | "multiple" | `(B, f H, f W, C)` | `i (n - 1) / (f n - 1)` |
    | "corners" | `(B, f (H - 1) + 1, f (W - 1) + 1, C)` | `i / f` |

    "multiple" is `torch.nn.UpsamplingBilinear2d(scale_factor=f)`, whose cells drift against the
    old ones; with "corners" every old cell is a new one, too.

    Args:
        factor: int ≥ 1, or a pair `(vertical, horizontal)`.
        size: "multiple" or "corners".
        data_format: "channels_last" or "channels_first"; default: the setting of the Keras config.

    Raises:
        ValueError: if a factor is below 1, or the size or the data format is unknown.

    >>> import numpy as np
    >>> x = np.array([[0.0, 4.0]], "float32").reshape(1, 1, 2, 1)
    >>> ops.convert_to_numpy(AlignedUpsampling((1, 2), size="corners")(x))[0, 0, :, 0].tolist()
    [0.0, 2.0, 4.0]
    """

    def __init__(self, factor: Size, *, size: str = "multiple", **kwargs: Any) -> None:
        super().__init__(factor, **kwargs)
        self.size = _check.choice(size, "size", ("multiple", "corners"))

    def _new(self, cells, factor):
        return cells * factor if self.size == "multiple" else (cells - 1) * factor + 1

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        shape = list(input_shape)
        for axis, factor in zip((1, 2) if self._last else (2, 3), self.factor, strict=True):
            shape[axis] = None if shape[axis] is None else self._new(shape[axis], factor)
        return tuple(shape)

    def call(self, inputs: Tensor) -> Tensor:
        def resized(x):
            sizes = zip(ops.shape(x)[1:3], self.factor, strict=True)
            return resize_bilinear(x, *(self._new(n, f) for n, f in sizes), align_corners=True)

        return self._channels_last(resized, ops.cast(inputs, self.compute_dtype))

    def get_config(self) -> Config:
        return {**super().get_config(), "size": self.size}


@keras.saving.register_keras_serializable("keras_dense")
class BilinearInitConvTranspose(_Upsampling):
    """Transposed convolution that starts as bilinear upsampling and learns from there.

    Stride f, kernel size `2 f - f % 2`, padding "same": `(B, H, W, C)` → `(B, f H, f W, filters)`.
    The kernel starts as the bilinear one times the identity over channels. So a new layer equals
    half-pixel bilinear resizing, except in the outermost `f // 2` rows and columns, where the
    input is padded with zeros. If `filters` differs from C, a matrix drawn from
    `channel_initializer` mixes the channels, and each filter is an upsampled mixture.

    Args:
        filters: int ≥ 1, the number of output channels.
        factor: int ≥ 1, or a pair `(vertical, horizontal)`.
        per_channel: bool, one kernel for each channel without mixing (`filters` must be C). This
            form has `k² C` weights; the dense one has `k² C filters`, as in the authors' FCN files.
        learnable: bool; `False` freezes the bilinear kernel and the bias.
        use_bias: bool, add a bias for each filter.
        align_corners: bool, whether the kernel starts so that the old cells lie on new ones: the
            result, cut by `(f - 1) // 2` at the top and the left and `f // 2` at the bottom and the
            right, is then the bilinear one with aligned corners (`AlignedUpsampling`, "corners").
        channel_initializer: initializer of the mixing matrix, used if `filters` is not C.
        kernel_regularizer, kernel_constraint: as in `keras.layers.Conv2DTranspose`.
        data_format: "channels_last" or "channels_first"; default: the setting of the Keras config.

    Raises:
        ValueError: if `filters` or a factor is below 1, or `per_channel` is used with `filters`
            other than C.

    Reference: Long, Shelhamer, Darrell, "Fully Convolutional Networks for Semantic
    Segmentation", CVPR 2015, section 3.3.

    >>> import numpy as np
    >>> x = np.tile(np.arange(4.0, dtype="float32").reshape(1, 1, 4, 1), (1, 4, 1, 1))
    >>> y = BilinearInitConvTranspose(1, factor=2)(x)
    >>> ops.convert_to_numpy(y)[0, 4, 1:7, 0].tolist()
    [0.25, 0.75, 1.25, 1.75, 2.25, 2.75]
    """

    def __init__(
        self,
        filters: int,
        factor: Size,
        *,
        per_channel: bool = False,
        learnable: bool = True,
        use_bias: bool = False,
        align_corners: bool = False,
        channel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        kernel_constraint: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(factor, data_format=data_format, **kwargs)
        self.filters = _check.integer(filters, "filters", low=1)
        self.per_channel = _check.flag(per_channel, "per_channel")
        self.learnable = _check.flag(learnable, "learnable")
        self.use_bias = _check.flag(use_bias, "use_bias")
        self.align_corners = _check.flag(align_corners, "align_corners")
        self.channel_initializer = keras.initializers.get(channel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.kernel_constraint = keras.constraints.get(kernel_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1 if self._last else 1]
        if self.per_channel and self.filters != channels:
            raise ValueError(
                f"`filters` must be {channels}, the channels of the input, with per_channel=True. "
                f"Received: filters={self.filters}"
            )
        taps = np.einsum("h,w->hw", *(bilinear_kernel(f, self.align_corners) for f in self.factor))

        def bilinear(shape, dtype=None):
            if self.per_channel:
                mixing = ops.ones((channels,), "float32")
            elif self.filters == channels:
                mixing = ops.eye(channels, dtype="float32")
            else:
                mixing = self.channel_initializer((self.filters, channels), dtype="float32")
            spatial = taps.reshape(taps.shape + (1,) * (len(shape) - 2))
            return ops.cast(ops.cast(spatial, "float32") * mixing, dtype)

        self.kernel = self.add_weight(
            name="kernel",
            shape=taps.shape + ((channels,) if self.per_channel else (self.filters, channels)),
            initializer=bilinear,
            regularizer=self.kernel_regularizer,
            constraint=self.kernel_constraint,
            trainable=self.learnable,
        )
        self.bias = None
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer="zeros", trainable=self.learnable
            )

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        if self.per_channel:
            y = self._channels_last(
                lambda x: depthwise_conv_transpose(x, self.kernel, self.factor), inputs
            )
        elif self._last:
            return conv_transpose(inputs, self.kernel, self.factor, self.bias)
        else:
            y = ops.conv_transpose(
                inputs,
                self.kernel,
                strides=self.factor,
                padding="same",
                data_format=self.data_format,
            )
        if self.bias is not None:
            y = y + ops.reshape(self.bias, (-1,) if self._last else (-1, 1, 1))
        return y

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return self._grown(input_shape, self.filters)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "filters": self.filters,
            "per_channel": self.per_channel,
            "learnable": self.learnable,
            "use_bias": self.use_bias,
            "align_corners": self.align_corners,
            "channel_initializer": keras.initializers.serialize(self.channel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "kernel_constraint": keras.constraints.serialize(self.kernel_constraint),
        }

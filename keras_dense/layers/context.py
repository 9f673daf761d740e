"""Adaptive pooling, resizing to the size of another map, and pixel shuffle."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.resize import (
    adaptive_average_pool,
    pixel_shuffle,
    resize_bilinear,
    resize_nearest,
)


@keras.saving.register_keras_serializable("keras_dense")
class AdaptiveAveragePooling2D(keras.layers.Layer):
    """Average pooling to a fixed number of bins: `(B, H, W, C)` → `(B, b, b, C)`.

    Bin i of b on an axis of n cells is the mean of the cells from floor(i n / b) to
    ceil((i + 1) n / b), exactly as in `torch.nn.AdaptiveAvgPool2d`. H and W may be unknown, odd,
    and smaller than the number of bins. Channels last.

    Args:
        bins: int ≥ 1, or a pair `(vertical, horizontal)`.

    Raises:
        ValueError: if `bins` is below 1.

    Reference: Zhao et al., "Pyramid Scene Parsing Network", CVPR 2017, section 3.2.

    >>> import numpy as np
    >>> y = AdaptiveAveragePooling2D((1, 2))(np.array([1.0, 2.0, 6.0]).reshape(1, 1, 3, 1))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.5, 4.0]
    """

    def __init__(self, bins: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = _check.pair(bins, "bins")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *self.bins, input_shape[3])

    def call(self, inputs: Tensor) -> Tensor:
        inputs = ops.cast(inputs, self.compute_dtype)
        if self.bins == (1, 1):
            mean = ops.mean(ops.cast(inputs, "float32"), axis=(1, 2), keepdims=True)
            return ops.cast(mean, inputs.dtype)
        return adaptive_average_pool(inputs, self.bins)

    def get_config(self) -> Config:
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable("keras_dense")
class ResizeLike(keras.layers.Layer):
    """Resize a map to the height and width of another: half-pixel bilinear, edges repeated.

    Call it with two tensors: `ResizeLike()(x, like)`, shapes `(B, h, w, C)` and `(B, H, W, D)`;
    it returns `(B, H, W, C)`. All sizes may be unknown. A map known to be 1×1 is repeated. If the
    factor is a known integer, `BilinearUpsampling` gives the same result with less work.

    Args:
        align_corners: bool. `True` puts the first and the last cell of both maps on each other, as
            `torch.nn.functional.interpolate(align_corners=True)`.
        interpolation: "bilinear", or "nearest": cell i of m is cell `floor(i n / m)` of n.
        stride: int ≥ 1 or a pair `(vertical, horizontal)`, rows and columns of `like` per cell of
            the result, which is `(B, ceil(H / stride), ceil(W / stride), C)`.

    Raises:
        ValueError: if a stride is below 1, the interpolation is unknown, or corners are to be
            aligned without interpolation.

    >>> import numpy as np
    >>> x, like = np.array([0.0, 3.0]).reshape(1, 1, 2, 1), np.zeros((1, 1, 4, 8))
    >>> ops.convert_to_numpy(ResizeLike()(x, like))[0, 0, :, 0].tolist()
    [0.0, 0.75, 2.25, 3.0]
    >>> ops.convert_to_numpy(ResizeLike(align_corners=True)(x, like))[0, 0, :, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    def __init__(
        self,
        *,
        align_corners: bool = False,
        interpolation: str = "bilinear",
        stride: Size = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.align_corners = _check.flag(align_corners, "align_corners")
        self.interpolation = _check.choice(interpolation, "interpolation", ("bilinear", "nearest"))
        self.stride = _check.pair(stride, "stride")
        if align_corners and interpolation == "nearest":
            raise ValueError(
                '`align_corners` must be False with interpolation="nearest". '
                "Received: align_corners=True"
            )

    def build(self, x_shape, like_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, like_shape):
        sizes = zip(like_shape[1:3], self.stride, strict=True)
        return (x_shape[0], *(None if n is None else -(-n // s) for n, s in sizes), x_shape[3])

    def call(self, x: Tensor, like: Tensor) -> Tensor:
        x = ops.cast(x, self.compute_dtype)
        sizes = zip(ops.shape(like)[1:3], self.stride, strict=True)
        height, width = (n if s == 1 else (n + s - 1) // s for n, s in sizes)
        if tuple(x.shape[1:3]) == (1, 1):
            # Not `x + zeros`: TensorFlow's graph optimizer would move a bias of `x` behind the sum.
            return ops.broadcast_to(x, (ops.shape(x)[0], height, width, x.shape[3]))
        if self.interpolation == "nearest":
            return resize_nearest(x, height, width)
        return resize_bilinear(x, height, width, align_corners=self.align_corners)

    def get_config(self) -> Config:
        config = {"align_corners": self.align_corners, "interpolation": self.interpolation}
        return {**super().get_config(), **config, "stride": self.stride}


@keras.saving.register_keras_serializable("keras_dense")
class PixelShuffle(RearrangingLayer):
    """Rearrange channels into blocks of cells: `(B, H, W, C f²)` → `(B, f H, f W, C)`.

    `y[f i + a, f j + b, c] = x[i, j, (c f + a) f + b]`, the order of `torch.nn.PixelShuffle`. A
    convolution followed by it is dense upsampling convolution. Channels last.

    Args:
        factor: int ≥ 1, or a pair `(vertical, horizontal)`.

    Raises:
        ValueError: if a factor is below 1, or the number of channels is no multiple of the block.

    Reference: Wang et al., "Understanding Convolution for Semantic Segmentation", WACV 2018,
    section 3.1.

    >>> import numpy as np
    >>> y = PixelShuffle(2)(np.arange(4.0).reshape(1, 1, 1, 4))
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """

    def __init__(self, factor: Size, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = _check.pair(factor, "factor")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        block = self.factor[0] * self.factor[1]
        if channels % block:
            raise ValueError(
                f"The channels must be a multiple of {block} with factor={self.factor}. "
                f"Received: an input of {channels} channels"
            )
        sizes = zip((height, width), self.factor, strict=True)
        return (batch, *(None if n is None else n * f for n, f in sizes), channels // block)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        return pixel_shuffle(inputs, self.factor)

    def get_config(self) -> Config:
        return {**super().get_config(), "factor": self.factor}

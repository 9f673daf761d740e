"""MobileNetV2 as DeepLab has it.

Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
CVPR 2018. The authors' code (tensorflow/models, `deeplab/core/feature_extractor.py`) differs from
`keras.applications.MobileNetV2` in three ways: the network ends before the last convolution of the
classifier; a width multiplier below 1 scales every width as it is, where Keras rounds to multiples
of 8; and images have odd sizes, at which strided windows pad alike on both sides.
"""

import keras
from keras import layers

from keras_dense import _check
from keras_dense._types import Shape, Tensor
from keras_dense.backbones.network import check_shape, convolution

# Channels, number of blocks, stride of the first.
_STAGES = ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


def _norm(x: Tensor, name: str, relu: str = "") -> Tensor:
    x = layers.BatchNormalization(epsilon=1e-3, momentum=0.999, name=name)(x)
    return layers.ReLU(6.0, name=relu)(x) if relu else x


def _block(x: Tensor, filters: int, stride: int, number: int) -> Tensor:
    """An inverted residual block; the first one does not expand."""
    name, y = f"block_{number}" if number else "expanded_conv", x
    if number:
        y = convolution(y, 6 * x.shape[-1], 1, f"{name}_expand")
        y = _norm(y, f"{name}_expand_BN", f"{name}_expand_relu")
    if stride > 1:
        y = layers.ZeroPadding2D(1, name=f"{name}_pad", data_format="channels_last")(y)
    y = layers.DepthwiseConv2D(
        3,
        stride,
        "same" if stride == 1 else "valid",
        use_bias=False,
        name=f"{name}_depthwise",
        data_format="channels_last",
    )(y)
    y = _norm(y, f"{name}_depthwise_BN", f"{name}_depthwise_relu")
    y = _norm(convolution(y, filters, 1, f"{name}_project"), f"{name}_project_BN")
    return layers.Add(name=f"{name}_add")([x, y]) if y.shape == x.shape else y


def mobilenet_v2_features(
    width: float = 1.0, *, input_shape: Shape = (None, None, 3), input_tensor: Tensor | None = None
) -> keras.Model:
    """MobileNetV2 up to the last block, with strided windows that pad alike on both sides.

    Layers have the names of `keras.applications.MobileNetV2`. `kd.weights.pretrained` builds the
    networks of DeepLab on it.

    Args:
        width: float > 0, factor of the number of channels.
        input_shape: `(height, width, channels)`, `None` for free sizes.
        input_tensor: a tensor to start from, in place of an input of `input_shape`.

    Returns:
        A functional `keras.Model`: images from −1 to 1 `(B, H, W, C)` → features
        `(B, H/32, W/32, 320 width)`.

    Raises:
        ValueError: for a width that is not positive, or a bad shape.

    Reference: Sandler et al., CVPR 2018, table 2.

    >>> model = mobilenet_v2_features(0.5)
    >>> model.output_shape[-1], model.get_layer("block_1_project").filters
    (160, 12)
    """
    width = _check.number(width, "width", above=0)
    x = image = keras.Input(check_shape(input_shape)) if input_tensor is None else input_tensor
    x = convolution(x, int(32 * width), 3, "Conv1", 2)
    x = _norm(x, "bn_Conv1", "Conv1_relu")
    number = 0
    for filters, count, stride in _STAGES:
        for n in range(count):
            x = _block(x, int(filters * width), stride if n == 0 else 1, number)
            number += 1
    (source,) = keras.utils.get_source_inputs(image)
    return keras.Model(source, x, name="mobilenet_v2_features")

"""EfficientNet-Lite 0 to 4, EfficientNets for small devices, which keras.applications lacks.

Tan, Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019; the
authors' code (tensorflow/tpu, `models/official/efficientnet/lite`). Unlike EfficientNets they have
no squeeze-and-excite, ReLU6 for swish, and stem, first and last block of one size. Layers have the
names of the EfficientNets of keras.applications.
"""

import math

import keras
from keras import layers

from keras_dense._types import Tensor
from keras_dense.backbones.builder import Builder, builder

# Kernel, number of blocks, channels, stride of the first block.
_STAGES = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 3, 80, 2),
    (5, 3, 112, 1),
    (5, 4, 192, 2),
    (3, 1, 320, 1),
)
# Multipliers of channels and of blocks.
_SCALES = {"0": (1.0, 1.0), "1": (1.0, 1.1), "2": (1.1, 1.2), "3": (1.2, 1.4), "4": (1.4, 1.8)}


def _rounded(channels: float) -> int:
    """The nearest multiple of 8, but not less than 90 %."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def _counts(depth: float) -> list[int]:
    """Blocks of each stage: the first and the last stage are not scaled."""
    last = len(_STAGES) - 1
    return [
        count if n in (0, last) else math.ceil(count * depth)
        for n, (_, count, _, _) in enumerate(_STAGES)
    ]


def _conv(x: Tensor, filters: int, size: int, name: str, strides: int = 1) -> Tensor:
    return layers.Conv2D(
        filters,
        size,
        strides,
        "same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "truncated_normal"),
        name=name,
        data_format="channels_last",
    )(x)


def _norm(x: Tensor, name: str, relu: str = "") -> Tensor:
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0, name=relu)(x) if relu else x


def _block(x: Tensor, filters: int, size: int, strides: int, expand: int, name: str) -> Tensor:
    """An inverted residual block."""
    y = x
    if expand > 1:
        y = _conv(y, expand * x.shape[-1], 1, f"{name}_expand_conv")
        y = _norm(y, f"{name}_expand_bn", f"{name}_expand_activation")
    y = layers.DepthwiseConv2D(
        size,
        strides,
        "same",
        use_bias=False,
        name=f"{name}_dwconv",
        data_format="channels_last",
    )(y)
    y = _norm(y, f"{name}_bn", f"{name}_activation")
    y = _norm(_conv(y, filters, 1, f"{name}_project_conv"), f"{name}_project_bn")
    if strides == 1 and filters == x.shape[-1]:
        y = layers.Add(name=f"{name}_add")([y, x])
    return y


def _features(x: Tensor, width: float, depth: float) -> Tensor:
    x = _norm(_conv(x, 32, 3, "stem_conv", 2), "stem_bn", "stem_activation")
    for stage, ((size, _, channels, strides), count) in enumerate(
        zip(_STAGES, _counts(depth), strict=True), 1
    ):
        for n in range(count):
            name, expand = f"block{stage}{chr(ord('a') + n)}", 1 if stage == 1 else 6
            x = _block(x, _rounded(channels * width), size, strides, expand, name)
            strides = 1
    return _norm(_conv(x, 1280, 1, "top_conv"), "top_bn", "top_activation")


def taps(network: str) -> dict[str, str]:
    """The last block of each stride, as in MiDaS.

    >>> taps("efficientnet_lite3")["P3"]
    'block3c_add'
    """
    counts = _counts(_SCALES[network[-1]][1])
    names = {}
    for level, stage in (("P1", 1), ("P2", 2), ("P3", 3), ("P4", 5), ("P5", 7)):
        count = counts[stage - 1]
        end = "add" if count > 1 else "project_bn"
        names[level] = f"block{stage}{chr(ord('a') + count - 1)}_{end}"
    return names


def _network(network: str, about: str) -> Builder:
    """A row of the table: the function that builds `network`."""
    width, depth = _SCALES[network[-1]]
    return builder(
        network,
        lambda image: _features(image, width, depth),
        1280,
        f"""{about}

    No convolution has a bias; strided windows are padded as TensorFlow pads, more at the bottom
    and the right. Images are expected as RGB from −1 to 1: `kd.backbone("{network}")` scales them,
    and reads the files that timm publishes, `tf_{network}-….pth`.""",
        dropout=0.2 if network[-1] in "01" else 0.3,
    )


efficientnet_lite0 = _network("efficientnet_lite0", "EfficientNet-Lite0: 4.7 million weights.")
efficientnet_lite1 = _network("efficientnet_lite1", "EfficientNet-Lite1: 5.4 million weights.")
efficientnet_lite2 = _network("efficientnet_lite2", "EfficientNet-Lite2: 6.1 million weights.")
efficientnet_lite3 = _network("efficientnet_lite3", "EfficientNet-Lite3: 8.2 million weights.")
efficientnet_lite4 = _network("efficientnet_lite4", "EfficientNet-Lite4: 13.0 million weights.")

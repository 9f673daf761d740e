"""ResNets, ResNeXts and Wide ResNets as torchvision, timm and SMP train them.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; Xie, Girshick,
Dollár, Tu, He, "Aggregated Residual Transformations for Deep Neural Networks", CVPR 2017;
Zagoruyko, Komodakis, "Wide Residual Networks", BMVC 2016; for the stem of three convolutions He,
Zhang, Zhang, Zhang, Xie, Li, "Bag of Tricks for Image Classification", CVPR 2019.

The ResNets of keras.applications stride in the first 1×1 convolution of a stage and have biases
("v1"); these stride in the 3×3 and have none ("v1b"), and cannot share weights with them. Layers
carry torchvision's names, with `_` for `.`: `layer2_0_conv1`, `layer2_0_downsample_0`.
"""

from keras import layers

from keras_dense.backbones.builder import Builder, builder
from keras_dense.backbones.network import convolution


def _normalized(x, name):
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)


def _conv(x, filters, size, name, strides=1, groups=1):
    """Convolution "conv1" of a block, padded equally on all sides, and its batch norm "bn1"."""
    # Glorot's random weights, as in keras.applications: with He's, the sums of an untrained deep
    # ResNet grow beyond float16.
    x = convolution(x, filters, size, name, strides, groups=groups)
    return _normalized(x, name.replace("conv", "bn"))


def _relu(x, name):
    return layers.ReLU(name=name)(x)


def _basic(x, filters, name, strides, width, groups):
    """Two 3×3 convolutions."""
    x = _relu(_conv(x, filters, 3, f"{name}_conv1", strides), f"{name}_relu1")
    return _conv(x, filters, 3, f"{name}_conv2")


def _bottleneck(x, filters, name, strides, width, groups):
    """1×1, 3×3 in groups, 1×1; `width` channels for each of the 64 of the first stage."""
    inner = filters * width // 64 * groups
    x = _relu(_conv(x, inner, 1, f"{name}_conv1"), f"{name}_relu1")
    x = _relu(_conv(x, inner, 3, f"{name}_conv2", strides, groups), f"{name}_relu2")
    return _conv(x, 4 * filters, 1, f"{name}_conv3")


def _stem(x):
    return _relu(_conv(x, 64, 7, "conv1", 2), "relu")


def _deep_stem(x):
    """Three 3×3 convolutions, numbered as in MMSegmentation: convolution, batch norm, ReLU."""
    for i, (filters, strides) in enumerate(((32, 2), (32, 1), (64, 1))):
        x = convolution(x, filters, 3, f"stem_{3 * i}", strides)
        x = _relu(_normalized(x, f"stem_{3 * i + 1}"), f"stem_{3 * i + 2}")
    return x


def _stages(x, block, counts, width=64, groups=1):
    for stage, (count, filters) in enumerate(zip(counts, (64, 128, 256, 512), strict=True), 1):
        for i in range(count):
            name, strides = f"layer{stage}_{i}", 2 if stage > 1 and i == 0 else 1
            y = block(x, filters, name, strides, width, groups)
            if strides > 1 or x.shape[-1] != y.shape[-1]:
                x = convolution(x, y.shape[-1], 1, f"{name}_downsample_0", strides)
                x = _normalized(x, f"{name}_downsample_1")
            x = _relu(layers.Add(name=f"{name}_add")([x, y]), f"{name}_relu")
    return x


def _network(network, block, counts, about, *, stem=_stem, **sizes) -> Builder:
    """A row of the table: the function that builds `network`."""

    def features(image):
        # Zeros are as good as minus infinity beside what a ReLU leaves.
        x = layers.ZeroPadding2D(1, name="maxpool_pad", data_format="channels_last")(stem(image))
        x = layers.MaxPooling2D(3, 2, name="maxpool", data_format="channels_last")(x)
        return _stages(x, block, counts, **sizes)

    return builder(
        network,
        features,
        512 if block is _basic else 2048,
        f"""{about}

    No convolution has a bias; windows are padded equally on all sides; the first 3×3 convolution
    of a stage strides. Images are expected as RGB, standardized with the mean and deviation of
    ImageNet: `kd.backbone("{network}")` standardizes them, and reads published weights.""",
    )


_50, _101, _152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)

# He et al., table 1, with the stride in the 3×3.
resnet18 = _network("resnet18", _basic, (2, 2, 2, 2), "ResNet-18: 11.7 million weights.")
resnet34 = _network("resnet34", _basic, _50, "ResNet-34: 21.8 million weights.")
resnet50_v1b = _network("resnet50_v1b", _bottleneck, _50, "ResNet-50: 25.6 million weights.")
resnet101_v1b = _network("resnet101_v1b", _bottleneck, _101, "ResNet-101: 44.5 million weights.")
resnet152_v1b = _network("resnet152_v1b", _bottleneck, _152, "ResNet-152: 60.2 million weights.")

# With the stem of three convolutions, 32, 32 and 64 channels: MMSegmentation's backbones.
_about = "ResNet-{} with a stem of three 3×3 convolutions (32, 32, 64), as in MMSegmentation."
resnet18_v1c = _network("resnet18_v1c", _basic, (2, 2, 2, 2), _about.format(18), stem=_deep_stem)
resnet50_v1c = _network("resnet50_v1c", _bottleneck, _50, _about.format(50), stem=_deep_stem)
resnet101_v1c = _network("resnet101_v1c", _bottleneck, _101, _about.format(101), stem=_deep_stem)

# Xie et al., table 1: 32 or 64 groups of 4 or 8 channels.
resnext50_32x4d = _network(
    "resnext50_32x4d", _bottleneck, _50, "ResNeXt-50, 32 groups of 4 channels.", width=4, groups=32
)
resnext101_32x8d = _network(
    "resnext101_32x8d",
    _bottleneck,
    _101,
    "ResNeXt-101, 32 groups of 8 channels.",
    width=8,
    groups=32,
)
resnext101_64x4d = _network(
    "resnext101_64x4d",
    _bottleneck,
    _101,
    "ResNeXt-101, 64 groups of 4 channels.",
    width=4,
    groups=64,
)

# Zagoruyko and Komodakis: bottlenecks twice as wide.
wide_resnet50_2 = _network(
    "wide_resnet50_2", _bottleneck, _50, "ResNet-50 with bottlenecks twice as wide.", width=128
)
wide_resnet101_2 = _network(
    "wide_resnet101_2", _bottleneck, _101, "ResNet-101 with bottlenecks twice as wide.", width=128
)

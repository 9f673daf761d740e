"""Input conventions, features and build sizes of the networks known by name."""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras

from keras_dense.backbones.densenet161 import densenet161
from keras_dense.backbones.efficientnet_lite import (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)
from keras_dense.backbones.efficientnet_lite import taps as taps_of_lite
from keras_dense.backbones.mit import mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5
from keras_dense.backbones.resnet import resnet50c, resnet101c, resnet152c
from keras_dense.backbones.resnet38 import resnet38
from keras_dense.backbones.resnet_v1b import (
    resnet18,
    resnet18_v1c,
    resnet34,
    resnet50_v1b,
    resnet50_v1c,
    resnet101_v1b,
    resnet101_v1c,
    resnet152_v1b,
    resnext50_32x4d,
    resnext101_32x8d,
    resnext101_64x4d,
    wide_resnet50_2,
    wide_resnet101_2,
)
from keras_dense.backbones.vgg_bn import vgg16_bn, vgg19_bn
from keras_dense.backbones.xception import xception65, xception71

# Arguments of `Standardize` for RGB images 0–255, by the names that Keras gives the conventions.
PREPROCESSING = {
    None: None,
    "none": None,
    "tf": {"mean": 127.5, "std": 127.5},
    "torch": {
        "mean": (0.485 * 255, 0.456 * 255, 0.406 * 255),
        "std": (0.229 * 255, 0.224 * 255, 0.225 * 255),
    },
    "caffe": {"mean": (123.68, 116.779, 103.939), "reverse_channels": True},
}


@dataclass(frozen=True)
class Family:
    """Networks that share an input convention.

    Attributes:
        members: names of the networks.
        preprocessing: the input convention of the weights, a key of `PREPROCESSING`; `None` where
            the network standardizes its input itself.
        build_size: the size at which the graph must be built; `None` where it may be free.
        taps: features for each member, where the textbook's differ from those that the walk finds.
        builders: the function that builds each member; empty for `keras.applications`.
    """

    members: tuple
    preprocessing: str | None
    build_size: tuple = (None, None)
    taps: dict = field(default_factory=dict)
    builders: dict = field(default_factory=dict)

    def builder(self, name: str) -> Callable[..., keras.Model]:
        return self.builders.get(name) or getattr(keras.applications, name)


def _own(*builders, **settings):
    builders = {builder.__name__: builder for builder in builders}
    return Family(tuple(builders), builders=builders, **settings)


def _preactivated(conv3, conv4):
    """ResNetV2 strides in the last block of a stage: its features are read as that block does,
    normalized and rectified, not from the raw sum before it."""
    return {
        "P1": "conv1_conv",
        "P2": "conv2_block3_preact_relu",
        "P3": f"conv3_block{conv3}_preact_relu",
        "P4": f"conv4_block{conv4}_preact_relu",
        "P5": "post_relu",
    }


def _before_striding(*blocks):
    """DeepLabv3+ reads a block's second separable convolution, before the third one strides."""
    taps = {f"P{n}": f"{block}_separable_conv2_pointwise_bn" for n, block in enumerate(blocks, 1)}
    return {**taps, "P5": "exit_flow_block2_separable_conv3_pointwise_relu"}


FAMILIES = (
    Family(("VGG16", "VGG19"), "caffe"),
    Family(("ResNet50", "ResNet101", "ResNet152"), "caffe"),
    Family(
        ("ResNet50V2", "ResNet101V2", "ResNet152V2"),
        "tf",
        taps={
            "ResNet50V2": _preactivated(4, 6),
            "ResNet101V2": _preactivated(4, 23),
            "ResNet152V2": _preactivated(8, 36),
        },
    ),
    Family(("MobileNet", "MobileNetV2"), "tf"),
    Family(("MobileNetV3Small", "MobileNetV3Large"), None),
    Family(("DenseNet121", "DenseNet169", "DenseNet201"), "torch"),
    Family(tuple(f"EfficientNetB{n}" for n in range(8)), None),
    Family(tuple(f"EfficientNetV2{n}" for n in ("B0", "B1", "B2", "B3", "S", "M", "L")), None),
    Family(tuple(f"ConvNeXt{n}" for n in ("Tiny", "Small", "Base", "Large", "XLarge")), None),
    Family(("Xception", "InceptionV3", "InceptionResNetV2"), "tf"),
    # NASNet decides by the sizes of its maps how to join cells, so it needs a size to be built.
    Family(("NASNetMobile",), "tf", build_size=(224, 224)),
    Family(("NASNetLarge",), "tf", build_size=(331, 331)),
)

_LITE = (
    efficientnet_lite0,
    efficientnet_lite1,
    efficientnet_lite2,
    efficientnet_lite3,
    efficientnet_lite4,
)

# Networks of published models that `keras.applications` lacks, with the conventions of their
# authors: DeepLab's code, the network files of PSPNet and DUC, the code of "Wider or Deeper", of
# EfficientNet.
OWN = (
    _own(
        xception65,
        xception71,
        preprocessing="tf",
        taps={
            "xception65": _before_striding(
                "entry_flow_block1", "entry_flow_block2", "entry_flow_block3", "exit_flow_block1"
            ),
            "xception71": _before_striding(
                "entry_flow_block1", "entry_flow_block3", "entry_flow_block5", "exit_flow_block1"
            ),
        },
    ),
    _own(resnet50c, resnet101c, resnet152c, preprocessing="caffe"),
    _own(resnet38, densenet161, preprocessing="torch"),
    _own(
        resnet18,
        resnet34,
        resnet50_v1b,
        resnet101_v1b,
        resnet152_v1b,
        resnet18_v1c,
        resnet50_v1c,
        resnet101_v1c,
        resnext50_32x4d,
        resnext101_32x8d,
        resnext101_64x4d,
        wide_resnet50_2,
        wide_resnet101_2,
        preprocessing="torch",
    ),
    _own(vgg16_bn, vgg19_bn, preprocessing="torch"),
    _own(mit_b0, mit_b1, mit_b2, mit_b3, mit_b4, mit_b5, preprocessing="torch"),
    _own(
        *_LITE,
        preprocessing="tf",
        taps={builder.__name__: taps_of_lite(builder.__name__) for builder in _LITE},
    ),
)

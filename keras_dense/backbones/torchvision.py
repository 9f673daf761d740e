"""The ImageNet weights of torchvision: their files, and how a network must be built for them.

The networks of keras.applications pad and normalize in another way than torchvision's; for its
weights they are built in its variant.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from keras_dense._weights.fetch import Remote
from keras_dense._weights.rules import Rule
from keras_dense.backbones import torchvision_rules as rules
from keras_dense.backbones.deeplab_rules import XCEPTION65_ALONE
from keras_dense.backbones.efficientnet_lite_rules import EFFICIENTNET_LITE
from keras_dense.backbones.mit_rules import ENCODER

_URL = "https://download.pytorch.org/models/"
_TIMM = "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"


@dataclasses.dataclass(frozen=True)
class File:
    """A published file.

    Attributes:
        stem: the name without ".pth"; it ends in the first digits of the SHA-256.
        accuracy: percent of the validation images of ImageNet whose class comes first, as measured
            by torchvision.
        size: MiB.
    """

    stem: str
    accuracy: float
    size: float

    def remote(self, name: str) -> Remote:
        """The file for download; `name` is for messages."""
        url = f"{_URL}{self.stem}.pth"
        digits = self.stem.rpartition("-")[2]
        usage = "kd.backbone({name}, weights={path})"
        return Remote(name, (url,), int(self.size * 2**20), hash=digits, usage=usage)


@dataclasses.dataclass(frozen=True)
class Network:
    """A network that takes weights of torchvision.

    Attributes:
        rules: from names of the file to layers.
        files: published files; a second one is torchvision's second version, trained by a longer
            recipe.
        symmetric: whether its strided windows must be padded alike on all sides.
        epsilon: of its batch norms, where Keras has another one.
        settings: further arguments of the function that builds it.
        dropped: pattern of the names of layers that torchvision's network lacks.
        preprocessing: the convention of its images, see `kd.backbone`.
        elsewhere: sentence that says where files are, if torchvision has none.
    """

    rules: Sequence[Rule]
    files: Sequence[File] = ()
    symmetric: bool = False
    epsilon: float | None = None
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    dropped: str = ""
    preprocessing: str = "torch"
    elsewhere: str = "MMSegmentation publishes files for it: get one and pass its path."

    @property
    def altered(self) -> bool:
        """Whether the network that Keras builds must be rewritten."""
        return self.symmetric or self.epsilon is not None or bool(self.dropped)


def _network(of: Sequence[Rule], *files: tuple[str, float, float], **variant: Any) -> Network:
    return Network(of, tuple(File(*file) for file in files), **variant)


def _efficientnet(*files: tuple[str, float, float], epsilon: float | None = 1e-5) -> Network:
    return _network(rules.EFFICIENTNET, *files, symmetric=True, epsilon=epsilon)


def _convnext(name: str, *files: tuple[str, float, float]) -> Network:
    # Keras normalizes the last map; torchvision normalizes its mean, as a part of the top.
    return _network(
        rules.convnext(name),
        *files,
        settings={"include_preprocessing": False},
        dropped=r"layer_normalization(_\d+)?",
    )


_16, _19 = (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)

# By the names of the table of backbones: file, accuracy in percent, MiB.
NETWORKS = {
    "resnet18": _network(
        rules.RESNET,
        ("resnet18-f37072fd", 69.758, 44.661),
    ),
    "resnet34": _network(
        rules.RESNET,
        ("resnet34-b627a593", 73.314, 83.275),
    ),
    "resnet50_v1b": _network(
        rules.RESNET,
        ("resnet50-0676ba61", 76.13, 97.781),
        ("resnet50-11ad3fa6", 80.858, 97.79),
    ),
    "resnet101_v1b": _network(
        rules.RESNET,
        ("resnet101-63fe2227", 77.374, 170.511),
        ("resnet101-cd907fc2", 81.886, 170.53),
    ),
    "resnet152_v1b": _network(
        rules.RESNET,
        ("resnet152-394f9c45", 78.312, 230.434),
        ("resnet152-f82ba261", 82.284, 230.474),
    ),
    "resnext50_32x4d": _network(
        rules.RESNET,
        ("resnext50_32x4d-7cdf4587", 77.618, 95.789),
        ("resnext50_32x4d-1a0047aa", 81.198, 95.833),
    ),
    "resnext101_32x8d": _network(
        rules.RESNET,
        ("resnext101_32x8d-8ba56ff5", 79.312, 339.586),
        ("resnext101_32x8d-110c445d", 82.834, 339.673),
    ),
    "resnext101_64x4d": _network(
        rules.RESNET,
        ("resnext101_64x4d-173b62eb", 83.246, 319.318),
    ),
    "wide_resnet50_2": _network(
        rules.RESNET,
        ("wide_resnet50_2-95faca4d", 78.468, 131.82),
        ("wide_resnet50_2-9ba9bcbe", 81.602, 263.124),
    ),
    "wide_resnet101_2": _network(
        rules.RESNET,
        ("wide_resnet101_2-32ee1156", 78.848, 242.896),
        ("wide_resnet101_2-d733dc28", 82.51, 484.747),
    ),
    "VGG16": _network(
        rules.vgg(_16, norm=False),
        ("vgg16-397923af", 71.592, 527.796),
    ),
    "VGG19": _network(
        rules.vgg(_19, norm=False),
        ("vgg19-dcbb9e9d", 72.376, 548.051),
    ),
    "vgg16_bn": _network(
        rules.vgg(_16, norm=True),
        ("vgg16_bn-6c64b313", 73.36, 527.866),
    ),
    "vgg19_bn": _network(
        rules.vgg(_19, norm=True),
        ("vgg19_bn-c79401a0", 74.218, 548.143),
    ),
    "DenseNet121": _network(
        rules.DENSENET,
        ("densenet121-a639ec97", 74.434, 30.845),
    ),
    "densenet161": _network(
        rules.DENSENET,
        ("densenet161-8d451a50", 77.138, 110.369),
    ),
    "DenseNet169": _network(
        rules.DENSENET,
        ("densenet169-b2777c0a", 75.6, 54.708),
    ),
    "DenseNet201": _network(
        rules.DENSENET,
        ("densenet201-c1103571", 76.896, 77.373),
    ),
    "MobileNetV2": _network(
        rules.MOBILENET_V2,
        ("mobilenet_v2-b0353104", 71.878, 13.555),
        ("mobilenet_v2-7ebf99e0", 72.154, 13.598),
        symmetric=True,
        epsilon=1e-5,
    ),
    "MobileNetV3Small": _network(
        rules.MOBILENET_V3,
        ("mobilenet_v3_small-047dcff4", 67.668, 9.829),
        symmetric=True,
        settings={"include_preprocessing": False},
    ),
    "MobileNetV3Large": _network(
        rules.MOBILENET_V3,
        ("mobilenet_v3_large-8738ca79", 74.042, 21.114),
        ("mobilenet_v3_large-5c1a4163", 75.274, 21.107),
        symmetric=True,
        settings={"include_preprocessing": False},
    ),
    "EfficientNetB0": _efficientnet(
        ("efficientnet_b0_rwightman-7f5810bc", 77.692, 20.451),
    ),
    "EfficientNetB1": _efficientnet(
        ("efficientnet_b1_rwightman-bac287d4", 78.642, 30.134),
        ("efficientnet_b1-c27df63c", 79.838, 30.136),
    ),
    "EfficientNetB2": _efficientnet(
        ("efficientnet_b2_rwightman-c35c1473", 80.608, 35.174),
    ),
    "EfficientNetB3": _efficientnet(
        ("efficientnet_b3_rwightman-b3899882", 82.008, 47.184),
    ),
    "EfficientNetB4": _efficientnet(
        ("efficientnet_b4_rwightman-23ab8bcd", 83.384, 74.489),
    ),
    "EfficientNetB5": _efficientnet(
        ("efficientnet_b5_lukemelas-1a07897c", 83.444, 116.864),
        epsilon=None,
    ),
    "EfficientNetB6": _efficientnet(
        ("efficientnet_b6_lukemelas-24a108a5", 84.008, 165.362),
        epsilon=None,
    ),
    "EfficientNetB7": _efficientnet(
        ("efficientnet_b7_lukemelas-c5b4e57e", 84.122, 254.675),
        epsilon=None,
    ),
    "ConvNeXtTiny": _convnext(
        "convnext_tiny",
        ("convnext_tiny-983f1562", 82.52, 109.119),
    ),
    "ConvNeXtSmall": _convnext(
        "convnext_small",
        ("convnext_small-0c510722", 83.616, 191.703),
    ),
    "ConvNeXtBase": _convnext(
        "convnext_base",
        ("convnext_base-6075fbad", 84.062, 338.064),
    ),
    "ConvNeXtLarge": _convnext(
        "convnext_large",
        ("convnext_large-ea097f82", 84.414, 754.537),
    ),
    "resnet18_v1c": _network(rules.RESNET),
    "resnet50_v1c": _network(rules.RESNET),
    "resnet101_v1c": _network(rules.RESNET),
    # Of DeepLab's authors, by the names of TensorFlow.
    "xception65": _network(
        XCEPTION65_ALONE,
        preprocessing="tf",
        elsewhere="Its authors do: pass the path of "
        "http://download.tensorflow.org/models/deeplabv3_xception_2018_01_04.tar.gz "
        "(ImageNet), or of a DeepLab on it.",
    ),
    **{
        f"efficientnet_lite{n}": _network(
            EFFICIENTNET_LITE,
            preprocessing="tf",
            elsewhere=f"timm publishes tf_efficientnet_lite{n}: pass the path of "
            f"{_TIMM}tf_efficientnet_lite{n}-{digits}.pth",
        )
        for n, digits in enumerate(("0aa007d2", "bde8b488", "dcccb7df", "b733e338", "741542c3"))
    },
    **{
        f"mit_b{n}": _network(
            ENCODER,
            elsewhere=f"NVIDIA publishes it: pass the path of its mit_b{n}.pth, or of the file at "
            f"https://huggingface.co/nvidia/mit-b{n}",
        )
        for n in range(6)
    },
}

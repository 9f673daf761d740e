"""The network that a file seems to hold, for messages."""

import re
from collections.abc import Iterable

# Pattern that some name has, and where such names come from; the first that fits counts.
_SIGNS = (
    (r"backbone\.stem\.\d+\.|decode_head\.|backbone\.encoder\.\d+\.\d", "MMSegmentation"),
    (r"segmentation_head\.|decoder\.blocks\.", "segmentation_models_pytorch"),
    (r"classifier\.(low|high)_classifier\.", "torchvision, LR-ASPP"),
    (r"classifier\.0\.convs\.", "torchvision, DeepLabv3"),
    (r"(aux_)?classifier\.4\.(weight|bias)", "torchvision, FCN"),
    (r"scratch\.refinenet\d", "MiDaS or DPT"),
    (r"base\.aspp\.c\d|base\.layer\d\.block\d", "DeepLabv2 of kazuto1011"),
    (r"model\d\.\d+\.weight", "the colorization of richzhang"),
    (r"(xception_\d+|MobilenetV\d)/", "TensorFlow DeepLab"),
    (r"(logits|image_pooling|aspp\d)/", "TensorFlow DeepLab"),
    (r"crfrnn/", "CRF-RNN of sadeepj"),
    (r"conv\d_\d_D[./]", "SegNet of its authors (Caffe)"),
    (r"conv5_3_pool\d_conv[./]", "PSPNet of its authors (Caffe)"),
    (r"ppm\.features\.\d\.\d\.", "PSPNet of semseg"),
    (r"ctx?_conv\d_\d[./]", "dilated context of Yu and Koltun (Caffe)"),
    (r"upscore\d*[./]|score_fr[./]", "FCN of its authors (Caffe)"),
    (r"res\d[a-z]\d*_branch\d", "a ResNet of Caffe"),
    (r"(encoder|backbone)?\.?layer4\.\d+\.conv\d\.weight", "a ResNet of PyTorch"),
    (r"features\.denseblock\d", "a DenseNet of torchvision"),
    (r"features\.\d+\.(block|conv)\.", "a MobileNet or EfficientNet of torchvision"),
    (r"features\.\d+\.weight", "a VGG or AlexNet of torchvision"),
    (r"blocks\.\d+\.attn\.", "a vision transformer"),
)
_RESNETS: dict[tuple[int, ...], str] = {
    (2, 2, 2, 2): "ResNet-18",
    (3, 4, 6, 3): "ResNet-34 or -50",
    (3, 4, 23, 3): "ResNet-101",
    (3, 8, 36, 3): "ResNet-152",
}


def looks_like(keys: Iterable[str]) -> str | None:
    """A description of the network whose tensors have these names; `None` if it is unknown.

    >>> looks_like(["backbone.conv1.weight", "classifier.0.convs.0.0.weight"])
    'torchvision, DeepLabv3'
    """
    keys = list(keys)
    for pattern, what in _SIGNS:
        compiled = re.compile(rf"(.*[./])?(?:{pattern})")
        if any(compiled.match(key) for key in keys):
            network = _resnet(keys)
            classifier = any(re.search(r"(^|\.)fc\.weight$", key) for key in keys)
            top = ", with the top of a classifier" if classifier else ""
            return what + (f" on {network}" if network else "") + top
    return None


def _resnet(keys: list[str]) -> str | None:
    """The ResNet within, from the number of blocks in each stage."""
    counts = []
    for stage in range(1, 5):
        found = {
            int(match[1])
            for key in keys
            if (match := re.search(rf"(?:^|[._])layer{stage}\.(\d+)\.conv1\.", key))
        }
        counts.append(len(found))
    return _RESNETS.get(tuple(counts))

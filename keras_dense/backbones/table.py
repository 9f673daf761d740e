"""What `keras.applications` does not say about its networks."""

from dataclasses import dataclass, field

# Arguments of `Standardize` for RGB images 0–255, by the names that Keras gives the conventions.
PREPROCESSING = {
    None: None,
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
        members: the names in `keras.applications`.
        preprocessing: what the weights expect, a key of `PREPROCESSING`; `None` where the network
            standardizes by itself.
        build_size: the size at which the graph must be built; free where it may be.
        taps: features for each member, where the textbook's differ from what the walk finds.
    """

    members: tuple
    preprocessing: str | None
    build_size: tuple = (None, None)
    taps: dict = field(default_factory=dict)


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

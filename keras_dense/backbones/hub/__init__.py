"""Backbones of KerasHub, for images of any size."""

from typing import Any

import keras

from keras_dense.backbones.hub import convolutional, mit, swin

_CONVOLUTIONAL = (
    "CSPNetBackbone",
    "DenseNetBackbone",
    "EfficientNetBackbone",
    "HGNetV2Backbone",
    "MobileNetBackbone",
    "ResNetBackbone",
    "VGGBackbone",
    "XceptionBackbone",
)
_TRUNKS = {
    "MiTBackbone": mit.trunk,
    "SwinTransformerBackbone": swin.trunk,
    **dict.fromkeys(_CONVOLUTIONAL, convolutional.trunk),
}


def trunk_of(model: Any) -> keras.Model | None:
    """A network from images of any size to features, or `None` for a model of no known class."""
    for kind in type(model).__mro__:
        if kind.__module__.startswith("keras_hub.") and kind.__name__ in _TRUNKS:
            return _TRUNKS[kind.__name__](model)
    return None

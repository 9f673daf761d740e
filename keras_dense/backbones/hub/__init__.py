"""Backbones of KerasHub whose features have to be read in a way of their own.

One file for each family of networks. A family is found by the class of the model, without importing
KerasHub. All others go the way of any network: a walk through the graph.
"""

import importlib
from typing import Any

import keras

# The file of a family, and the part of the model that sees, by class of KerasHub.
FAMILIES = {
    "CLIPBackbone": ("clip", "vision_encoder"),
    "CLIPVisionEncoder": ("clip", ""),
    "CSPNetBackbone": ("convolutional", ""),
    "DINOV2Backbone": ("dinov2", ""),
    "DINOV3Backbone": ("dinov3", ""),
    "DeiTBackbone": ("deit", ""),
    "DenseNetBackbone": ("convolutional", ""),
    "EfficientNetBackbone": ("convolutional", ""),
    "HGNetV2Backbone": ("convolutional", ""),
    "MiTBackbone": ("mit", ""),
    "MobileNetBackbone": ("convolutional", ""),
    "ResNetBackbone": ("convolutional", ""),
    "SigLIPBackbone": ("siglip", "vision_encoder"),
    "SigLIPVisionEncoder": ("siglip", ""),
    "SwinTransformerBackbone": ("swin", ""),
    "VGGBackbone": ("convolutional", ""),
    "ViTBackbone": ("vit", ""),
    "ViTDetBackbone": ("vit_det", ""),
    "XceptionBackbone": ("convolutional", ""),
}


def hub_class(model: Any) -> str | None:
    """The nearest class of KerasHub that a model is of; `None` for other models.

    >>> hub_class(keras.Sequential()) is None
    True
    """
    return next(iter(_hub_classes(model)), None)


def _hub_classes(model):
    kinds = type(model).__mro__
    return [kind.__name__ for kind in kinds if kind.__module__.startswith("keras_hub.")]


def hub_backbone(
    model: Any,
    *,
    taps: Any = None,
    preprocessing: Any = None,
    name: str | None = None,
    argument: str = "model",
) -> keras.Model | None:
    """The backbone that a model of KerasHub becomes, for images of any size.

    Of a model with a task, such as an image classifier, its backbone is taken; of one for images
    and text, the part that sees images.

    Args:
        model: any object.
        taps: see `kd.backbone`.
        preprocessing: see `kd.backbone`.
        name: str, the name of the new model.
        argument: str, the name of `model` in messages.

    Returns:
        A functional `keras.Model`, or `None` if the family has no file here.

    Raises:
        ValueError: for a network that does not see images, or taps that it does not have.

    >>> hub_backbone(keras.Sequential()) is None
    True
    """
    kinds = _hub_classes(model)
    if "Task" in kinds and getattr(model, "backbone", None) is not None:
        model = model.backbone
        kinds = _hub_classes(model)
    if not kinds:
        return None
    family = next((FAMILIES[kind] for kind in kinds if kind in FAMILIES), None)
    if family is None:
        _check_sees(model, argument)
        return None
    file, part = family
    module = importlib.import_module(f"keras_dense.backbones.hub.{file}")
    model = getattr(model, part) if part else model
    return module.build(
        model, taps=taps, preprocessing=preprocessing, name=name or model.name, argument=argument
    )


def _check_sees(model, argument):
    """Raise a `ValueError` for a backbone of text or sound."""
    if not hasattr(model, "inputs") or any(len(x.shape) == 4 for x in model.inputs):
        return
    names = ", ".join(repr(x.name) for x in model.inputs)
    raise ValueError(
        f"`{argument}` must be a network of images. Received: {model.name!r} "
        f"({type(model).__name__}), whose inputs are {names}"
    )

"""A classifier by name, with its pretrained weights and its input convention, as a backbone."""

from collections.abc import Mapping
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.backbones.application import (
    Preprocessing,
    application,
    arguments,
    family_of,
    is_application,
    standardized,
)
from keras_dense.backbones.hub import hub_backbone, hub_class, is_plain, presets
from keras_dense.surgery.feature_pyramid import (
    align,
    feature_pyramid,
    has_features,
    has_valid_windows,
    image_of,
    last_features,
    named_layers,
    pyramid_of,
    resized,
)
from keras_dense.surgery.graph import functional
from keras_dense.surgery.replace_input import replace_input

# Names of layers, or numbers of transformer blocks, by the name of the feature; or "patches".
Taps = Mapping[str, str] | Mapping[str, int] | str


def as_backbone(
    backbone: str | keras.Model,
    weights: PathLike | None = "imagenet",
    *,
    channels: int = 3,
    taps: Taps | None = None,
    top: bool = False,
    patches: bool = False,
) -> keras.Model:
    """A backbone from what builders take: a name, a classifier, or a backbone.

    A functional model with a dict as output is a backbone already, and returned unchanged. From a
    name or another model `kd.backbone` makes one. Builders that use the fully connected layers of
    a classifier ask for the `top`.

    Args:
        backbone: a name, or a functional `keras.Model`.
        weights: see `kd.backbone`; of a name only.
        channels: int ≥ 1, number of image channels.
        taps: see `kd.backbone`.
        top: bool. `True` returns a classifier with its top instead: a name's, at the input size of
            its weights and standardizing its images itself, or the model as it is.
        patches: bool, whether a plain vision transformer gives the maps of its patches, as with
            `taps="patches"`, which other networks do not have.

    Returns:
        A functional `keras.Model`: images 0–255 `(B, H, W, channels)` → a dict of features, or the
        output of the classifier.

    Raises:
        ValueError, TypeError, FileNotFoundError, ConnectionError: see `kd.backbone`.

    >>> features = as_backbone("mobilenet_v2", None)
    >>> as_backbone(features) is features
    True
    >>> as_backbone("mobilenet_v2", None, top=True).output_shape
    (None, 1000)
    """
    # The dict of a model of KerasHub has names of its own.
    named = isinstance(backbone, str) or hub_class(backbone) is not None
    if not named and has_features(backbone, "backbone"):
        return backbone
    if not top:
        options = {"argument": "backbone", "patches": patches}
        return _backbone(backbone, weights, channels, taps, **options)
    if isinstance(backbone, str):
        model = application(backbone, weights, standardize=True, include_top=True)
    else:
        model = functional(backbone, "backbone")
    return model if image_of(model).shape[-1] == channels else replace_input(model, channels)


def backbone(
    source: str | keras.Model,
    weights: PathLike | None = "imagenet",
    *,
    channels: int = 3,
    taps: Taps | None = None,
    preprocessing: Preprocessing | None = None,
    name: str = "backbone",
    **kwargs: Any,
) -> keras.Model:
    """A backbone: a model from images to features at several strides, `{"P1": …, …, "P5": …}`.

    Images are RGB, 0–255; the model itself standardizes them (mean, scale, BGR) as the pretrained
    weights expect. `Pn` is the feature of stride 2ⁿ: see `kd.surgery.feature_pyramid` for how it is
    found, and `kd.surgery.strides(model)` for the strides.

    Plain vision transformers of KerasHub (ViT, DeiT, DINOv2, DINOv3, ViTDet, and the part of CLIP
    and SigLIP that sees images) become backbones for images of any size. Positions are interpolated
    as the authors do, and an image that the patch size does not divide is mirrored at the edge.
    The tokens of the patches after 1/4, 2/4, 3/4 and all of the blocks are "P2" to "P5", resampled
    bilinearly to strides 4, 8, 16 and 32. Those of DINOv2 and DINOv3 pass the last normalization
    first, as in the authors' dense predictors; others do not, as in DPT.

    Args:
        source: the name of a network of `keras.applications` in any case ("vgg16", "ResNet50",
            "mobilenet_v2"), of one that it lacks, or a functional `keras.Model`: your own
            classifier, a KerasHub or KerasCV backbone. Keras lacks torchvision's ResNets
            ("resnet18", "resnet34", "resnet50_v1b", "resnet101_v1b", "resnet152_v1b",
            "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2",
            "wide_resnet101_2"), those of MMSegmentation ("resnet18_v1c", "resnet50_v1c",
            "resnet101_v1c") and of PSPNet ("resnet50c", "resnet101c", "resnet152c"), "vgg16_bn",
            "vgg19_bn", "densenet161", "resnet38", "xception65", "xception71", "efficientnet_lite0"
            to "efficientnet_lite4", and "mit_b0" to "mit_b5": see `kd.backbones`. A preset of
            KerasHub for images ("dinov3_vit_small_lvd1689m"), its address ("hf://…", "kaggle://…")
            or a folder that `save_to_preset` wrote; its image converter's normalization becomes
            part of the model. Presets need KerasHub (`pip install keras-hub`).
        weights: for a name, `None` (random), "imagenet" (of `keras.applications`, or of
            torchvision for networks that only it has), "torchvision" or "torchvision/v2"
            (ImageNet, the first or the second version of torchvision's file), or the path of a
            file: weights of Keras (".weights.h5", with or without the top), or a checkpoint of
            torchvision, timm, SMP or MMSegmentation (".pth", ".pt", ".safetensors") that has
            torchvision's names; `backbone.`, `encoder.` and `module.` before them do no harm. Those
            of "mit_b0" to "mit_b5" have the names of NVIDIA, transformers, SMP or MMSegmentation.
            For weights of PyTorch the network is built as PyTorch has it: padding, batch norm,
            standardization. Of a preset, "imagenet" stands for its own weights. A model brings its
            own weights.
        channels: int ≥ 1, number of image channels; any other than 3 adapts the first convolution
            (`kd.surgery.replace_input`).
        taps: `{"P3": "layer name", …}`, other features than the walk would choose. Of plain vision
            transformers the numbers of blocks, from 1: `{"P2": 3, …}` at the stride of the level,
            `{"T1": 3, …}`, any other name, at the stride of the patches; "patches" stands for T1 to
            T4 after each quarter of the blocks.
        preprocessing: the range that the weights expect: "tf" (−1…1), "torch" (ImageNet mean and
            standard deviation), "caffe" (BGR minus the ImageNet mean), "none" (images as they
            are), or `{"mean": …, "std": …, "reverse_channels": …}`, the arguments of
            `kd.layers.Standardize`. `None`: as the weights of a name expect; for a model, images as
            they are (ViTDet takes images 0–1).
        name: str, the name of the model.
        **kwargs: passed to the function that builds the network, such as `alpha=0.5`, or to
            `keras_hub.models.Backbone.from_preset`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: for unknown names (the nearest are suggested), weights of another network,
            unknown taps or preprocessing, or a network of KerasHub that does not see images.
        TypeError: for a model whose graph cannot be read.
        ImportError: for a preset without KerasHub.
        FileNotFoundError, ConnectionError: where weights cannot be had.

    >>> backbone = backbone("mobilenet_v2", weights=None, alpha=0.35)
    >>> {level: feature.shape[-1] for level, feature in backbone.output.items()}
    {'P1': 48, 'P2': 48, 'P3': 96, 'P4': 192, 'P5': 1280}
    """
    return _backbone(source, weights, channels, taps, preprocessing, name, "source", **kwargs)


def _backbone(
    source,
    weights,
    channels,
    taps,
    preprocessing=None,
    name="backbone",
    argument="source",
    patches=False,
    **kwargs,
):
    """`backbone`, with errors that name the argument of the caller."""
    channels = _check.integer(channels, "channels", low=1)
    if isinstance(source, str) and (is_application(source) or not presets.is_preset(source)):
        return _from_name(source, weights, channels, taps, preprocessing, name, **kwargs)
    if isinstance(source, str):
        source, found = presets.load(source, weights, **kwargs)
        preprocessing = found if preprocessing is None else preprocessing
    elif kwargs:
        raise TypeError(f"A model takes no further arguments. Received: {arguments(kwargs)}")
    if patches and taps is None and is_plain(source):
        taps = "patches"
    return _from_model(source, channels, taps, preprocessing, name, argument)


def _from_name(source, weights, channels, taps, preprocessing, name, **kwargs):
    app, family = family_of(source)
    settings = {"standardize": True, "preprocessing": preprocessing, "include_top": False}
    model = application(source, weights, **settings, **kwargs)
    if has_valid_windows(model) or family.build_size != (None, None):
        model = align(model, resized(image_of(model)))
    chosen = family.taps.get(app) if taps is None else _names(taps, source)
    features = last_features(model) if chosen is None else named_layers(model, chosen)
    model = keras.Model(image_of(model), features, name=name)
    return _adapted(model, channels, name)


def _from_model(model, channels, taps, preprocessing, name, argument):
    settings = {"taps": taps, "preprocessing": preprocessing, "name": name}
    pyramid = hub_backbone(model, **settings, argument=argument)
    if pyramid is not None:
        return _adapted(pyramid, channels, name)
    taps = None if taps is None else _names(taps, model.name)
    pyramid = pyramid_of(model, taps, name, argument=argument)
    if preprocessing is not None:
        image = keras.Input(pyramid.input_shape[1:], name="image")
        pyramid = keras.Model(image, pyramid(standardized(image, preprocessing)), name=name)
        pyramid = feature_pyramid(pyramid, name=name)
    return _adapted(pyramid, channels, name)


def _names(taps, network):
    """`taps` of a network that is no plain vision transformer."""
    if isinstance(taps, str):
        wanted = "a dict from levels to names of layers"
        raise _check.fail("taps", f"{wanted} for {network!r}, which has no patches", taps)
    return taps


def _adapted(pyramid, channels, name):
    fits = pyramid.input_shape[-1] == channels
    return pyramid if fits else replace_input(pyramid, channels, name=name)

"""A classifier by name, with its pretrained weights and its input convention, as a backbone."""

import difflib
import warnings
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import PathLike, Tensor
from keras_dense.backbones.network import channels_last, load_weights
from keras_dense.backbones.table import FAMILIES, OWN, PREPROCESSING, Family
from keras_dense.layers import Standardize
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


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


_FAMILIES = {name: family for family in FAMILIES + OWN for name in family.members}
_NAMES = {_key(name): name for name in _FAMILIES}


def family_of(name: str) -> tuple[str, Family]:
    """The name of a network as its source spells it, and its row of the table.

    Raises:
        ValueError: for an unknown name; the nearest names are suggested.

    >>> name, family = family_of("resnet50")
    >>> name, family.preprocessing
    ('ResNet50', 'caffe')
    """
    if _key(name) not in _NAMES:
        near = difflib.get_close_matches(_key(name), _NAMES, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(_NAMES[n]) for n in near)}?" if near else ""
        raise ValueError(
            "`backbone` must be the name of a network of keras.applications or of "
            f"keras_dense.backbones, or a functional `keras.Model`. Received: {name!r}.{hint} "
            f"Known names: {', '.join(_NAMES.values())}"
        )
    name = _NAMES[_key(name)]
    return name, _FAMILIES[name]


def application(
    name: str,
    weights: PathLike | None = "imagenet",
    *,
    standardize: bool = False,
    **kwargs: Any,
) -> keras.Model:
    """A network of `keras.applications` or of this package by name, with its weights.

    Args:
        name: str, in any case.
        weights: "imagenet", `None` for random ones, or the path of a weights file.
        standardize: bool, whether the network takes images 0–255 and standardizes them itself, as
            its weights expect.
        **kwargs: passed to the function that builds the network, such as `include_top=False`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: for an unknown name, or weights that do not fit.
        FileNotFoundError: for a weights file that does not exist.
        ConnectionError: where ImageNet weights cannot be downloaded.

    >>> application("mobilenet_v2", weights=None, alpha=0.35, include_top=False).output_shape[-1]
    1280
    """
    name, family = family_of(name)
    build = channels_last()(family.builder(name))
    if standardize:
        size = (224, 224) if kwargs.get("include_top") else family.build_size
        image = keras.Input((*size, 3), name="image")
        kwargs["input_tensor"] = _standardized(image, family.preprocessing)
    if weights is None:
        return build(weights=None, **kwargs)
    if weights != "imagenet":
        model = build(weights=None, **kwargs)
        load_weights(model, weights, f"{name}({_arguments(kwargs)})")
        return model
    try:
        with warnings.catch_warnings():
            # MobileNets take the weights of 224×224 for free sizes, and say so.
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
            return build(weights="imagenet", **kwargs)
    except Exception as error:
        if "URL fetch failure" not in str(error):
            raise
        raise ConnectionError(
            f"The ImageNet weights of {name} could not be downloaded. Pass a file that you have, "
            f"`weights='path/to/{name.lower()}.weights.h5'`, or start from random ones with "
            f"`weights=None`. Keras says: {error}"
        ) from error


def _arguments(kwargs: dict[str, Any]) -> str:
    shown = {key: value for key, value in kwargs.items() if key != "input_tensor"}
    return ", ".join(f"{key}={value!r}" for key, value in shown.items())


def _standardized(image: Tensor, preprocessing: str | None) -> Tensor:
    settings = PREPROCESSING[_check.choice(preprocessing, "preprocessing", tuple(PREPROCESSING))]
    return Standardize(**settings, name="standardize")(image) if settings else image


def as_backbone(
    backbone: str | keras.Model,
    weights: PathLike | None = "imagenet",
    *,
    channels: int = 3,
    taps: dict[str, str] | None = None,
    top: bool = False,
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
    if not isinstance(backbone, str) and has_features(backbone, "backbone"):
        return backbone
    if not top:
        return _backbone(backbone, weights, channels, taps, argument="backbone")
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
    taps: dict[str, str] | None = None,
    preprocessing: str | None = None,
    name: str = "backbone",
    **kwargs: Any,
) -> keras.Model:
    """A backbone: a model from images to features at several strides, `{"P1": …, …, "P5": …}`.

    Images are RGB, 0–255; the model itself standardizes them (mean, scale, BGR) as the pretrained
    weights expect. `Pn` is the feature of stride 2ⁿ: see `kd.surgery.feature_pyramid` for how it is
    found, and `kd.surgery.strides(model)` for the strides.

    Args:
        source: the name of a network of `keras.applications` in any case ("vgg16", "ResNet50",
            "mobilenet_v2"), of one that it lacks ("xception65", "xception71", "resnet50c",
            "resnet101c", "resnet152c", "resnet38", "densenet161": see `kd.backbones`), or a
            functional `keras.Model`: your own classifier, a KerasHub or KerasCV backbone.
        weights: for a name, "imagenet" (where `keras.applications` has them), `None` (random), or
            the path of a weights file of that network (with or without its top). A model brings
            its own.
        channels: int ≥ 1, number of image channels; any other than 3 adapts the first convolution
            (`kd.surgery.replace_input`).
        taps: `{"P3": "layer name", …}`, other features than the walk would choose.
        preprocessing: for a model, the range that it expects: `None` (images as they are),
            "tf" (−1…1), "torch" (ImageNet mean and standard deviation) or "caffe" (BGR minus the
            ImageNet mean). For a name it is known.
        name: str, the name of the model.
        **kwargs: passed to the function that builds the network, such as `alpha=0.5`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: for unknown names (the nearest are suggested), weights of another network,
            unknown taps or preprocessing.
        TypeError: for a model whose graph cannot be read.
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
    **kwargs,
):
    """`backbone`, with errors that name the argument of the caller."""
    channels = _check.integer(channels, "channels", low=1)
    if isinstance(source, str):
        if preprocessing is not None:
            raise ValueError(
                "`preprocessing` must be None for a network by name, whose weights are known. "
                f"Received: preprocessing={preprocessing!r}"
            )
        return _from_name(source, weights, channels, taps, name, **kwargs)
    if kwargs:
        raise TypeError(f"A model takes no further arguments. Received: {_arguments(kwargs)}")
    return _from_model(source, channels, taps, preprocessing, name, argument)


def _from_name(source, weights, channels, taps, name, **kwargs):
    app, family = family_of(source)
    model = application(source, weights, standardize=True, include_top=False, **kwargs)
    if has_valid_windows(model) or family.build_size != (None, None):
        model = align(model, resized(image_of(model)))
    chosen = family.taps.get(app) if taps is None else taps
    features = last_features(model) if chosen is None else named_layers(model, chosen)
    model = keras.Model(image_of(model), features, name=name)
    return model if channels == 3 else replace_input(model, channels, name=name)


def _from_model(model, channels, taps, preprocessing, name, argument):
    pyramid = pyramid_of(model, taps, name, argument=argument)
    if preprocessing is not None:
        image = keras.Input(pyramid.input_shape[1:], name="image")
        pyramid = keras.Model(image, pyramid(_standardized(image, preprocessing)), name=name)
        pyramid = feature_pyramid(pyramid, name=name)
    adapted = pyramid.input_shape[-1] == channels
    return pyramid if adapted else replace_input(pyramid, channels, name=name)

"""A classifier by name, with its pretrained weights and its input convention, as a backbone."""

import difflib
import warnings

import keras

from keras_dense.backbones.network import channels_last, load_weights
from keras_dense.backbones.table import FAMILIES, OWN, PREPROCESSING
from keras_dense.layers import Standardize
from keras_dense.surgery.feature_pyramid import (
    align,
    feature_pyramid,
    has_valid_windows,
    image_of,
    last_features,
    named_layers,
    pyramid_of,
    resized,
)
from keras_dense.surgery.replace_input import replace_input


def _key(name):
    return name.lower().replace("_", "").replace("-", "")


_FAMILIES = {name: family for family in FAMILIES + OWN for name in family.members}
_NAMES = {_key(name): name for name in _FAMILIES}


def family_of(name):
    """The name of a network as its source writes it, and its row of the table.

    Raises:
        ValueError: for an unknown name, with the nearest ones.

    >>> name, family = family_of("resnet50")
    >>> name, family.preprocessing
    ('ResNet50', 'caffe')
    """
    if _key(name) not in _NAMES:
        near = difflib.get_close_matches(_key(name), _NAMES, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(_NAMES[n]) for n in near)}?" if near else ""
        raise ValueError(
            "`backbone` is not a network of keras.applications or of keras_dense.backbones. "
            f"Received: {name!r}.{hint} "
            f"Known: {', '.join(_NAMES.values())}. Or pass a functional `keras.Model`."
        )
    name = _NAMES[_key(name)]
    return name, _FAMILIES[name]


def application(name, weights="imagenet", standardize=False, **kwargs):
    """A network of `keras.applications` or of this package, by name in any case, with its weights.

    `standardize` puts what the weights expect of images 0–255 in front.

    Raises:
        ValueError: for an unknown name, or weights that do not fit.
        FileNotFoundError: for a weights file that is not there.
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
        load_weights(model, weights, what=f"{name}({_arguments(kwargs)})")
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


def _arguments(kwargs):
    shown = {key: value for key, value in kwargs.items() if key != "input_tensor"}
    return ", ".join(f"{key}={value!r}" for key, value in shown.items())


def _standardized(image, preprocessing):
    if preprocessing not in PREPROCESSING:
        raise ValueError(
            f"`preprocessing` must be one of {', '.join(map(repr, PREPROCESSING))}. "
            f"Received: preprocessing={preprocessing!r}"
        )
    settings = PREPROCESSING[preprocessing]
    return Standardize(**settings, name="standardize")(image) if settings else image


def backbone(
    source,
    weights="imagenet",
    *,
    channels=3,
    taps=None,
    preprocessing=None,
    name="backbone",
    **kwargs,
):
    """A backbone: a model from images to features at several strides, `{"P1": …, …, "P5": …}`.

    Images are RGB, 0–255; what the pretrained weights expect of them (mean, scale, BGR) is done
    inside. `Pn` is the feature of stride 2ⁿ: see `kd.surgery.feature_pyramid` for how it is
    found, and `kd.surgery.strides(model)` for the strides.

    Args:
        source: the name of a network of `keras.applications` in any case ("vgg16", "ResNet50",
            "mobilenet_v2"), of one that it lacks ("xception65", "xception71", "resnet50c",
            "resnet101c", "resnet152c", "resnet38", "densenet161": see `kd.backbones`), or a
            functional `keras.Model`: your own classifier, a KerasHub or KerasCV backbone.
        weights: for a name, "imagenet" (where `keras.applications` has them), `None` (random), or
            the path of a weights file of that network (with or without its top). A model brings
            its own.
        channels: number of image channels; other than 3 adapts the first convolution
            (`kd.surgery.replace_input`).
        taps: `{"P3": "layer name", …}`: other features than the walk would choose.
        preprocessing: for a model, what it expects of its input: `None` (images as they are),
            "tf" (−1…1), "torch" (ImageNet mean and standard deviation) or "caffe" (BGR minus the
            ImageNet mean). Names know theirs.
        name: name of the model.
        **kwargs: handed to the network's function, such as `alpha=0.5`.

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
    if not isinstance(source, str):
        if kwargs:
            raise TypeError(f"A model takes no further arguments. Received: {_arguments(kwargs)}")
        return _from_model(source, channels, taps, preprocessing, name)
    if preprocessing is not None:
        raise ValueError("`preprocessing` is for a model; a name knows what its weights expect.")
    app, family = family_of(source)
    model = application(source, weights, standardize=True, include_top=False, **kwargs)
    if has_valid_windows(model) or family.build_size != (None, None):
        model = align(model, resized(image_of(model)))
    chosen = family.taps.get(app) if taps is None else taps
    features = last_features(model) if chosen is None else named_layers(model, chosen)
    model = keras.Model(image_of(model), features, name=name)
    return model if channels == 3 else replace_input(model, channels, name=name)


def _from_model(model, channels, taps, preprocessing, name):
    pyramid = pyramid_of(model, taps, name, argument="source")
    if preprocessing is not None:
        image = keras.Input(pyramid.input_shape[1:], name="image")
        pyramid = keras.Model(image, pyramid(_standardized(image, preprocessing)), name=name)
        pyramid = feature_pyramid(pyramid, name=name)
    return (
        pyramid if pyramid.input_shape[-1] == channels else replace_input(pyramid, channels, name)
    )

"""A classifier by name: its weights and its input convention."""

import difflib
import warnings
from collections.abc import Mapping
from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import PathLike, Tensor
from keras_dense.backbones import published
from keras_dense.backbones.hub import presets
from keras_dense.backbones.network import channels_last, load_weights
from keras_dense.backbones.table import FAMILIES, OWN, PREPROCESSING, Family
from keras_dense.layers import Standardize

# A convention by its name, or as arguments of `Standardize`.
Preprocessing = str | Mapping[str, Any]


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
    if not is_application(name):
        names = _NAMES | {_key(preset): preset for preset in presets.names()}
        near = difflib.get_close_matches(_key(name), names, n=3, cutoff=0.5)
        hint = f" Did you mean {' or '.join(repr(names[n]) for n in near)}?" if near else ""
        raise ValueError(
            "`backbone` must be the name of a network of keras.applications or of "
            "keras_dense.backbones, a preset of KerasHub for images (its name or its folder), or a "
            f"functional `keras.Model`. Received: {name!r}.{hint} "
            f"{presets.missing()}Known names: {', '.join(_NAMES.values())}"
        )
    name = _NAMES[_key(name)]
    return name, _FAMILIES[name]


def is_application(name: str) -> bool:
    """True if `application` knows a name.

    >>> is_application("resnet50"), is_application("dinov2_small")
    (True, False)
    """
    return _key(name) in _NAMES


def application(
    name: str,
    weights: PathLike | None = "imagenet",
    *,
    standardize: bool = False,
    preprocessing: Preprocessing | None = None,
    **kwargs: Any,
) -> keras.Model:
    """A network of `keras.applications` or of this package by name, with its weights.

    Args:
        name: str, in any case.
        weights: see `kd.backbone`.
        standardize: bool, whether the network takes images 0–255 and standardizes them itself, as
            its weights expect.
        preprocessing: a convention in place of that of the weights, see `kd.backbone`; implies
            `standardize`.
        **kwargs: passed to the function that builds the network, such as `include_top=False`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ValueError: for an unknown name, or weights that do not fit.
        FileNotFoundError: for a weights file that does not exist.
        ConnectionError: where weights cannot be downloaded.

    >>> application("mobilenet_v2", weights=None, alpha=0.35, include_top=False).output_shape[-1]
    1280
    """
    name, family = family_of(name)
    weights = published.source(name, weights)
    network = published.network_of(name, weights)
    path = None if network is None else published.path_of(name, weights)
    convention = network.preprocessing if network else family.preprocessing
    if network:
        kwargs = {**network.settings, **kwargs}
    if standardize or preprocessing is not None:
        size = (224, 224) if kwargs.get("include_top") else family.build_size
        image = keras.Input((*size, 3), name="image")
        chosen = convention if preprocessing is None else preprocessing
        kwargs["input_tensor"] = standardized(image, chosen)
    build = channels_last()(family.builder(name))
    model = _with_weights_of_keras(name, build, None if network else weights, kwargs)
    if network:
        model = published.variant(model, network)
        published.load(model, path, network, f"{name}({arguments(kwargs)})")
    elif preprocessing is not None and family.preprocessing is None:
        model = published.without_preprocessing(model)
    return model


def _with_weights_of_keras(name, build, weights, kwargs):
    if weights is None:
        return build(weights=None, **kwargs)
    if weights != "imagenet":
        model = build(weights=None, **kwargs)
        load_weights(model, weights, f"{name}({arguments(kwargs)})")
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


def arguments(kwargs: Mapping[str, Any]) -> str:
    """Arguments as they are written in a call, for messages.

    >>> arguments({"alpha": 0.5, "include_top": False})
    'alpha=0.5, include_top=False'
    """
    shown = {key: value for key, value in kwargs.items() if key != "input_tensor"}
    return ", ".join(f"{key}={value!r}" for key, value in shown.items())


def standardized(image: Tensor, preprocessing: Preprocessing | None) -> Tensor:
    """Images 0–255 by a convention, see `kd.backbone`.

    >>> standardized(keras.Input((None, None, 3)), {"mean": 127.5, "std": 127.5}).shape
    (None, None, None, 3)
    """
    if isinstance(preprocessing, Mapping):
        settings = dict(preprocessing)
        if not settings or set(settings) - {"mean", "std", "reverse_channels"}:
            wanted = "a dict of 'mean', 'std', 'reverse_channels', or some of them"
            raise _check.fail("preprocessing", wanted, preprocessing)
    else:
        names = ", ".join(map(repr, PREPROCESSING))
        if preprocessing not in PREPROCESSING:
            wanted = f"one of {names}, or a dict of 'mean', 'std', 'reverse_channels'"
            raise _check.fail("preprocessing", wanted, preprocessing)
        settings = PREPROCESSING[preprocessing]
    return Standardize(**settings, name="standardize")(image) if settings else image

"""Presets of KerasHub: pretrained networks by name, with their normalization."""

import functools
import importlib.util
import inspect
import os
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense.backbones.hub import FAMILIES

_INSTALL = "pip install keras-hub"
_SCHEMES = ("kaggle://", "hf://", "modelscope://", "gs://")


def _is_installed():
    return importlib.util.find_spec("keras_hub") is not None


def _keras_hub(name):
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise ImportError(
            f"The preset {name!r} needs KerasHub, which could not be imported ({error}). Install "
            f"it with: {_INSTALL}"
        ) from error


def missing() -> str:
    """A hint to install KerasHub for messages, where it is not installed."""
    return "" if _is_installed() else f"Presets of KerasHub need it: {_INSTALL}. "


@functools.cache
def _classes() -> dict[str, Any]:
    """The class of each built-in preset."""
    if not _is_installed():
        return {}
    hub = importlib.import_module("keras_hub")
    kinds: list[Any] = [x for x in vars(hub.models).values() if inspect.isclass(x)]
    kinds = [x for x in kinds if issubclass(x, hub.models.Backbone)]
    # A class lists the presets of those derived from it, too: the most special one comes last.
    kinds.sort(key=lambda kind: len(kind.__mro__))
    return {preset: kind for kind in kinds for preset in kind.presets}


def _sees(kind):
    """True if a backbone of KerasHub takes images."""
    return kind.__name__ in FAMILIES or "image_shape" in inspect.signature(kind.__init__).parameters


def names() -> list[str]:
    """Names of KerasHub's presets for images; none where it is not installed."""
    return [name for name, kind in _classes().items() if _sees(kind)]


def is_preset(source: str) -> bool:
    """True if a name is that of a preset: built-in, an address, or a folder.

    >>> is_preset("hf://user/a_network"), is_preset("resnet50")
    (True, False)
    """
    return source.startswith(_SCHEMES) or os.path.isdir(source) or source in _classes()


def load(source: str, weights: Any = "imagenet", **kwargs: Any) -> tuple[keras.Model, Any]:
    """The network of a preset, and the normalization that it expects.

    Args:
        source: the name of a built-in preset, an address ("hf://…", "kaggle://…"), or a folder that
            `save_to_preset` wrote.
        weights: "imagenet" (those of the preset) or `None` (random ones).
        **kwargs: passed to `keras_hub.models.Backbone.from_preset`, such as `dtype="bfloat16"`.

    Returns:
        The model of KerasHub, and arguments of `kd.layers.Standardize` for images 0–255, or `None`
        where images are taken as they are.

    Raises:
        ValueError: for a network that does not see images, or other weights.
        ImportError: if KerasHub is not installed.
        ConnectionError: if files cannot be downloaded.
        FileNotFoundError: if the folder is no preset.
    """
    hub = _keras_hub(source)
    if weights is not None and weights != "imagenet":
        wanted = '"imagenet" (those of the preset) or None with the name of a preset of KerasHub'
        raise _check.fail("weights", wanted, weights)
    kind = _classes().get(source)
    if kind is not None and not _sees(kind):
        raise ValueError(
            "`backbone` must be a network of images. Received: the preset "
            f"{source!r} of KerasHub, which is a {kind.__name__}"
        )
    if os.path.isdir(source) and not os.path.exists(os.path.join(source, "config.json")):
        raise FileNotFoundError(
            f"The folder {source!r} is no preset of KerasHub: it has no 'config.json'. "
            "`model.save_to_preset(folder)` writes one."
        )
    model = _fetched(
        source, hub.models.Backbone.from_preset, load_weights=weights is not None, **kwargs
    )
    return model, _normalization(source, hub)


def _fetched(source, load, **kwargs):
    try:
        return load(source, **kwargs)
    except Exception as error:
        if _is_about_a_missing_preset(error):
            raise FileNotFoundError(
                f"There is no preset of KerasHub at {source!r}, or only for those who log in. "
                f"KerasHub says: {_short(error)}"
            ) from error
        if not _is_about_the_network(error):
            raise
        raise ConnectionError(
            f"The preset {source!r} of KerasHub could not be downloaded. Load it once where there "
            "is a network, write it to a folder with `save_to_preset` (the backbone and the image "
            "converter), and pass the folder: `kd.backbone('path/to/folder')`. KerasHub says: "
            f"{_short(error)}"
        ) from error


def _short(error):
    return f"{' '.join(str(error).split()):.400}"


def _causes(error):
    """An error and those that led to it, each with the names of its classes."""
    while error is not None:
        yield error, {kind.__name__ for kind in type(error).__mro__}
        error = error.__cause__ or error.__context__


def _is_about_a_missing_preset(error):
    """True if a server answered that it does not have, or does not show, what was asked for."""
    for cause, names in _causes(error):
        if names & {"RepositoryNotFoundError", "RemoteEntryNotFoundError"}:
            return True
        if getattr(getattr(cause, "response", None), "status_code", None) in (401, 403, 404):
            return True
    return False


def _is_about_the_network(error):
    """True if a failed connection is at the root of an error, whichever client reports it."""
    for _, names in _causes(error):
        if names & {"ConnectionError", "ConnectError", "HTTPError", "Timeout", "TimeoutException"}:
            return True
        if names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "URLError", "gaierror"}:
            return True
    return False


def _normalization(source, hub):
    """Mean and standard deviation in the scale 0–255, from the image converter of a preset.

    A converter multiplies by a scale, then adds an offset.
    """
    try:
        converter = hub.layers.ImageConverter.from_preset(source)
    except (FileNotFoundError, ValueError):  # The preset has none.
        return None
    if converter.scale is None and converter.offset is None:
        return None
    scale = np.ravel(1.0 if converter.scale is None else converter.scale).astype("float64")
    offset = np.ravel(0.0 if converter.offset is None else converter.offset).astype("float64")
    mean, std = np.broadcast_arrays(-offset / scale, 1 / scale)
    if mean.size == 1:
        return {"mean": float(mean[0]), "std": float(std[0])}
    return {"mean": mean.tolist(), "std": std.tolist()}

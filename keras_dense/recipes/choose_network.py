"""Choices of the network, the backbone, and the weights that it starts from."""

import os
import pathlib
from typing import Any

import keras_dense.decoders as decoders
import keras_dense.models as models
import keras_dense.weights as published
from keras_dense._types import PathLike
from keras_dense.backbones.application import is_application
from keras_dense.recipes import numbers as N
from keras_dense.recipes.recipe import GIVEN, Recipe


def choose_network(
    recipe: Recipe,
    kind: N.Kind,
    network: str | None,
    backbone: str | None,
    weights: PathLike | None,
) -> None:
    """Set the builder, the backbone and its weights; see `choose`."""
    if weights is not None and str(weights) in published.list():
        recipe.set("network", None, "The published network, with new heads.")
        recipe.set("network_arguments", {}, "Those of the published network.")
        recipe.set("backbone", None, "That of the published network.")
        recipe.set("backbone_arguments", {}, "Those of the published network.")
        recipe.set("weights", str(weights), "Given: the whole network is trained on.")
        recipe.set("weights_file", None, "Of the published network; downloaded by default.")
        return
    if network is not None and not (network in models.__all__ or is_decoder(network)):
        raise ValueError(
            f"`network` must be the name of a builder or a decoder. Received: network={network!r}"
        )
    why = f"Usual for this kind of images ({recipe.value('kind')})."
    recipe.set("network", network or kind.network, GIVEN if network else why)
    own = {} if network else dict(kind.network_arguments)
    recipe.set("network_arguments", own, "Of the builder; {} are its defaults.")
    of_file: str | None = None
    arguments: dict[str, Any] = {}
    if weights not in (None, "imagenet") and not str(weights).startswith("torchvision"):
        path = pathlib.Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                "`weights` must be 'imagenet', None, the name of a published network, or the path "
                f"of a file. Received: weights={str(weights)!r}"
            )
        of_file, arguments = backbone_of(path)
        weights = str(path.resolve())
    if backbone is not None:
        arguments = arguments if of_file and _plain(backbone) == _plain(of_file) else {}
        why = GIVEN
    elif of_file:
        why = "As the file of the weights is called."
    else:
        why = "Small enough for a CPU, and good."
    recipe.set("backbone", backbone or of_file or N.BACKBONE, why)
    recipe.set("backbone_arguments", arguments, "Of the backbone; {} are its defaults.")
    reason = "Random: no weights were wanted." if weights is None else "Pretrained on ImageNet."
    recipe.set("weights", weights, reason)


def is_decoder(name: str) -> bool:
    """Whether a name is that of the decoder of a network.

    >>> is_decoder("fcn"), is_decoder("conv_bn_relu")
    (True, False)
    """
    return getattr(getattr(decoders, name, None), "__name__", "") == f"{name}_decoder"


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def backbone_of(path: PathLike) -> tuple[str | None, dict[str, Any]]:
    """Name and arguments of the backbone that a file of weights is called by.

    >>> backbone_of("weights/mobilenet_v1_0.25_128.weights.h5")
    ('mobilenet', {'alpha': 0.25})
    >>> backbone_of("weights/mine.h5")
    (None, {})
    """
    name = os.path.basename(path).removesuffix(".h5").removesuffix(".weights")
    tokens = name.split("_")
    for end in range(len(tokens), 0, -1):
        first = "_".join(tokens[:end])
        if not is_application(first):
            continue
        arguments: dict[str, Any] = {}
        for token in tokens[end:]:
            if "mobilenet" in _plain(first) and token.replace(".", "", 1).isdigit():
                if 0 < float(token) < 2 and float(token) != 1:
                    arguments = {"alpha": float(token)}
        return first, arguments
    return None, {}

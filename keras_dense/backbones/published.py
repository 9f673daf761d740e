"""Published weights of PyTorch's networks: which file, which variant of the network, reading."""

import difflib
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from keras_dense._types import Array, Nested, PathLike
from keras_dense._weights.fetch import fetch
from keras_dense._weights.read import read
from keras_dense._weights.report import Report
from keras_dense._weights.rules import Rule, plan, unwrapped
from keras_dense.backbones.torchvision import NETWORKS, Network
from keras_dense.layers import Standardize
from keras_dense.surgery.feature_pyramid import image_of, resized
from keras_dense.surgery.graph import rebuild
from keras_dense.surgery.pad_symmetrically import symmetric
from keras_dense.surgery.set_epsilon import with_epsilon

_SOURCE = re.compile(r"torchvision(?:/v([0-9]+))?")
_OF_KERAS = (".h5", ".hdf5", ".keras", ".weights.json")
# The networks of keras.applications that PyTorch has in another form.
_OTHER_FORM = {f"ResNet{n}": f"resnet{n}_v1b" for n in (50, 101, 152)}
# Names of the network within the networks of others.
_PREFIXES = ("backbone.", "encoder.")


def source(name: str, weights: PathLike | None) -> PathLike | None:
    """`weights`, with the source of ImageNet weights for a network that Keras has none of.

    >>> source("resnet34", "imagenet"), source("ResNet50", "imagenet")
    ('torchvision', 'imagenet')
    """
    known = name in NETWORKS and NETWORKS[name].files and not hasattr(keras.applications, name)
    return "torchvision" if weights == "imagenet" and known else weights


def network_of(name: str, weights: PathLike | None) -> Network | None:
    """The variant of a network for weights of PyTorch; `None` for those of Keras.

    Args:
        name: str, the name of the network in the table of backbones.
        weights: see `kd.backbone`.

    Raises:
        ValueError: for weights of PyTorch that the network cannot hold, or "imagenet" of a network
            without such weights for Keras.
        FileNotFoundError: for a file that does not exist.
    """
    if weights is None:
        return None
    if weights == "imagenet":
        if name in NETWORKS and not NETWORKS[name].files and not hasattr(keras.applications, name):
            raise ValueError(
                f"`weights` must be None (random) or a path: no ImageNet weights of {name!r} are "
                f"published for Keras. {NETWORKS[name].elsewhere} Received: weights='imagenet'"
            )
        return None
    by_name = isinstance(weights, str) and _SOURCE.fullmatch(weights) is not None
    if not by_name and not os.path.exists(weights):
        raise FileNotFoundError(
            "`weights` must be 'imagenet', 'torchvision', None, or the path of an existing file. "
            f"Received: weights={weights!r}"
        )
    if not by_name and os.fspath(weights).lower().endswith(_OF_KERAS):
        return None
    if name in NETWORKS:
        return NETWORKS[name]
    raise ValueError(_no_place(name, weights, by_name))


def _no_place(name: str, weights: PathLike, by_name: bool) -> str:
    if name in _OTHER_FORM:
        other = _OTHER_FORM[name]
        return (
            f"{name!r} of keras.applications strides in another convolution than PyTorch's, and "
            f"cannot hold its weights. Choose {other!r}. Received: weights={weights!r}"
        )
    near = difflib.get_close_matches(name.lower(), NETWORKS, n=2, cutoff=0.5)
    hint = f" Near to it: {' and '.join(map(repr, near))}." if near else ""
    if by_name:
        return (
            f"`weights` must be 'imagenet', None or a path: torchvision's weights of {name!r} are "
            f"not known.{hint} Received: weights={weights!r}"
        )
    return (
        f"`weights` of {name!r} must be a file of Keras ({', '.join(_OF_KERAS)}); how it is called "
        f"in files of PyTorch is not known.{hint} Received: weights={weights!r}"
    )


def path_of(name: str, weights: PathLike) -> pathlib.Path:
    """The file of weights of PyTorch, which is downloaded if they are given by name.

    Raises:
        ValueError: for a version that does not exist.
        ConnectionError: if it cannot be downloaded.
    """
    match = _SOURCE.fullmatch(weights) if isinstance(weights, str) else None
    if match is None:
        return pathlib.Path(weights)
    files, version = NETWORKS[name].files, int(match[1] or 1)
    if not files:
        raise ValueError(
            f"`weights` must be None or a path: torchvision does not have {name!r}. "
            f"{NETWORKS[name].elsewhere} Received: weights={weights!r}"
        )
    if not 1 <= version <= len(files):
        known = [f"'torchvision/v{n}' ({f.accuracy:.1f} %)" for n, f in enumerate(files, 1)]
        raise ValueError(
            f"`weights` of {name!r} must be {' or '.join(known)}, with the share of ImageNet's "
            f"validation images whose class comes first. Received: weights={weights!r}"
        )
    return fetch(files[version - 1].remote(name))


def without_preprocessing(model: keras.Model) -> keras.Model:
    """A network of keras.applications without the standardization that is a part of it."""
    return _rebuilt(model, _stripped(model))


def _rebuilt(model, rewrite):
    # The networks of keras.applications take a list of one image, where they standardize inside.
    image = image_of(model)
    return rebuild(model, rewrite, inputs=resized(image, *image.shape[1:3]))


def _stripped(model, dropped=""):
    """The rewriting that leaves out standardization by Keras, and layers by the pattern of name."""
    raw = {id(x) for x in model.inputs}

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if dropped and re.fullmatch(dropped, op.name):
            return args[0]
        if not any(id(x) in raw for x in node.input_tensors):
            return None
        if isinstance(op, (layers.Rescaling, layers.Normalization)):
            raw.add(id(node.outputs[0]))
            return args[0]
        if isinstance(op, Standardize):
            raw.add(id(node.outputs[0]))
        return None

    return rewrite


def variant(model: keras.Model, network: Network) -> keras.Model:
    """A network of keras.applications as torchvision has it, with the same weights."""
    rewrites = [_stripped(model, network.dropped)]
    if network.symmetric:
        rewrites.append(symmetric(model))
    if network.epsilon is not None:
        rewrites.append(with_epsilon(network.epsilon))

    def rewrite(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Nested | None:
        found = (one(node, copies, *args, **kwargs) for one in rewrites)
        return next((outputs for outputs in found if outputs is not None), None)

    return _rebuilt(model, rewrite) if network.altered else model


def backbone_tensors(tensors: Mapping[str, Array], rules: Sequence[Rule]) -> dict[str, Array]:
    """The tensors of a classifier, or of the backbone within a network of another project.

    >>> tensors = {"model.encoder.conv1.weight": 1, "model.decoder.conv1.weight": 2}
    >>> list(backbone_tensors(tensors, [Rule("conv1", "conv1", "conv")]))
    ['conv1.weight']
    """
    found = unwrapped(tensors, rules)
    for prefix in _PREFIXES:
        inner = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        if inner:
            return inner
    return found


def load(model: keras.Model, path: PathLike, network: Network, name: str) -> Report:
    """Read a file of PyTorch into a network in torchvision's variant.

    Args:
        model: the network, with or without the top.
        path: of the file.
        network: rules from the names of the file.
        name: str, the network in messages.

    Raises:
        ValueError: for a file that cannot be read, or holds another network. The network keeps its
            weights.
    """
    tensors = backbone_tensors(read(path), network.rules)
    ready = plan(tensors, model, network.rules, source=os.fspath(path))
    ready.check(strict=True)
    return ready.apply(restore=False)

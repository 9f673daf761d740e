"""Models from files, with their heads."""

import argparse
import importlib
import importlib.util
import json
import pathlib
import re
import sys
from collections.abc import Sequence

import keras

from keras_dense import weights as published
from keras_dense.heads import Heads, Segmentation, attach
from keras_dense.heads.model_heads import found
from keras_dense.surgery import accelerate
from keras_dense.surgery.graph import functional, has_graph


class Unusable(Exception):
    """A reason why a command is impossible, in words for its user."""


def add_import(parser: argparse.ArgumentParser) -> None:
    """Add the argument for code that a model file needs."""
    parser.add_argument(
        "--import",
        dest="modules",
        action="append",
        default=[],
        metavar="MODULE",
        help="import a module, or a .py file, that registers layers of the model "
        "(keras.saving.register_keras_serializable); it runs its code",
    )


def import_modules(named: Sequence[str]) -> None:
    """Import modules, or files of Python, that register layers and functions of a model.

    Raises:
        Unusable: if one cannot be imported.
    """
    for name in named:
        try:
            if not name.endswith(".py"):
                importlib.import_module(name)
                continue
            path = pathlib.Path(name)
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{name} is no file of Python")
            module = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = module
            spec.loader.exec_module(module)
        # A module of the user's may raise anything.
        except Exception as error:
            raise Unusable(f"--import {name}: {type(error).__name__}: {error}") from error


def load_model(named, weights=None):
    """The model of a `.keras` file, or a published network by name; the file comes first.

    Args:
        named: path or name. The model must take one batch of images.
        weights: path of the file of a published network; default: it is downloaded.

    Raises:
        Unusable: if there is no such model, it cannot be read, or it takes something else.
    """
    path = pathlib.Path(named)
    if is_published(named):
        return _pretrained(str(named), weights)
    if weights is not None:
        raise Unusable("--weights goes with the name of a published network, not with a file")
    if not path.is_file():
        raise Unusable(f"there is no model {str(path)!r}{published_hint(named)}")
    try:
        model = keras.saving.load_model(path, compile=False)
    # Deserialization of a layer may raise anything.
    except Exception as error:
        raise Unusable(f"{str(path)!r} cannot be loaded as a model ({_cause(error)})") from error
    accelerate(model)
    if not has_graph(model):
        raise Unusable(
            f"{str(path)!r} holds a {type(model).__name__} without a graph of layers, which cannot "
            "be read. Make it a functional model, keras.Model(inputs, outputs)"
        )
    model = functional(model)
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(x.shape) for x in inputs]
        raise Unusable(
            f"{str(path)!r} must take one batch of images (B, H, W, C); it takes "
            f"{shapes or 'unknown inputs'}"
        )
    return model


def is_published(named):
    """Check for the name of a published network where there is no such file."""
    return not pathlib.Path(named).is_file() and str(named) in published.list()


def published_hint(named):
    """A hint to published networks, for what might be a name of one."""
    if pathlib.Path(named).suffix:
        return ""
    try:
        published.info(str(named))
    except ValueError as error:
        return str(error).partition(repr(str(named)))[2]
    return ""


def _pretrained(name, weights):
    try:
        model = published.pretrained(name, weights)
    except ConnectionError as error:
        raise Unusable(f"{error}\nHere a file is passed with --weights FILE.") from error
    except (ImportError, OSError, ValueError) as error:
        raise Unusable(str(error)) from error
    size = published.info(name).test_size
    if size:
        print(f"{name}: its authors recommend images of this size: {size}")
    return model


def load_heads(
    model: keras.Model, path: pathlib.Path, named: str | None = None
) -> tuple[keras.Model, Heads]:
    """The model without auxiliary outputs, and its heads.

    Args:
        model: the result of `load_model`.
        path: its file, for messages.
        named: a file of heads in JSON, for a model that does not carry any.

    Raises:
        Unusable: if the file cannot be read, or heads and outputs do not fit.
    """
    if named is not None:
        heads = _read(named)
    else:
        heads = found(model) or _guessed(model, path)
    try:
        whole = attach(model, heads)
    except (TypeError, ValueError) as error:
        raise Unusable(f"{str(named or path)!r}: {_first(error)}") from error
    final = heads.final()
    outputs = final.pack(final.unpack(whole.output))
    return keras.Model(whole.input, outputs, name=model.name), final


def _guessed(model: keras.Model, path: pathlib.Path) -> Heads:
    """The heads of a model that carries none: one output of maps is a segmentation."""
    output = model.output
    if not isinstance(output, keras.KerasTensor):
        raise Unusable(
            f"{str(path)!r} has several outputs ({_names(output)}) and carries no heads; give "
            "--heads heads.json, written as json.dumps(keras.saving.serialize_keras_object(heads))"
        )
    if len(output.shape) != 4:
        raise Unusable(
            f"{str(path)!r} gives {tuple(output.shape)}, no prediction at every pixel: is it a "
            "classifier? See kd.surgery.convolutionalize, and the builders such as kd.fcn8s"
        )
    return Heads(Segmentation(output.shape[-1]))


def heads_file(named: str | None) -> pathlib.Path | None:
    """The file of heads that was named, or `None`."""
    if named is not None and not pathlib.Path(named).is_file():
        raise Unusable(f"there is no file of heads {str(named)!r}")
    return None if named is None else pathlib.Path(named)


def _read(named: str) -> Heads:
    file = heads_file(named) or pathlib.Path(named)
    try:
        return Heads(keras.saving.deserialize_keras_object(json.loads(file.read_text())))
    except Exception as error:
        raise Unusable(
            f"{str(file)!r} must hold heads as keras.saving.serialize_keras_object writes them "
            f"({_first(error)})"
        ) from error


def _names(output):
    if isinstance(output, dict):
        return ", ".join(map(repr, output))
    return f"{len(output)} tensors" if isinstance(output, (list, tuple)) else "one tensor"


def _cause(error: BaseException) -> str:
    """The reason why a model cannot be loaded, with the remedy where there is one."""
    texts = []
    inner: BaseException | None = error
    while inner is not None:
        texts.append(str(inner))
        inner = inner.__cause__ or inner.__context__
    whole = "\n".join(texts)
    if "Lambda" in whole and "safe_mode" in whole:
        named = re.search(r"'name': '([^']+)', 'trainable'[^{}]*'function'", whole)
        which = f"its Lambda layer {named[1]!r} holds" if named else "it has a Lambda layer, with"
        return (
            f"{which} Python code, which is never run from a file. If you trust the file, load it "
            "with keras.saving.load_model(path, safe_mode=False), put a layer of your own in its "
            "place, and save it again"
        )
    unknown = re.search(r"Could not locate (class|function|object) '([^']+)'", whole)
    if unknown:
        return (
            f"it needs the {unknown[1]} {unknown[2]!r}, which is neither part of Keras nor of "
            "keras_dense. --import MODULE imports the module (or .py file) that registers it: "
            "@keras.saving.register_keras_serializable()"
        )
    # Keras wraps errors: the innermost one has the reason.
    inside = (
        whole.rpartition("Exception encountered: ")[2] if "Exception encountered" in whole else ""
    )
    return _first(inside or texts[-1] or error)


def _first(error):
    """The first line of a message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

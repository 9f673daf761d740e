"""Models from files, with their heads."""

import json
import pathlib

import keras

from keras_dense import weights as published
from keras_dense.heads import Heads, Segmentation, attach
from keras_dense.heads.model_heads import found


class Unusable(Exception):
    """A reason why a command is impossible, in words for its user."""


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
        raise Unusable(f"{str(path)!r} cannot be loaded as a model ({_first(error)})") from error
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


def _first(error):
    """The first line of a message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

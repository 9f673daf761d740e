"""Models from files, with what they predict."""

import json
import pathlib

import keras

from keras_dense.heads import Auxiliary, Segmentation, as_heads

FILES = ("head.json", "heads.json")


class Unusable(Exception):
    """What makes a command impossible, in words for its user."""


def load_model(path):
    """The model of a `.keras` file, which must take one batch of images.

    Raises:
        Unusable: if there is no such file, it cannot be read, or its model takes something else.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise Unusable(f"there is no model {str(path)!r}")
    try:
        model = keras.saving.load_model(path, compile=False)
    # Keras raises whatever the deserialization of somebody's layer raises.
    except Exception as error:
        raise Unusable(f"{str(path)!r} cannot be loaded as a model ({_first(error)})") from error
    inputs = getattr(model, "inputs", None) or []
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(x.shape) for x in inputs]
        raise Unusable(
            f"{str(path)!r} must take one batch of images (B, H, W, C); it takes "
            f"{shapes or 'what cannot be read off it'}"
        )
    return model


def load_heads(model, path, named=None):
    """The model, giving what is predicted only, and its heads.

    Args:
        model: what `load_model` returned.
        path: its file, beside which heads are looked for.
        named: the file of the heads, if one was named.

    Returns:
        A functional model and a head, or a dict of heads, of its output's structure.

    Raises:
        Unusable: if the file cannot be read, or heads and outputs do not fit.
    """
    file = heads_file(path, named)
    if file is not None:
        heads = _read(file)
    elif isinstance(model.output, keras.KerasTensor) and len(model.output.shape) == 4:
        heads = Segmentation(model.output.shape[-1])
    elif isinstance(model.output, keras.KerasTensor):
        raise Unusable(
            f"{str(path)!r} gives {tuple(model.output.shape)}, nothing at every pixel: is it a "
            "classifier? See kd.surgery.convolutionalize, and the builders such as kd.fcn8s"
        )
    else:
        raise Unusable(
            f"{str(path)!r} has several outputs ({_names(model.output)}); say what they are: "
            "--heads heads.json, written as json.dumps(keras.saving.serialize_keras_object(heads))"
        )
    return _joined(model, heads, path, file)


def _joined(model, heads, path, file):
    """The model with those of its outputs that are predicted."""
    output = model.output
    if not isinstance(heads, dict) and isinstance(output, dict):
        # One head, trained with others on the way to it.
        if heads.target not in output:
            raise Unusable(
                f"{str(file)!r} holds one head, for {heads.target!r}; {str(path)!r} gives "
                f"{_names(output)}"
            )
        output = output[heads.target]
    if isinstance(heads, dict):
        heads = {key: head for key, head in heads.items() if not isinstance(head, Auxiliary)}
        if not isinstance(output, dict) or not set(heads) <= set(output):
            raise Unusable(
                f"{str(file)!r} holds heads for {list(heads)}; {str(path)!r} gives {_names(output)}"
            )
        output = {key: output[key] for key in heads}
    pairs = [(heads[k], output[k]) for k in heads] if isinstance(heads, dict) else [(heads, output)]
    for head, tensor in pairs:
        if len(tensor.shape) != 4 or tensor.shape[-1] != head.channels:
            raise Unusable(
                f"{str(path)!r} gives {tuple(tensor.shape)} where {type(head).__name__} of "
                f"{str(file)!r} has {head.channels} channels"
            )
    return keras.Model(model.input, output, name=model.name), heads


def heads_file(path, named):
    """The file of the heads, or `None` if there is none."""
    if named is not None:
        if not pathlib.Path(named).is_file():
            raise Unusable(f"there is no file of heads {str(named)!r}")
        return pathlib.Path(named)
    beside = [pathlib.Path(path).parent / name for name in FILES]
    return next((file for file in beside if file.is_file()), None)


def _read(file):
    try:
        return as_heads(keras.saving.deserialize_keras_object(json.loads(file.read_text())))
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

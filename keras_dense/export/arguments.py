"""What all formats take, checked in one place."""

import pathlib

import keras
import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense.export.files import check_target
from keras_dense.heads import (
    Auxiliary,
    Colorization,
    Depth,
    Head,
    Normals,
    Segmentation,
    as_heads,
    map_heads,
)
from keras_dense.layers import DepthActivation, UnitNormals
from keras_dense.surgery.graph import functional


def checked(
    who, model, heads, target, size, images, suffix=None, quantize=None, kinds=(), measured=()
):
    """The path that is to be written, the size as a pair, and the images as an array; or an error
    about an argument.

    Args:
        who: the name of the function.
        model, heads, target, size, images, quantize: its arguments.
        suffix: of the file; `None` for a folder.
        kinds: what `quantize` may be besides `None`.
        measured: those of them that need images.
    """
    model = functional(model)
    if not isinstance(model.input, keras.KerasTensor) or len(model.input.shape) != 4:
        raise ValueError(
            "`model` must take one image `(B, H, W, channels)`. Received: a model of "
            f"{[tuple(x.shape) for x in model.inputs]}"
        )
    _check_heads(model, as_heads(heads))
    path = pathlib.Path(target)
    if suffix is not None and path.suffix != suffix:
        raise ValueError(f"`file` must end in {suffix!r}. Received: file={str(target)!r}")
    check_target(path, suffix)
    if quantize is not None and quantize not in kinds:
        raise ValueError(
            f"`quantize` must be None{''.join(f' or {k!r}' for k in kinds)} in kd.export.{who}. "
            f"Received: quantize={quantize!r}"
        )
    if quantize in measured and images is None:
        raise ValueError(
            f"quantize={quantize!r} in kd.export.{who} needs `images`, on which the range of each "
            "map is measured: some dozens of those that the model is for, uint8 `(B, H, W, C)`. "
            "Received: images=None"
        )
    size = _checked_size(model, size)
    if images is not None:
        images = _checked_images(images, (*size, model.input_shape[-1]))
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"kd.export.{who} runs on the TensorFlow backend only; this process runs on "
            f"{keras.backend.backend()}. Save the model (`model.save('model.keras')`), then, in a "
            "process with KERAS_BACKEND=tensorflow, load the file with "
            "`keras.saving.load_model('model.keras', compile=False)` and export it there: the "
            "numbers are the same."
        )
    return path, size, images


def _check_heads(model, heads):
    outputs = model.output
    if isinstance(heads, dict) != isinstance(outputs, dict) or (
        isinstance(heads, dict) and set(heads) - set(outputs)
    ):
        described = list(outputs) if isinstance(outputs, dict) else "a single output"
        raise ValueError(
            "`heads` must be those that the model was built with, in their structure. Received: "
            f"heads={list(heads) if isinstance(heads, dict) else heads!r} for a model with "
            f"{described}"
        )

    def check(key, head, y):
        _check_last_layer(key, head, y)
        if y.shape[-1] != head.channels:
            raise ValueError(
                f"`heads` must be those that the model was built with: "
                f"{type(head).__name__} {key or ''} has {head.channels} channels, the model's "
                f"output {y.shape[-1]}."
            )
        if not isinstance(head, (Auxiliary, Head)):
            raise TypeError(
                "`heads` must say what leaves (`outputs`, `about`), as all that inherit from "
                f"kd.heads.Head do. Received: {type(head).__name__}"
            )

    map_heads(check, heads, outputs)


def _check_last_layer(key, head, y):
    """An error where a model ends in what another head of ours ends in."""
    ends = {DepthActivation: Depth, UnitNormals: Normals}
    layer = y._keras_history.operation
    there = next((h for kind, h in ends.items() if isinstance(layer, kind)), None)
    own = head.head if isinstance(head, Auxiliary) else head
    asked = next(
        (h for h in (*ends.values(), Segmentation, Colorization) if isinstance(own, h)), None
    )
    if there is not None and asked not in (None, there):
        raise ValueError(
            f"`heads` must be those that the model was built with: its output {key or ''} is that "
            f"of {there.__name__} (layer {layer.name!r}). Received: {type(own).__name__}"
        )


def _checked_size(model, size):
    own = tuple(model.input_shape[1:3])
    size = own if size is None else tuple(size) if np.iterable(size) else (size,)
    try:
        size = tuple(None if n is None else _check.integer(n, "size", low=1) for n in size)
        valid = len(size) == 2
    except ValueError:
        valid = False
    if not valid or any(m is not None and m != n for m, n in zip(own, size, strict=True)):
        raise ValueError(
            f"`size` must be (height, width), of which the model takes {own} (None: any). "
            f"Received: size={size}"
        )
    return size


def _checked_images(images, shape):
    try:
        found = as_array(images, "images")
    except TypeError:
        found = np.zeros(0)
    given = found.shape
    fits = len(given) == 4 and given[0] > 0
    fits = fits and all(n is None or n == m for n, m in zip(shape, given[1:], strict=True))
    # A list of numbers below 256 has no type of its own.
    if fits and isinstance(images, (list, tuple)) and found.dtype.kind in "iu":
        found = found.astype("uint8") if 0 <= found.min() and found.max() <= 255 else found
    if not fits or found.dtype != np.uint8:
        raise ValueError(
            f"`images` must be a uint8 array of shape (batch, *{shape}), None being any. "
            f"Received: {getattr(images, 'dtype', type(images).__name__)} of shape {given}"
        )
    if found.min() == found.max():
        raise ValueError(
            "`images` must show something, so that a comparison on them says something. Received: "
            f"{found.min()} everywhere"
        )
    return found

"""What all formats take, checked in one place."""

import pathlib

import keras
import numpy as np

from keras_dense.heads import Auxiliary, Head, as_heads, map_heads
from keras_dense.surgery.graph import functional


def checked(
    who, model, heads, target, size, images, suffix=None, quantize=None, kinds=(), measured=()
):
    """The path that is to be written, and the size as a pair; or an error about an argument.

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
    if suffix is None and path.exists() and not (path / "saved_model.pb").exists():
        raise ValueError(
            "`folder` must be new, or a SavedModel, which is replaced. Received: "
            f"folder={str(target)!r}, which is something else"
        )
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
        _check_images(images, (*size, model.input_shape[-1]))
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"kd.export.{who} runs on the TensorFlow backend only; this process runs on "
            f"{keras.backend.backend()}. Save the model (`model.save('model.keras')`), then, in a "
            "process with KERAS_BACKEND=tensorflow, load the file with "
            "`keras.saving.load_model('model.keras', compile=False)` and export it there: the "
            "numbers are the same."
        )
    return path, size


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


def _checked_size(model, size):
    own = tuple(model.input_shape[1:3])
    size = own if size is None else tuple(size) if np.iterable(size) else (size,)
    valid = len(size) == 2 and all(
        n is None or (isinstance(n, int) and not isinstance(n, bool) and n > 0) for n in size
    )
    if not valid or any(m is not None and m != n for m, n in zip(own, size, strict=True)):
        raise ValueError(
            f"`size` must be (height, width), of which the model takes {own} (None: any). "
            f"Received: size={size}"
        )
    return size


def _check_images(images, shape):
    given = np.shape(images)
    fits = len(given) == 4 and given[0] > 0
    fits = fits and all(n is None or n == m for n, m in zip(shape, given[1:], strict=True))
    if not fits or getattr(images, "dtype", None) != np.uint8:
        raise ValueError(
            f"`images` must be a uint8 array of shape (batch, *{shape}), None being any. "
            f"Received: {getattr(images, 'dtype', type(images).__name__)} of shape {given}"
        )

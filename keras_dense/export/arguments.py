"""Checks of the arguments of all formats."""

import os
import pathlib
from collections.abc import Sequence

import keras
import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.export.files import check_target
from keras_dense.heads import Heads
from keras_dense.heads.model_heads import Given, heads_of
from keras_dense.surgery.graph import functional


def checked(
    who: str,
    model: keras.Model,
    target: PathLike,
    heads: Given,
    size: Sequence[int] | None,
    images: ArrayLike | None,
    suffix: str | None = None,
    quantize: str | None = None,
    kinds: Sequence[str] = (),
    measured: Sequence[str] = (),
) -> tuple[pathlib.Path, Heads, tuple, Array | None]:
    """Check the arguments of an export.

    Returns:
        The path to write, the heads, the size as a pair, and the images as an array.

    Args:
        who: the name of the function.
        model, target, heads, size, images, quantize: its arguments.
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
    if not isinstance(target, (str, os.PathLike)):
        raise TypeError(
            "The path to write comes after the model: `kd.export."
            f"{who}(model, path, heads)`. Received: {target!r}"
        )
    chosen = heads_of(model, heads)
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
    return path, chosen, size, images


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

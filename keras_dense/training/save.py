"""A model in a file, completely or not at all."""

import pathlib

import keras

from keras_dense._files import whole
from keras_dense._types import PathLike


def save(model: keras.Model, file: PathLike) -> pathlib.Path:
    """Save a model to a file that appears when it is whole.

    `model.save` writes in place: a full disk or a kill leaves half a file, and the older one is
    lost. Here the model is written beside it, and takes its place at the end.

    Args:
        model: a built `keras.Model`.
        file: path that ends in ".keras". Missing folders are made.

    Returns:
        The path, as `pathlib.Path`.

    Raises:
        ValueError: for another ending.
        OSError: if the disk is full, or cannot be written to. Then the older file is as it was.

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> save(model, tempfile.mkdtemp() + "/model.keras").name
    'model.keras'
    """
    path = pathlib.Path(file)
    if path.suffix != ".keras":
        raise ValueError(f"`file` must end in '.keras'. Received: file={str(file)!r}")
    with whole(path) as draft:
        model.save(draft)
    return path

"""A model in a file, completely or not at all."""

import pathlib
import tempfile

import keras

from keras_dense._files import whole
from keras_dense._types import PathLike
from keras_dense.ops.replicas import process_place, wait_for_all


def save(model: keras.Model, file: PathLike) -> pathlib.Path:
    """Save a model to a file that appears when it is whole.

    `model.save` writes in place: a full disk or a kill leaves half a file, and the older one is
    lost. Here the model is written beside it, and takes its place at the end. Of several processes
    that train together, all must call this; the first writes, and the others wait.

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
    if process_place()[0] == 0:
        with whole(path) as draft:
            model.save(draft)
    elif keras.backend.backend() == "jax":
        # Keras puts values on the devices of all processes while it saves: all take part.
        with tempfile.TemporaryDirectory() as unused:
            model.save(pathlib.Path(unused, path.name))
    wait_for_all()
    return path

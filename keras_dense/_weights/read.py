"""Files of weights of any format as arrays, without the frameworks that wrote them."""

import os
import pathlib
import re
import struct

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense._weights.formats import (
    arrays,
    caffe,
    checkpoint,
    foreign,
    graph,
    hdf5,
    litert,
    pytorch,
    safetensors,
    tars,
    zips,
)
from keras_dense._weights.formats.file import Broken, Contents, File

__all__ = ["Contents", "read", "read_file"]

# The two formats without a mark of their own come last.
_FORMATS = (
    zips, pytorch, hdf5, litert, arrays, checkpoint, safetensors, caffe, graph,
)  # fmt: skip
_DATA = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")
# Faults of the content, where a reader trips over what it says.
_FAULTS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, struct.error)


def read(path: PathLike, *, everything: bool = False) -> dict[str, Array]:
    """Read the tensors of a checkpoint of any project.

    The format is found by the content of the file:

    - PyTorch: `.pth`, `.pt`, `.ckpt`, in the zip form and the one before version 1.6. A pickle is
      never executed: what is not a tensor or plain data becomes an object that does nothing. A
      nested checkpoint is unwrapped ("state_dict", "model", …), and the prefix "module." removed.
    - `safetensors`, also in several files (`*.safetensors.index.json`)
    - Caffe: `.caffemodel`; the tensors of a layer are `name.0`, `name.1`, …
    - TensorFlow: a checkpoint by its prefix, `.index`, folder or `.tar.gz`; a frozen graph (`.pb`)
    - LiteRT: `.tflite`, quantized weights as real numbers
    - Keras: `.h5`, `.weights.h5`, `.keras`
    - NumPy: `.npz`, `.npy`, also a pickled dict of arrays

    Neither PyTorch nor TensorFlow needs to be installed; `h5py` comes with Keras. The axes are
    those of the file. bfloat16 becomes float32; all other numbers stay what they are.

    Args:
        path: the file; of a checkpoint of TensorFlow also its prefix, such as "model.ckpt".
        everything: whether the state of the training, such as that of the optimizer, is read, too.
            Names are then exactly those of the file.

    Returns:
        dict from names to NumPy arrays.

    Raises:
        FileNotFoundError: for a path that does not exist, or a part of the checkpoint that is
            missing.
        IsADirectoryError: for a folder with no checkpoint or with several.
        ValueError: for a file that is truncated, damaged, encrypted or of another kind; the message
            says what it looks like.

    Example:

    >>> import os, tempfile
    >>> import numpy as np
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
    >>> np.savez(path, kernel=np.ones((3, 3)), bias=np.zeros(3))
    >>> {name: array.shape for name, array in read(path).items()}
    {'kernel': (3, 3), 'bias': (3,)}
    """
    return read_file(path, everything=everything).tensors


def read_file(path: PathLike, *, everything: bool = False) -> Contents:
    """Read a checkpoint with what else it says, such as the names of classes; see `read`."""
    if not isinstance(path, (str, os.PathLike)):
        raise _check.fail("path", "the path of a file of weights", path)
    everything = _check.flag(everything, "everything")
    found = _find(pathlib.Path(path))
    try:
        return _opened(found, everything)
    except Broken as error:
        raise ValueError(f"'{found}' {error}") from error


def _opened(path: pathlib.Path, everything: bool) -> Contents:
    """Contents of a file; all faults of it are `Broken`."""
    with File(path) as file:
        try:
            return _contents(file, everything)
        except Broken:
            raise
        except (*_FAULTS, RecursionError) as error:
            raise Broken(
                "is damaged, or of an unknown variant of its format "
                f"({type(error).__name__}: {str(error)[:200]})"
            ) from error


def _contents(file: File, everything: bool) -> Contents:
    if tars.fits(file):
        return tars.contents(file, everything, _opened)
    if safetensors.is_index(file):
        return safetensors.contents_of_index(file, everything, _opened)
    for form in _FORMATS:
        if form.fits(file):
            return form.contents(file, everything)
    raise foreign.describe(file)


def _find(path: pathlib.Path) -> pathlib.Path:
    """The file to open for a path: that of a prefix or of a folder."""
    index = pathlib.Path(f"{path}.index")
    if path.is_dir():
        return _in_folder(path)
    if not path.exists():
        if index.is_file():
            return index
        raise FileNotFoundError(f"`path` must be a file that exists. Received: path='{path}'")
    if not path.is_file():
        raise _check.fail("path", "a file, and not a device or a pipe", str(path))
    data = _DATA.fullmatch(path.name)
    if data and (path.parent / f"{data[1]}.index").is_file():
        return path.parent / f"{data[1]}.index"
    return path


def _in_folder(folder: pathlib.Path) -> pathlib.Path:
    """The one checkpoint in a folder: of TensorFlow, a SavedModel, or of `safetensors`."""
    variables = folder / "variables" / "variables.index"
    if variables.is_file():
        return variables
    latest = folder / "checkpoint"
    if latest.is_file():
        text = latest.read_text(encoding="utf-8", errors="replace")
        named = re.search(r'^model_checkpoint_path: "([^"/\\]+)"', text, re.MULTILINE)
        if named and (folder / f"{named[1]}.index").is_file():
            return folder / f"{named[1]}.index"
    for pattern in ("*.index", "*.safetensors.index.json", "*.safetensors"):
        found = sorted(folder.glob(pattern))
        if len(found) == 1:
            return found[0]
        if found:
            listed = ", ".join(repr(path.name) for path in found[:8])
            raise IsADirectoryError(
                f"'{folder}' is a folder with several checkpoints: {listed}. Give the path of one"
            )
    raise IsADirectoryError(
        f"'{folder}' is a folder without a checkpoint of TensorFlow or safetensors. Give the path "
        "of a file"
    )

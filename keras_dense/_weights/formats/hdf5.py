"""Weights of Keras in HDF5: `.weights.h5` of Keras 3, and `.h5` of earlier versions."""

from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array
from keras_dense._weights.formats.file import Broken, Contents, File, native

_MAGIC = b"\x89HDF\r\n\x1a\n"
# Groups of the whole model in earlier versions, and those of the optimizer in all.
_MODEL = "model_weights/"
_OPTIMIZER = ("optimizer/", "optimizer_weights/")
# Compression makes zeros at most this many times smaller.
_RATIO = 1100


def fits(file: File) -> bool:
    """Check for the first bytes."""
    return file.head[:8] == _MAGIC


def contents(file: File, everything: bool) -> Contents:
    """Contents of a file."""
    return contents_of(file.path, "Keras (HDF5)", everything)


def contents_of(source: Any, form: str, everything: bool) -> Contents:
    """Contents of a path or an open file.

    Keras 3 numbers the layers of each class ("layers/conv2d_1/vars/0") and has their names in
    attributes. Tensors are named by these ("conv1/0") unless two would have the same name or
    `everything` is wanted. Links to other files are not followed.
    """
    h5py = require("h5py", extra="scipy")
    try:
        with h5py.File(source, "r") as file:
            datasets = _datasets(h5py, file)
            left_out = [] if everything else [k for k in datasets if k.startswith(_OPTIMIZER)]
            kept = {k: v for k, v in datasets.items() if k not in left_out}
            names = {k: k for k in kept} if everything else _names(file, list(kept))
            tensors = {names[path]: _array(path, dataset) for path, dataset in kept.items()}
    except (OSError, RuntimeError, KeyError) as error:
        raise Broken(
            f"is a truncated or damaged HDF5 file ({str(error)[:200]}). Download it again"
        ) from error
    if not tensors:
        raise Broken("is an HDF5 file without arrays of numbers")
    meta = {"left_out": sorted(left_out)} if left_out else {}
    return Contents(tensors, meta, form)


def _datasets(h5py: Any, file: Any) -> dict[str, Any]:
    """All arrays of numbers by their path."""
    found = {}

    def visit(path: str, thing: Any) -> None:
        number = isinstance(thing, h5py.Dataset) and thing.dtype.kind in "biufc"
        if number and thing.shape is not None:
            found[path] = thing

    file.visititems(visit)
    return found


def _names(file: Any, paths: list[str]) -> dict[str, str]:
    """Names of the tensors at these paths."""
    plain = {path: path.removeprefix(_MODEL) for path in paths}
    if not any("/vars/" in f"/{path}" for path in paths):
        return plain
    real = {path: "/".join(_real(file, path)) for path in paths}
    return real if len(set(real.values())) == len(real) else plain


def _real(file: Any, path: str) -> list[str]:
    """A path with the names of layers, without the groups that only hold others."""
    parts, found = path.split("/"), []
    for n, part in enumerate(parts):
        group = "/".join([*parts[: n + 1], "vars"])
        name = file[group].attrs.get("name") if n + 1 < len(parts) and group in file else None
        if name is not None:
            found.append(name.decode() if isinstance(name, bytes) else str(name))
        elif part not in ("layers", "vars") or n + 1 == len(parts):
            found.append(part)
    return found


def _array(path: str, dataset: Any) -> Array:
    if dataset.external or dataset.is_virtual:
        raise Broken(f"has {path[:200]!r} in another file, which is not read")
    size = dataset.size * dataset.dtype.itemsize
    if size > 2**20 and size > _RATIO * dataset.id.get_storage_size():
        raise Broken(f"is truncated or damaged: {path[:200]!r} has no values for {dataset.shape}")
    found = np.empty(dataset.shape, dataset.dtype)
    if dataset.size:
        dataset.read_direct(found)
    return native(found)

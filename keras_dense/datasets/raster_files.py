"""Readers of arrays in files, one function per format; `read_raster` chooses among them.

Each takes a path, and a key if a file can contain several arrays. It returns the numbers as stored,
the known pixels (or `None`), and the scale and unit by the file, which are not applied.
"""

import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array, PathLike

# American and British spelling.
METERS = ("m", *(f"met{ending}" for ending in ("er", "ers", "re", "res")))

# Numbers, known pixels, scale and unit.
Read = tuple[Array, Array | None, Sequence[str]]


def pick(path: PathLike, names: Iterable[str], key: str | None) -> str:
    """Return `key` if it is among the names, or the only name."""
    names = list(names)
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        shown = ", ".join(map(repr, names)) or "nothing"
        raise ValueError(
            f"{path}: contains {shown}; `key` must be one of them. Received: key={key!r}"
        )
    return key


def unreadable(path: PathLike, what: str, error: object) -> ValueError:
    """Return the error for a file that is not in the expected format."""
    return ValueError(f"{path}: cannot be read as {what} ({error})")


def read_npy(path: pathlib.Path, key: str | None) -> Read:
    """Read a `.npy`, or an array of a `.npz`; no pickled objects, which could run code."""
    what = "NumPy arrays"
    try:
        found = np.load(path, allow_pickle=False)
        names = None if isinstance(found, np.ndarray) else found.files
    # Broken archives raise exceptions of zipfile, zlib, struct, tokenize …
    except Exception as error:
        raise unreadable(path, what, error) from error
    if names is None:
        if key is not None:
            raise ValueError(
                f"{path}: contains one array without a name, so `key` must be None. "
                f"Received: key={key!r}"
            )
        return found, None, ()
    with found:
        key = pick(path, names, key)
        try:
            return found[key], None, ()
        except Exception as error:
            raise unreadable(path, what, error) from error


def read_pfm(path: pathlib.Path) -> Read:
    """Read a PFM, `Pf` (one channel) or `PF` (three): float32, bottom row first."""
    content = path.read_bytes()
    head = re.match(rb"(P[fF])\s+(\d+)\s+(\d+)\s+(\S+)(?:\r\n|\s)", content[:4096])
    if head is None:
        raise unreadable(path, "a PFM", f"it starts with {content[:12]!r}")
    kind, width, height, scale = head.groups()
    width, height, body = int(width), int(height), content[head.end() :]
    try:
        factor = float(scale)
    except ValueError as error:
        raise unreadable(path, "a PFM", error) from error
    if not np.isfinite(factor) or factor == 0:
        raise unreadable(path, "a PFM", f"scale factor {factor:g}")
    shape = (height, width) if kind == b"Pf" else (height, width, 3)
    # The sign of the scale factor is the byte order.
    values = _numbers(path, body, "<f4" if factor < 0 else ">f4", shape)
    # Some programs write 1/255 here without meaning a scale, so the caller must decide.
    units = () if abs(factor) == 1 else (f"a scale factor of {abs(factor):g}",)
    return values[::-1].astype(np.float32), None, units


def _numbers(path: PathLike, body: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(body) < size or body[size:].strip():
        raise ValueError(
            f"{path}: must contain {size} bytes of numbers for shape {shape}. Received: {len(body)}"
        )
    return np.frombuffer(body[:size], dtype).reshape(shape)


def read_exr(path: pathlib.Path, key: str | None) -> Read:
    """Read channel `key`, the only channel, Z, or X, Y, Z or R, G, B of an OpenEXR file."""
    exr = require("OpenEXR", extra="depth")
    try:
        with exr.File(str(path), separate_channels=True) as file:
            if len(file.parts) != 1:
                raise unreadable(path, "one OpenEXR image", f"{len(file.parts)} parts")
            header = file.header()
            window, display = (np.array(header[f"{name}Window"]) for name in ("data", "display"))
            channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except (RuntimeError, TypeError, OSError) as error:
        raise unreadable(path, "OpenEXR", error) from error
    if (window != display).any():
        raise ValueError(
            f"{path}: must contain the whole image {display.tolist()}. Received: its window "
            f"{window.tolist()}"
        )
    for names in ("XYZ", "RGB"):
        if key is None and sorted(channels) == sorted(names):
            return np.stack([channels[name] for name in names], -1), None, ()
    if key is None and "Z" in channels:
        key = "Z"
    return channels[pick(path, channels, key)], None, ()


def read_hdf5(path: pathlib.Path, key: str | None) -> Read:
    """Read a dataset of an HDF5 file, with the scale and unit by its attributes."""
    with open_hdf5(path) as file:
        item = file[pick(path, _datasets(file), key)]
        values = _read(path, item)
        neutral: dict[str, tuple] = {
            "scale_factor": (1,),
            "add_offset": (0,),
            "units": ("", *METERS),
        }
        attributes = {name: _plain(item.attrs[name]) for name in neutral if name in item.attrs}
        units = [f"{name}={it!r}" for name, it in attributes.items() if it not in neutral[name]]
        known = None
        if "_FillValue" in item.attrs and values.ndim == 2:
            known = values != np.ravel(item.attrs["_FillValue"])[0]
    return values, known, units


def _plain(value: Any) -> Any:
    value = np.ravel(value)[0]
    return value.decode() if isinstance(value, bytes) else getattr(value, "item", lambda: value)()


def open_hdf5(path: PathLike, what: str = "HDF5") -> Any:
    """Open an HDF5 file for reading; errors name the file."""
    try:
        return require("h5py", extra="scipy").File(path, "r")
    except OSError as error:
        raise unreadable(path, what, error) from error


def _datasets(file: Any) -> list[str]:
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    return [name for name in names if not name.startswith("#refs#")]


def _read(path: PathLike, item: Any) -> Array:
    try:
        return np.asarray(item[()])
    except (OSError, TypeError) as error:
        raise unreadable(path, "HDF5", error) from error


def read_mat(path: pathlib.Path, key: str | None) -> Read:
    """Read an array of a MATLAB file of any version."""
    with path.open("rb") as file:
        new = b"MATLAB 7.3" in file.read(128)
    if new:
        # These are HDF5 files with reversed axes.
        with open_hdf5(path) as file:
            return _read(path, file[pick(path, _datasets(file), key)]).T, None, ()
    found = mat_arrays(path)
    return found[pick(path, found, key)], None, ()


def mat_arrays(path: PathLike, squeeze: bool = False) -> dict[str, Any]:
    """Read all arrays of a MATLAB file, up to version 7, by their names.

    Args:
        path: path.
        squeeze: bool, whether to remove axes of length 1, also in cells and structures.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, or of version 7.3.
        ImportError: without SciPy.
    """
    scipy_io = require("scipy.io", extra="scipy")
    try:
        found = scipy_io.loadmat(path, squeeze_me=squeeze)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    # The exceptions of SciPy for a broken file depend on the position.
    except Exception as error:
        raise unreadable(path, "a MATLAB file", error) from error
    return {name: array for name, array in found.items() if not name.startswith("__")}


def mat_array(path: PathLike, name: str, squeeze: bool = False) -> Any:
    """Read one array of a MATLAB file, which must exist.

    Raises:
        ValueError: if there is no such array; otherwise see `mat_arrays`.
    """
    found = mat_arrays(path, squeeze)
    if name not in found:
        raise ValueError(f"{path}: has no array {name!r}. It has: {sorted(found)}")
    return found[name]

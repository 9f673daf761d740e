"""Readers of arrays in files, one function a format; `read_raster` picks among them.

Each takes a path, and a key where a file can hold several arrays. It returns the numbers as they
are stored, where they are known (or `None`), and what the file says of their scale and unit, which
nobody has applied.
"""

import re

import numpy as np

from keras_dense._optional import require

METERS = ("m", "meter", "meter", "meters", "meters")


def pick(path, names, key):
    """The one of `names` that `key` says, or that there is."""
    names = list(names)
    if key is None and len(names) == 1:
        return names[0]
    if key not in names:
        shown = ", ".join(map(repr, names)) or "nothing"
        raise ValueError(f"{path}: holds {shown}; `key` must name one. Received: key={key!r}")
    return key


def unreadable(path, what, error):
    return ValueError(f"{path}: cannot be read as {what} ({error})")


def read_npy(path, key):
    """`.npy`, or an array of a `.npz`; never objects, which could run anything."""
    what = "arrays of NumPy"
    try:
        found = np.load(path, allow_pickle=False)
        names = None if isinstance(found, np.ndarray) else found.files
    # A broken archive raises what its parts raise: zipfile, zlib, struct, tokenize …
    except Exception as error:
        raise unreadable(path, what, error) from error
    if names is None:
        if key is not None:
            raise ValueError(f"{path}: holds one array without a name. Received: key={key!r}")
        return found, None, ()
    with found:
        key = pick(path, names, key)
        try:
            return found[key], None, ()
        except Exception as error:
            raise unreadable(path, what, error) from error


def read_pfm(path):
    """PFM, `Pf` of one channel or `PF` of three: float32, bottom row first, sign = byte order."""
    content = path.read_bytes()
    head = re.match(rb"(P[fF])\s+(\d+)\s+(\d+)\s+(\S+)(?:\r\n|\s)", content[:4096])
    if head is None:
        raise unreadable(path, "a PFM", f"it begins with {content[:12]!r}")
    kind, width, height, scale = head.groups()
    width, height, body = int(width), int(height), content[head.end() :]
    try:
        factor = float(scale)
    except ValueError as error:
        raise unreadable(path, "a PFM", error) from error
    if not np.isfinite(factor) or factor == 0:
        raise unreadable(path, "a PFM", f"scale factor {factor:g}")
    shape = (height, width) if kind == b"Pf" else (height, width, 3)
    values = _numbers(path, body, "<f4" if factor < 0 else ">f4", shape)
    # Some write 1/255 here and mean nothing by it: whoever knows has to say so.
    units = () if abs(factor) == 1 else (f"a scale factor of {abs(factor):g}",)
    return values[::-1].astype(np.float32), None, units


def _numbers(path, body, dtype, shape):
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if len(body) < size or body[size:].strip():
        raise ValueError(
            f"{path}: must hold {size} bytes of numbers for shape {shape}. Received: {len(body)}"
        )
    return np.frombuffer(body[:size], dtype).reshape(shape)


def read_exr(path, key):
    """One channel of an OpenEXR file: `key`, the only one, or Z; or three, X, Y, Z or R, G, B."""
    exr = require("OpenEXR", extra="depth")
    try:
        with exr.File(str(path), separate_channels=True) as file:
            if len(file.parts) != 1:
                raise unreadable(path, "one OpenEXR picture", f"{len(file.parts)} parts")
            header = file.header()
            window, display = (np.array(header[f"{name}Window"]) for name in ("data", "display"))
            channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    except (RuntimeError, TypeError, OSError) as error:
        raise unreadable(path, "OpenEXR", error) from error
    if (window != display).any():
        raise ValueError(
            f"{path}: must hold its whole picture {display.tolist()}. Received: the window "
            f"{window.tolist()} of it"
        )
    for names in ("XYZ", "RGB"):
        if key is None and sorted(channels) == sorted(names):
            return np.stack([channels[name] for name in names], -1), None, ()
    if key is None and "Z" in channels:
        key = "Z"
    return channels[pick(path, channels, key)], None, ()


def read_hdf5(path, key):
    """A dataset of an HDF5 file, with what its attributes say."""
    with _open_hdf5(path) as file:
        item = file[pick(path, _datasets(file), key)]
        values = _read(path, item)
        neutral = {"scale_factor": (1,), "add_offset": (0,), "units": ("", *METERS)}
        said = {name: _plain(item.attrs[name]) for name in neutral if name in item.attrs}
        units = [f"{name}={what!r}" for name, what in said.items() if what not in neutral[name]]
        known = None
        if "_FillValue" in item.attrs and values.ndim == 2:
            known = values != np.ravel(item.attrs["_FillValue"])[0]
    return values, known, units


def _plain(value):
    value = np.ravel(value)[0]
    return value.decode() if isinstance(value, bytes) else getattr(value, "item", lambda: value)()


def _open_hdf5(path):
    try:
        return require("h5py", extra="scipy").File(path, "r")
    except OSError as error:
        raise unreadable(path, "HDF5", error) from error


def _datasets(file):
    names = []
    file.visititems(lambda name, item: names.append(name) if hasattr(item, "dtype") else None)
    return [name for name in names if not name.startswith("#refs#")]


def _read(path, item):
    try:
        return np.asarray(item[()])
    except (OSError, TypeError) as error:
        raise unreadable(path, "HDF5", error) from error


def read_mat(path, key):
    """An array of a MATLAB file: up to version 7 by SciPy, 7.3 by h5py, whose axes turn around."""
    with path.open("rb") as file:
        new = b"MATLAB 7.3" in file.read(128)
    if new:
        with _open_hdf5(path) as file:
            return _read(path, file[pick(path, _datasets(file), key)]).T, None, ()
    try:
        found = require("scipy.io", extra="scipy").loadmat(path)
    # What SciPy raises for a broken file depends on where it is broken.
    except ImportError:
        raise
    except Exception as error:
        raise unreadable(path, "a MATLAB file", error) from error
    names = [name for name in found if not name.startswith("__")]
    return found[pick(path, names, key)], None, ()

"""Where predictions of large pictures go: arrays, or files that survive a kill."""

import json
import os
import pathlib

import numpy as np

from keras_dense._optional import require
from keras_dense.inference.geotiff import GeoTiff, write_geotiff

KINDS = (".npy", ".zarr", ".tif", ".tiff")


class Outputs:
    """One array for each head, made, or opened to go on where a run was stopped.

    Attributes:
        arrays: what is written to, by slices.
        resumable: whether all of them lie on disk, so that a run can be continued.

    Args:
        keys: of the heads; `[None]` for a single one.
        shapes, dtypes: of what is written, one each.
        out: see `predict_tiled`.
        like: the picture, whose georeference a GeoTIFF gets.
    """

    def __init__(self, keys, shapes, dtypes, out, like):
        single = keys == [None]
        if out is not None and not single and (not isinstance(out, dict) or set(out) != set(keys)):
            got = list(out) if isinstance(out, dict) else type(out).__name__
            raise ValueError(f"`out` must be a dict with the keys {keys}. Received: {got}")
        outs = [out] if single else [out and out[key] for key in keys]
        self._targets = [pathlib.Path(x) if isinstance(x, (str, os.PathLike)) else x for x in outs]
        paths = [x for x in self._targets if isinstance(x, pathlib.Path)]
        self.resumable = len(paths) == len(outs)
        for path in paths:
            if path.suffix not in KINDS:
                raise ValueError(f"`out` must end in one of {KINDS}. Received: {str(path)!r}")
            if path.exists():
                raise FileExistsError(
                    f"There is something at {str(path)!r} already; remove it, or give another "
                    "`out`."
                )
        if len(set(paths)) < len(paths):
            raise ValueError(f"`out` must have another path for each head. Received: {out}")
        self._state = paths and paths[0].with_name(paths[0].name + ".state.npz")
        self._continues = self.resumable and self._state.exists()
        self._continues = self._continues and all(_part(path).exists() for path in paths)
        if self.resumable and not self._continues:
            self._state.unlink(missing_ok=True)
        self._like = like
        self._description = {}
        self.arrays = []
        for shape, dtype, target in zip(shapes, dtypes, self._targets, strict=True):
            if target is None:
                array = np.zeros(shape, dtype)
            elif isinstance(target, pathlib.Path):
                array = self._open(target, shape, dtype)
            else:
                array = target
                if tuple(array.shape) != shape:
                    raise ValueError(
                        f"`out` must have shape {shape}. Received: shape {tuple(array.shape)}"
                    )
            self.arrays.append(array)

    def _open(self, path, shape, dtype):
        """What is there of an earlier run, or a new file."""
        part = _part(path)
        if self._continues:
            array = np.lib.format.open_memmap(part, "r+")
            if (array.shape, array.dtype) == (shape, dtype):
                return array
            raise _another(self._state, ["shape of the result"])
        array = np.lib.format.open_memmap(part, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):
            # A disk that is too small says so now; later the system would kill the process.
            with open(part, "r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
                except OSError as error:
                    part.unlink()
                    raise OSError(error.errno, f"{error.strerror}: {str(path)!r}") from error
        return array

    def resume(self, description, stitchers):
        """How many tiles an earlier run has done; puts the stitchers in the state they had.

        Args:
            description: dict of what has to be the same to go on.
            stitchers: one for each array.

        Raises:
            ValueError: if the earlier run was another.
        """
        self._description = description
        if not self._continues:
            return 0
        with np.load(self._state) as state:
            before = json.loads(str(state["description"]))
            differs = [k for k in description if before.get(k) != json.loads(_json(description[k]))]
            if differs:
                raise _another(self._state, differs)
            for n, stitcher in enumerate(stitchers):
                stitcher.side, stitcher.edges = state[f"side_{n}"], state[f"edges_{n}"]
            return int(state["done"])

    def save_state(self, done, stitchers):
        """Remember that `done` tiles are on disk, and what the next ones need of them."""
        if not self.resumable:
            return
        for array in self.arrays:
            array.flush()
        kept = {f"side_{n}": s.side for n, s in enumerate(stitchers)}
        kept |= {f"edges_{n}": s.edges for n, s in enumerate(stitchers)}
        new = self._state.with_name(self._state.name + ".new")
        with open(new, "wb") as file:
            np.savez(file, done=done, description=_json(self._description), **kept)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._state)

    def finish(self):
        """The files under their names; returns the arrays, those on disk opened for reading."""
        found = []
        for array, target in zip(self.arrays, self._targets, strict=True):
            if isinstance(target, pathlib.Path):
                array.flush()
                array = _converted(array, target, self._like)
            found.append(array)
        if self.resumable:
            self._state.unlink(missing_ok=True)
        return found


def _part(path):
    return path.with_name(path.name + ".part")


def _json(x):
    return json.dumps(x, sort_keys=True)


def _another(state, differs):
    return ValueError(
        f"{str(state)!r} is of a run that was stopped, with another {', '.join(differs)}. Continue "
        "it with the same, or remove that file to start anew."
    )


def _converted(array, path, like):
    """The finished `….part` as what its path asks for."""
    part = _part(path)
    if path.suffix == ".npy":
        os.replace(part, path)
        return np.load(path, mmap_mode="r")
    new = path.with_name(path.name + ".new" + path.suffix)
    if path.suffix == ".zarr":
        zarr = require("zarr", extra="large")
        rows = 512  # read and written together
        stored = zarr.open_array(
            store=str(new),
            mode="w",
            shape=array.shape,
            chunks=(*(min(rows, n) for n in array.shape[:2]), *array.shape[2:]),
            dtype=array.dtype,
        )
        for y in range(0, len(array), rows):
            stored[y : y + rows] = array[y : y + rows]
        os.replace(new, path)
        found = zarr.open_array(store=str(path), mode="r")
    else:
        write_geotiff(new, array, like)
        os.replace(new, path)
        found = GeoTiff(path)
    part.unlink()
    return found

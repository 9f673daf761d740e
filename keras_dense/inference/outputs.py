"""Destinations of predictions of large images: arrays, or files that survive a kill."""

import contextlib
import json
import os
import pathlib

import numpy as np

from keras_dense._files import beside, disk_error, whole
from keras_dense._lock import lock
from keras_dense._optional import require
from keras_dense.inference.geotiff import GeoTiff
from keras_dense.inference.write_geotiff import plain, write_geotiff

KINDS = (".npy", ".zarr", ".tif", ".tiff")
_TENSORS = ("torch", "jax", "jaxlib", "tensorflow")  # which are not written by slices of arrays


class Outputs:
    """One array for each head, new or opened to continue a stopped run.

    Files grow as `….part`. When all tiles are written, the state says that the run is finishing;
    then each file gets its format and its name. A run that is stopped in between continues there.
    Close it at the end: until then no other run may write to the same paths.

    Attributes:
        arrays: the arrays, written by slices.
        resumable: bool, whether all of them are files, so that a run can continue.

    Args:
        keys: keys of the heads; `[None]` for a single one.
        shapes, dtypes: one for each array.
        out: see `predict_tiled`.
        like: the image, whose georeference a GeoTIFF gets.
        facts: dicts with the meaning of the numbers, one for each array.
    """

    def __init__(self, keys, shapes, dtypes, out, like, facts=None):
        single = keys == [None]
        if out is not None and not single and (not isinstance(out, dict) or set(out) != set(keys)):
            got = list(out) if isinstance(out, dict) else type(out).__name__
            raise ValueError(f"`out` must be a dict with the keys {keys}. Received: {got}")
        outs = [out] if single or out is None else [out[key] for key in keys]
        outs = outs * len(keys) if out is None else outs
        self._targets = [pathlib.Path(x) if isinstance(x, (str, os.PathLike)) else x for x in outs]
        paths = [x for x in self._targets if isinstance(x, pathlib.Path)]
        self.resumable = len(paths) == len(outs)
        self._state = paths and beside(paths[0], ".state.npz")
        self._like = like
        self._facts = facts or [{}] * len(keys)
        self._description = {}
        for path in paths:
            if path.suffix not in KINDS:
                raise ValueError(f"`out` must end in one of {KINDS}. Received: {str(path)!r}")
        self._locks = contextlib.ExitStack()
        try:
            for path in sorted(set(paths)):
                self._locks.enter_context(lock(beside(path, ".lock"), path))
            self._prepare(shapes, dtypes, out)
        except BaseException:
            self.close()
            raise

    def close(self):
        """Let other runs write to the paths."""
        self._locks.close()

    def _prepare(self, shapes, dtypes, out):
        """Check the targets, and open or make them."""
        paths = [x for x in self._targets if isinstance(x, pathlib.Path)]
        like = self._like
        finishing = self.resumable and _is_finishing(self._state)
        _check_paths(paths, out, like, finishing)
        self._continues = self.resumable and self._state.exists()
        there = [_part(path).exists() or (finishing and path.exists()) for path in paths]
        self._continues = self._continues and all(there)
        for shape, dtype, target in zip(shapes, dtypes, self._targets, strict=True):
            if isinstance(target, pathlib.Path):
                _check_part(_part(target), shape, dtype, self._continues and self._state)
            elif target is not None:
                _check_array(target, shape, dtype, like)
        if self.resumable and not self._continues:
            self._state.unlink(missing_ok=True)
        self.arrays = []
        for shape, dtype, target in zip(shapes, dtypes, self._targets, strict=True):
            if target is None:
                array = np.zeros(shape, dtype)
            elif isinstance(target, pathlib.Path):
                array = self._open(target, shape, dtype)
            else:
                array = target
            self.arrays.append(array)

    def _open(self, path, shape, dtype):
        """The file of an earlier run, or a new one."""
        part = _part(path)
        if self._continues and path.exists():
            found = _finished(path, shape)
            if (tuple(found.shape[: len(shape)]), found.dtype) != (tuple(shape), np.dtype(dtype)):
                raise _in_the_way(path)
            return found
        if self._continues:
            return np.lib.format.open_memmap(part, "r+")
        try:
            array = np.lib.format.open_memmap(part, "w+", dtype, shape)
            if hasattr(os, "posix_fallocate"):
                # A disk that is too small raises now; later the system would kill the process.
                with open(part, "r+b") as file:
                    os.posix_fallocate(file.fileno(), 0, part.stat().st_size)
        except OSError as error:
            part.unlink(missing_ok=True)
            if disk_error(error) is None:
                raise
            raise OSError(error.errno, error.strerror, str(path)) from error
        return array

    def resume(self, description, stitchers, seen):
        """Number of tiles of an earlier run; restores the state of the stitchers.

        Args:
            description: dict of facts that must be the same to continue.
            stitchers: one for each array.
            seen: function `seen(done)` that reads the predicted part of the image again, and
                returns its digest.

        Raises:
            ValueError: if the earlier run was another.
        """
        self._description = description
        if not self._continues:
            return 0
        with np.load(self._state) as state:
            before = json.loads(str(state["description"]))
            differs = [k for k in description if before.get(k) != json.loads(_json(description[k]))]
            if not differs and str(state["seen"]) != seen(int(state["done"])):
                differs = ["image"]
            if differs:
                raise _another(self._state, differs)
            for n, stitcher in enumerate(stitchers):
                stitcher.side, stitcher.edges = state[f"side_{n}"], state[f"edges_{n}"]
            return int(state["done"])

    def save_state(self, done, stitchers, seen, finishing=False):
        """Save the progress: `done` tiles are on disk; also their edges, which the next ones need,
        the digest of the image so far, and whether these were all.
        """
        if not self.resumable:
            return
        for array, target in zip(self.arrays, self._targets, strict=True):
            if not target.exists():
                array.flush()
        kept = {f"side_{n}": s.side for n, s in enumerate(stitchers)}
        kept |= {f"edges_{n}": s.edges for n, s in enumerate(stitchers)}
        with whole(self._state) as draft:
            facts = {"done": done, "seen": seen, "finishing": finishing}
            np.savez(draft, description=_json(self._description), **facts, **kept)

    def finish(self):
        """Give the files their names; returns the arrays, those on disk opened for reading."""
        found = []
        for array, target, facts in zip(self.arrays, self._targets, self._facts, strict=True):
            if isinstance(target, pathlib.Path):
                if not target.exists():
                    array.flush()
                    _convert(array, target, self._like, facts)
                _part(target).unlink(missing_ok=True)
                array = _finished(target, array.shape)
            found.append(array)
        if self.resumable:
            self._state.unlink(missing_ok=True)
        return found


def _part(path):
    return beside(path, ".part")


def _is_finishing(state):
    """Whether a stopped run has written all tiles, and was giving files their names."""
    try:
        with np.load(state) as found:
            return bool(found["finishing"])
    except (OSError, ValueError, KeyError, EOFError):
        return False


def _in_the_way(path):
    return FileExistsError(
        f"There is something at {str(path)!r} already; remove it, or give another `out`."
    )


def _json(x):
    return json.dumps(x, sort_keys=True)


def _check_paths(paths, out, image, finishing):
    """An error where a path is no place for a result."""
    source = _file_of(image)
    for path in paths:
        for there in (path, _part(path)):
            if source is not None and there.exists() and there.samefile(source):
                raise ValueError(
                    f"`out` must not be the image itself, which is read from {str(source)!r}. "
                    f"Received: out={str(path)!r}"
                )
        if path.exists() and not finishing:
            raise _in_the_way(path)
    if len({str(path.absolute()) for path in paths}) < len(paths):
        raise ValueError(f"`out` must have another path for each head. Received: {out}")


def _check_part(part, shape, dtype, state):
    """An error where something lies at `….part` that is not from such a run."""
    if not part.exists():
        return
    try:
        found = np.load(part, mmap_mode="r")
        other = (found.shape, found.dtype) != (tuple(shape), np.dtype(dtype))
        own = True
    except (OSError, ValueError, EOFError):
        other, own = True, False
    if not other:
        return
    if own and state:
        raise _another(state, ["shape of the result"])
    raise FileExistsError(
        f"{str(part)!r}, where the result would grow, holds something else; remove it, or give "
        "another `out`."
    )


def _check_array(array, shape, dtype, image):
    """An error where an array cannot take the result."""
    writes = all(hasattr(array, name) for name in ("shape", "dtype", "__setitem__"))
    if not writes or type(array).__module__.partition(".")[0] in _TENSORS:
        raise TypeError(
            "`out` must be a path, or an array, memmap or zarr array that is written by slices. "
            f"Received: {type(array).__name__}"
        )
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"`out` must have shape {shape}. Received: shape {tuple(array.shape)}")
    if not np.can_cast(dtype, array.dtype, "safe"):
        raise ValueError(f"`out` must hold {dtype} exactly. Received: an array of {array.dtype}")
    if isinstance(array, np.ndarray) and not array.flags.writeable:
        raise ValueError("`out` must be writeable. Received: a read-only array")
    if _overlap(array, image):
        raise ValueError("`out` must not be the image itself, or share its memory or file.")


def _overlap(array, image):
    if array is image:
        return True
    if isinstance(array, np.ndarray) and isinstance(image, np.ndarray):
        try:
            if np.shares_memory(array, image, max_work=10**6):
                return True
        except (np.exceptions.TooHardError, OverflowError):
            return True
    mine, other = _file_of(array), _file_of(image)
    if mine is None or other is None or not (mine.exists() and other.exists()):
        return False
    if not mine.samefile(other):
        return False
    # Two maps of one file may lie beside each other.
    spans = [(x.offset, x.offset + x.nbytes) for x in (array, image) if isinstance(x, np.memmap)]
    return len(spans) < 2 or (spans[0][0] < spans[1][1] and spans[1][0] < spans[0][1])


def _file_of(array):
    """The file or folder that an array lies in, if any."""
    named = getattr(array, "filename", None) if isinstance(array, np.memmap) else None
    if isinstance(array, GeoTiff):
        named = array.path
    elif hasattr(array, "store"):  # of zarr, whose arrays may share a store
        root, inside = getattr(array.store, "root", None), getattr(array, "path", "")
        named = root and os.path.join(root, inside)
    if not isinstance(named, (str, os.PathLike)):
        return None
    found = pathlib.Path(named)
    return found if found.exists() else None


def _another(state, differs):
    return ValueError(
        f"{str(state)!r} belongs to a stopped run with another {', '.join(differs)}. Continue it "
        "with the same, or remove that file to start again."
    )


def _convert(array, path, like, facts):
    """Write the finished `….part` in the format of its path, with its name."""
    if path.suffix == ".npy":
        os.replace(_part(path), path)
        return
    with whole(path) as draft:
        if path.suffix == ".zarr":
            _write_zarr(require("zarr", extra="large"), draft, array, facts)
        else:
            write_geotiff(draft, array, like, facts)


def _finished(path, shape):
    """A finished file, opened for reading."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if path.suffix == ".zarr":
        return require("zarr", extra="large").open_array(store=str(path), mode="r")
    # By its numbers, not by the colors of its palette.
    bands = shape[2] if len(shape) == 3 and shape[2:] else 1
    return GeoTiff(path, bands=range(1, 1 + bands))


def _write_zarr(zarr, path, array, facts):
    rows = 512  # read and written together
    stored = zarr.open_array(
        store=str(path),
        mode="w",
        shape=array.shape,
        chunks=(*(min(rows, n) for n in array.shape[:2]), *array.shape[2:]),
        dtype=array.dtype,
    )
    stored.attrs["about"] = plain(facts)
    for y in range(0, len(array), rows):
        stored[y : y + rows] = array[y : y + rows]

"""Samples that are read once: kept in memory, or decoded on the disk."""

import dataclasses
import json
import os
import pathlib
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_dense._files import whole
from keras_dense._types import PathLike, Sample
from keras_dense.datasets.parts import Subset, Wrapped, describe
from keras_dense.datasets.together import Together

# Of the layout of the files; a folder of another one is refused.
_VERSION = 1
_FACTS = "data.json"
# Key of what is no array, within the file of a sample.
_OTHERS = "__others__"
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class _Cached(Wrapped):
    def __init__(self, dataset: Any) -> None:
        super().__init__(dataset)
        self._samples: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        # Two threads may read a sample at the same time: the second result is discarded.
        if index not in self._samples:
            sample = self.dataset[index]
            for value in sample.values():
                if isinstance(value, np.ndarray):
                    value.flags.writeable = False
            self._samples.setdefault(index, sample)
        return dict(self._samples[index])

    def describe(self, index: int) -> str:
        """Return a description of a sample, for messages."""
        return describe(self.dataset, index)


class _OnDisk(Wrapped):
    """Data set whose samples are files `<number>.npz` of a folder, each complete or missing."""

    def __init__(self, dataset: Any, folder: PathLike) -> None:
        super().__init__(dataset)
        self._folder = pathlib.Path(folder)
        facts = _facts(dataset)
        path = self._folder / _FACTS
        if path.exists():
            self._check_facts(json.loads(path.read_text(encoding="utf-8")), facts)
            self._check_samples()
        else:
            with whole(path) as draft:
                draft.write_text(json.dumps(facts), encoding="utf-8")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        index = int(index) % len(self)
        stamp = _stamp(self.dataset, index)
        found = self._load(index, stamp)
        if found is None:
            found = self.dataset[index]
            self._save(index, stamp, found)
        return found

    def describe(self, index: int) -> str:
        """Return a description of a sample, for messages."""
        return describe(self.dataset, index)

    def _path(self, index: int) -> pathlib.Path:
        return self._folder / f"{index:07d}.npz"

    def _load(self, index: int, stamp: list) -> Sample | None:
        """Read a sample; `None` if it is missing, damaged, or its files have changed."""
        try:
            with np.load(self._path(index), allow_pickle=False) as file:
                others = json.loads(str(file[_OTHERS]))
                if others["stamp"] != stamp:
                    return None
                arrays = {key: file[f"array_{n}"] for n, key in enumerate(others["arrays"])}
        except _UNREADABLE:
            return None
        sample = {**arrays, **others["values"]}
        return {key: sample[key] for key in others["keys"]}

    def _save(self, index: int, stamp: list, sample: Sample) -> None:
        arrays, values = {}, {}
        for key, value in sample.items():
            if isinstance(value, np.ndarray) and not value.dtype.hasobject:
                arrays[key] = value
            elif value is None or type(value) in (bool, int, float, str):
                values[key] = value
            else:
                raise TypeError(
                    f"`dataset` must have samples of arrays, numbers and texts to be cached in a "
                    f"folder. Received: {key!r} of {type(value).__name__} "
                    f"({describe(self.dataset, index)})"
                )
        found = {"stamp": stamp, "values": values, "arrays": list(arrays), "keys": list(sample)}
        # Not by their keys, which may be those of arguments of `savez`.
        named: Any = {f"array_{n}": array for n, array in enumerate(arrays.values())}
        # Without fsync: a file that a power cut damages is read anew.
        with whole(self._path(index), fsync=False) as draft, open(draft, "wb") as file:
            np.savez(file, **named, **{_OTHERS: np.array(json.dumps(found))})

    def _check_facts(self, found: dict, wanted: dict) -> None:
        for key in wanted:
            if found.get(key) != wanted[key]:
                raise self._other(f"{key}={found.get(key)!r:.80} instead of {wanted[key]!r:.80}")

    def _check_samples(self) -> None:
        """Compare some of the samples: settings of a reader cannot be compared."""
        for index in sorted({0, len(self) // 2, len(self) - 1}):
            kept = self._load(index, _stamp(self.dataset, index)) if len(self) else None
            if kept is None:
                continue
            now = self.dataset[index]
            wrong = [key for key in {**kept, **now} if not _same(kept.get(key), now.get(key))]
            if wrong:
                where = describe(self.dataset, index)
                raise self._other(f"another {wrong[0]!r} in sample {index} ({where})")

    def _other(self, what: str) -> ValueError:
        return ValueError(
            f"`folder` must be empty, or have the samples of this data set. Received: "
            f"{str(self._folder)!r} with {what}. Remove the folder, or give another one"
        )


def cached(dataset: Any, folder: PathLike | None = None) -> Wrapped:
    """Keep decoded samples, in memory or in a folder, so that only the first epoch reads files.

    In memory, their arrays become read-only. CamVid's training split takes 250 MB.

    A folder is for collections larger than memory, files that are slow to decode or far away, and
    for the next run: one `.npz` per sample, not compressed. After a kill, or when the disk is full,
    a sample is there completely or not at all; damaged files are written anew. Several processes
    can share a folder.

    A sample is read anew if the size or the time of one of its files has changed (of the readers of
    this package). Where a folder was written for another number of samples, other classes or
    names, or where one of three samples (the first, middle and last) differs from the data set
    now, as with another `remap=`, an error says so. A change beyond that, in a data set of your
    own, is not noticed: give another folder.

    Args:
        dataset: a data set, the same sample at each reading: augment after it.
        folder: path of a folder; it is made. `None`: in memory.

    Returns:
        A data set with the attributes of `dataset`.

    Raises:
        ValueError: if the folder has samples of another data set.
        TypeError: when read, if a sample contains other values than arrays, numbers and texts.

    >>> from keras_dense.datasets import scenes
    >>> world = cached(scenes(2, size=(16, 16)))
    >>> world[0]["image"] is world[0]["image"]
    True
    """
    return _Cached(dataset) if folder is None else _OnDisk(dataset, folder)


def _facts(dataset: Any) -> dict[str, Any]:
    names = getattr(dataset, "class_names", None)
    return {
        "version": _VERSION,
        "samples": len(dataset),
        "name": str(getattr(dataset, "name", type(dataset).__name__)),
        "num_classes": str(getattr(dataset, "num_classes", None)),
        "class_names": None if names is None else [str(name) for name in names],
    }


def _stamp(dataset: Any, index: int) -> list:
    """The name, size and time of each file of a sample; its description if there is none."""
    found: list = []
    for path in _files(dataset, index):
        try:
            facts = os.stat(path)
        except OSError:
            found.append([path.name])
        else:
            found.append([path.name, facts.st_size, facts.st_mtime_ns])
    return found or [describe(dataset, index)]


def _files(dataset: Any, index: int) -> Iterable[pathlib.Path]:
    if isinstance(dataset, Subset):
        return _files(dataset.dataset, int(dataset.indices[index]))
    if isinstance(dataset, Together):
        which, place = dataset.place(index)
        return _files(dataset.parts[which], place)
    if isinstance(dataset, Wrapped):
        return _files(dataset.dataset, index)
    files = getattr(dataset, "files", None)
    return list(_paths(files[index])) if isinstance(files, list) and index < len(files) else []


def _paths(value: Any) -> Iterator[pathlib.Path]:
    if isinstance(value, pathlib.Path):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _paths(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _paths(getattr(value, field.name))


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(two, np.ndarray):
        floats = one.dtype.kind == "f" and two.dtype.kind == "f"
        return one.dtype == two.dtype and np.array_equal(one, two, equal_nan=floats)
    return type(one) is type(two) and one == two

"""Lists of the images in a folder, with warnings about skipped files."""

import os
import pathlib
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Sequence

from keras_dense import _check
from keras_dense._types import PathLike

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
READABLE = (*EXTENSIONS, ".npy")

# Common files beside images, which are skipped without a warning.
_BESIDE = (
    *(".txt", ".json", ".xml", ".csv", ".md", ".yaml", ".yml", ".html", ".log", ".py", ".ipynb"),
    *(".db", ".ini", ".lst", ".aux", ".tfw", ".pgw", ".jgw", ".wld", ".prj", ".pdf", ".zip"),
)

# In place of an extension: a pipe, which would be waited for without end.
_NO_FILE = "|"
_JUNK = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")


def find_files(
    directory: PathLike,
    who: str,
    what: str,
    suffix: str = "",
    recursive: bool = False,
    extensions: Sequence[str] = EXTENSIONS,
) -> dict[str, pathlib.Path]:
    """List the images in a folder by their stem, sorted.

    Hidden files are skipped. A warning names extensions that are not read, and subfolders with
    images, if there are any.

    Args:
        directory: path.
        who: str, the reader, for messages.
        what: str, the kind of folder, for messages.
        suffix: str, end of the stem of every file, left out of the keys; other files are skipped.
            With an extension (`"_mask.png"`), files of other extensions are skipped, too.
        recursive: bool, whether to read subfolders; the keys are then relative paths without the
            extension, as in `"aachen/a"`.
        extensions: sequence of str, extensions of the files to read.

    Returns:
        A dict from stem (in Unicode's composed form) to path.

    Raises:
        FileNotFoundError: if the folder is missing or has no such image.
        ValueError: if two images differ only in their extension.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{who}: there is no {what} folder {str(directory)!r}")
    found: dict[str, pathlib.Path] = {}
    passed: dict[str, int] = {}
    below = []
    ending = suffix[suffix.rfind(".") :].lower() if "." in suffix else ""
    ending = ending if ending in extensions else ""
    tail = composed(suffix[: len(suffix) - len(ending)])
    for path in sorted(walk(directory) if recursive else directory.iterdir()):
        extension = path.suffix.lower()
        inside = path.parent.relative_to(directory)
        if path.name.startswith(".") or path.name in _JUNK:
            continue
        if not recursive and path.is_dir():
            if any(file.suffix.lower() in extensions for file in walk(path)):
                below.append(path.name)
            continue
        if extension not in extensions:
            if extension not in _BESIDE:
                passed[extension] = passed.get(extension, 0) + 1
            continue
        stem = composed(path.stem)
        if not stem.endswith(tail) or ending not in ("", extension):
            continue
        key = composed((inside / stem[: len(stem) - len(tail)]).as_posix())
        if not path.is_file():
            passed[_NO_FILE] = passed.get(_NO_FILE, 0) + 1
            continue
        if key in found:
            raise ValueError(
                f"{who}: {found[key].name!r} and {path.name!r} in {str(path.parent)!r} differ "
                'only in their extension. Choose one with a suffix (".png")'
            )
        found[key] = path
    notes = [f"{n} file{'s' * (n > 1)} {_kind(e)}" for e, n in passed.items()]
    if below:
        some = ", ".join(map(repr, below[:3]))
        more = f" and {len(below) - 3} more" if len(below) > 3 else ""
        notes.append(f"images in subfolders ({some}{more}; recursive=True reads them)")
    if not found:
        kinds = ", ".join(e[1:] for e in extensions)
        ends = f" with a name that ends in {suffix!r}" if suffix else ""
        there = f". It contains {' and '.join(notes)}" if notes else ""
        raise FileNotFoundError(
            f"{who}: the {what} folder {str(directory)!r} contains no image{ends} ({kinds}){there}"
        )
    if notes:
        warnings.warn(
            f"{who}: skipped in the {what} folder {str(directory)!r}: {' and '.join(notes)}",
            stacklevel=2,
        )
    return found


def _kind(extension: str) -> str:
    if extension == _NO_FILE:
        return "that cannot be read (a pipe, a device, a broken link)"
    return f"ending in {extension!r}" if extension else "without an extension"


def walk(directory: PathLike) -> Iterator[pathlib.Path]:
    """Iterate over all files in a folder and its subfolders, without hidden ones; follows links."""
    seen: set[str] = set()
    for place, folders, names in os.walk(directory, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _JUNK]
        if os.path.realpath(place) in seen:  # a link back to a parent
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        for name in names:
            if not name.startswith("."):
                yield pathlib.Path(place) / name


def composed(name: str) -> str:
    """Convert a name to Unicode's composed form: file systems differ in how they store "é".

    >>> len(composed("e\\u0301"))
    1
    """
    return unicodedata.normalize("NFC", name)


def every_fifth(stems: Iterable[str], split: str) -> list[str]:
    """Return the names of a split without a list: every fifth is `"val"`, the rest `"train"`.

    Raises:
        ValueError: for a split other than these and `"trainval"`.

    >>> every_fifth("abcdef", "val")
    ['e']
    """
    stems = sorted(stems)
    parts = {
        "train": [stem for i, stem in enumerate(stems) if i % 5 != 4],
        "val": stems[4::5],
        "trainval": stems,
    }
    return parts[_check.choice(split, "split", parts)]

"""Which pictures there are in a folder, and what was passed over."""

import os
import pathlib
import unicodedata
import warnings

EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm"),
)
READABLE = (*EXTENSIONS, ".npy")

# What lies beside pictures without being meant as one.
_BESIDE = (
    *(".txt", ".json", ".xml", ".csv", ".md", ".yaml", ".yml", ".html", ".log", ".py", ".ipynb"),
    *(".db", ".ini", ".lst", ".aux", ".tfw", ".pgw", ".jgw", ".wld", ".prj", ".pdf", ".zip"),
)

_JUNK = ("__MACOSX", "@eaDir", "$RECYCLE.BIN")


def find_files(directory, who, what, suffix="", recursive=False, extensions=EXTENSIONS):
    """The pictures in a folder by their stem, sorted.

    Hidden files are passed over. A warning names endings that are not read, and folders below
    that hold pictures, if any is there.

    Args:
        directory: path.
        who: str, who asks, for messages.
        what: str, what is looked for, for messages.
        suffix: str, what the stem of every file ends with, left out of the keys; others are passed
            over. With an ending (`"_mask.png"`) it also says which ending is meant.
        recursive: bool: whether pictures in folders below count; then the keys are their paths
            without the ending, as in `"aachen/a"`.
        extensions: endings that are read.

    Returns:
        A dict from stem (in Unicode's composed form) to path.

    Raises:
        FileNotFoundError: if the folder is missing or holds no such picture.
        ValueError: if two pictures differ only in their extension.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{who}: there is no {what} folder {str(directory)!r}")
    found, passed, below = {}, {}, []
    ending = suffix[suffix.rfind(".") :].lower() if "." in suffix else ""
    ending = ending if ending in extensions else ""
    tail = plain(suffix[: len(suffix) - len(ending)])
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
        stem = plain(path.stem)
        if not stem.endswith(tail) or ending not in ("", extension):
            continue
        key = plain((inside / stem[: len(stem) - len(tail)]).as_posix())
        if key in found:
            raise ValueError(
                f"{who}: {found[key].name!r} and {path.name!r} in {str(path.parent)!r} differ "
                'only in their extension; which one is meant? A suffix may say so (".png")'
            )
        found[key] = path
    notes = [f"{n} file{'s' * (n > 1)} ending in {e or 'nothing'!r}" for e, n in passed.items()]
    if below:
        some = ", ".join(map(repr, below[:3]))
        more = f" and {len(below) - 3} more" if len(below) > 3 else ""
        notes.append(f"pictures in folders below ({some}{more}; recursive=True reads them)")
    if not found:
        kinds = ", ".join(e[1:] for e in extensions)
        ends = f" whose name ends in {suffix!r}" if suffix else ""
        there = f". It holds {' and '.join(notes)}" if notes else ""
        raise FileNotFoundError(
            f"{who}: the {what} folder {str(directory)!r} holds no picture{ends} ({kinds}){there}"
        )
    if notes:
        warnings.warn(
            f"{who}: passed over in the {what} folder {str(directory)!r}: {' and '.join(notes)}",
            stacklevel=2,
        )
    return found


def walk(directory):
    """All files in a folder and in those below; hidden ones are left out, links followed."""
    seen = set()
    for place, folders, names in os.walk(directory, followlinks=True):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in _JUNK]
        if os.path.realpath(place) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        for name in names:
            if not name.startswith("."):
                yield pathlib.Path(place) / name


def plain(name):
    """A name in Unicode's composed form: file systems differ in how they write "é".

    >>> len(plain("e\\u0301"))
    1
    """
    return unicodedata.normalize("NFC", name)


def every_fifth(stems, split, who):
    """The names of a split where no list says: every fifth is `"val"`, the rest `"train"`.

    Raises:
        ValueError: for another split than these and `"trainval"`.

    >>> every_fifth("abcdef", "val", "letters")
    ['e']
    """
    stems = sorted(stems)
    parts = {
        "train": [stem for i, stem in enumerate(stems) if i % 5 != 4],
        "val": stems[4::5],
        "trainval": stems,
    }
    if split not in parts:
        raise ValueError(
            f"{who}: without lists the splits are {sorted(parts)}. Received: split={split!r}"
        )
    return parts[split]

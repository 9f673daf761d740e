"""Pairs of images and masks."""

import codecs
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.datasets.listing import READABLE, composed, find_files

Pairs = list[tuple[pathlib.Path, pathlib.Path]]


def match_files(
    images: PathLike,
    masks: PathLike,
    *,
    names: PathLike | Iterable[str] | None = None,
    image_suffix: str = "",
    mask_suffix: str = "",
    recursive: bool = False,
    who: str = "folder",
    what: str = "mask",
    extensions: Sequence[str] = READABLE,
) -> Pairs:
    """Pair images and masks by their stem; errors name files without a partner.

    Args:
        images: path of the folder of images.
        masks: path of the folder of masks.
        names: list of names of the samples, or path of a text file with one per line.
        image_suffix: str, end of the stems of images after the common part; see `find_files`.
            Files that end otherwise are skipped.
        mask_suffix: str, the same for masks.
        recursive: bool, whether to read subfolders; pairs then have the same relative path.
        who: str, the reader, for messages.
        what: str, the kind of mask, for messages.
        extensions: sequence of str, extensions of masks.

    Returns:
        A list of pairs of paths, image and mask.

    Raises:
        FileNotFoundError: if a folder, an image or a mask is missing.
        ValueError: if both folders are the same and no suffix distinguishes the files.
    """
    recursive = _check.flag(recursive, "recursive")
    if os.path.realpath(images) == os.path.realpath(masks) and image_suffix == mask_suffix:
        raise ValueError(
            f"{who}: images and {what}s are in one folder, {str(images)!r}; give a suffix that "
            'distinguishes them, such as mask_suffix="_mask" or image_suffix=".jpg"'
        )
    image_files = find_files(images, who, "images", image_suffix, recursive, READABLE)
    mask_files = find_files(masks, who, f"{what}s", mask_suffix, recursive, extensions)
    if len(image_suffix) < len(mask_suffix):  # in the same folder, "a_mask" ends with "", too
        image_files = _without(image_files, mask_files)
    else:
        mask_files = _without(mask_files, image_files)
    if names is not None:
        keys = _keys(read_names(names, who), image_files, image_suffix, images, who)
    else:
        keys = list(image_files)
        alone = sorted(set(mask_files) - set(keys))
        if alone:
            raise FileNotFoundError(
                f"{who}: {_some(mask_files[s].name for s in alone)} in {str(masks)!r} "
                f"without an image in {str(images)!r}{_case(alone, image_files)}"
            )
    alone = [key for key in keys if key not in mask_files]
    if alone:
        raise FileNotFoundError(
            f"{who}: {_some(image_files[s].name for s in alone)} in {str(images)!r} "
            f"without a {what} in {str(masks)!r}{_case(alone, mask_files)}"
        )
    return [(image_files[key], mask_files[key]) for key in keys]


def list_files(
    images: PathLike,
    names: PathLike | Iterable[str] | None = None,
    image_suffix: str = "",
    recursive: bool = False,
    who: str = "folder",
) -> list[pathlib.Path]:
    """List images that have no masks; arguments as in `match_files`.

    Raises:
        FileNotFoundError: if the folder, or an image of `names`, is missing.
    """
    recursive = _check.flag(recursive, "recursive")
    files = find_files(images, who, "images", image_suffix, recursive, READABLE)
    if names is None:
        return list(files.values())
    return [files[k] for k in _keys(read_names(names, who), files, image_suffix, images, who)]


def _without(
    files: dict[str, pathlib.Path], others: Mapping[str, pathlib.Path]
) -> dict[str, pathlib.Path]:
    taken = set(map(os.path.realpath, others.values())) if files and others else set()
    return {key: path for key, path in files.items() if os.path.realpath(path) not in taken}


def read_names(names: PathLike | Iterable[str], who: str) -> list[str]:
    """Return names of samples, given as a list or read from a text file.

    The file is UTF-8, or UTF-16 with a byte order mark; its lines are the names.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if there is no name, or the file is not text.
    """
    if isinstance(names, str | pathlib.Path):
        path = pathlib.Path(names)
        if not path.is_file():
            raise FileNotFoundError(f"{who}: there is no list of names {str(path)!r}")
        text = path.read_bytes()
        wide = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        try:
            names = text.decode("utf-16" if wide else "utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{who}: the list of names {str(path)!r} is not UTF-8 ({error})"
            ) from error
    names = [name for name in (str(name).strip() for name in names) if name]
    if not names:
        raise ValueError(f"{who}: the list of names is empty")
    return names


def _keys(
    names: Sequence[str],
    files: Mapping[str, pathlib.Path],
    suffix: str,
    folder: PathLike,
    who: str,
) -> list[str]:
    """Find the keys of names, which may have an extension, the suffix, and parent folders."""
    last: dict[str, list[str]] = {}
    for key in files:
        last.setdefault(key.rpartition("/")[2], []).append(key)
    found = {name: _key(name, files, last, suffix) for name in names}
    keys = {name: key for name, key in found.items() if key is not None}
    missing = [name for name in found if name not in keys]
    if missing:
        raise FileNotFoundError(
            f"{who}: no image for {_some(missing)} in {str(folder)!r}{_case(missing, files)}"
        )
    name_of: dict[str, str] = {}
    for name, key in keys.items():
        if name_of.setdefault(key, name) != name:
            raise ValueError(
                f"{who}: the names {name_of[key]!r} and {name!r} both refer to {str(files[key])!r}"
            )
    return [keys[name] for name in names]


def _key(
    name: str, files: Mapping[str, pathlib.Path], last: Mapping[str, list[str]], suffix: str
) -> str | None:
    name = composed(name)
    if name in files:
        return name
    name = name.replace("\\", "/").strip("/")
    stem, ending = os.path.splitext(name)
    name = stem if ending.lower() in READABLE else name
    if suffix and name not in files:
        name = name.removesuffix(composed(suffix))
    parts = name.split("/")
    for start in range(len(parts)):
        if "/".join(parts[start:]) in files:
            return "/".join(parts[start:])
    below = last.get(name, ())
    return below[0] if len(below) == 1 else None


def _case(names: Iterable[str], files: Mapping[str, pathlib.Path]) -> str:
    lower = {key.lower() for key in files}
    same = [name for name in names if str(name).lower() in lower]
    return f" ({_some(same)} only in another case)" if same else ""


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(n) for n in names[:3]) + more

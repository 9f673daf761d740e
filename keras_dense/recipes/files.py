"""Pairs of images and masks in two folders, with all that has no partner."""

import collections
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Sequence

from keras_dense._types import PathLike
from keras_dense.datasets.findings import some
from keras_dense.datasets.listing import READABLE, find_files
from keras_dense.datasets.rasters import RASTERS

_TRIED = 60  # names that a suffix is looked for in


@dataclasses.dataclass
class Matched:
    """Names that an image and all its annotations share.

    Attributes:
        names: list of str, the common part of the stems.
        suffixes: dict from "images", "masks", … to the end of their stems.
        files: dict from the same keys to a dict from name to path.
        said: sentences about what was left out, and what was skipped.
    """

    names: list[str]
    suffixes: dict[str, str]
    files: dict[str, dict[str, pathlib.Path]]
    said: list[str]


def match(folders: dict[str, PathLike], recursive: bool = False) -> Matched:
    """Find the names that all folders share.

    Suffixes such as `_mask` are found out. Files without a partner are left out, with a sentence.

    Args:
        folders: dict from "images", and "masks", "depth", "normals", to paths.
        recursive: bool, whether to read subfolders.

    Raises:
        FileNotFoundError: if a folder is missing or empty, or no image has all annotations.
        ValueError: if two folders are the same, or two files differ only in their extension.

    >>> import tempfile
    >>> root = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("im/a.jpg", "im/b.jpg", "im/c.jpg", "gt/a_mask.png", "gt/b_mask.png"):
    ...     (root / name).parent.mkdir(exist_ok=True)
    ...     (root / name).touch()
    >>> found = match({"images": root / "im", "masks": root / "gt"})
    >>> found.names, found.suffixes["masks"], found.said[-1]
    (['a', 'b'], '_mask', 'Images without a mask are left out: 1 (c.jpg).')
    """
    _check_different(folders)
    said: list[str] = []
    listed = {key: _listed(path, key, recursive, said) for key, path in folders.items()}
    suffixes, files = {"images": ""}, {"images": listed["images"]}
    for key, found in listed.items():
        if key == "images":
            continue
        end_of_images, end = _suffixes(list(files["images"]), list(found))
        if end_of_images and not suffixes["images"]:
            suffixes["images"] = end_of_images
            files["images"] = _cut(files["images"], end_of_images)
        if end:
            said.append(f"Names of {key} end in {end!r} after the name of the image.")
        suffixes[key], files[key] = end, _cut(found, end)
    names = [name for name in files["images"] if all(name in found for found in files.values())]
    if not names:
        others = ", ".join(
            f"{key} such as {next(iter(listed[key].values())).name!r}" for key in listed
        )
        raise FileNotFoundError(
            f"No image of {str(folders['images'])!r} has a partner of the same name: there are "
            f"{others}. Name them alike: images/a.jpg belongs to masks/a.png or masks/a_mask.png"
        )
    said += _alone(files, names)
    return Matched(names, suffixes, files, said)


def _check_different(folders: dict[str, PathLike]) -> None:
    seen: dict[str, str] = {}
    for key, path in folders.items():
        real = os.path.realpath(path)
        if real in seen:
            raise ValueError(
                f"`{key}` must be another folder than `{seen[real]}`. Received: {str(path)!r} for "
                "both; move the masks to a folder of their own"
            )
        seen[real] = key


def _listed(path: PathLike, key: str, recursive: bool, said: list[str]) -> dict[str, pathlib.Path]:
    extensions = READABLE if key in ("images", "masks") else RASTERS
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        found = find_files(path, "recipes", key, "", recursive, extensions)
    for note in notes:
        text = str(note.message).removeprefix("recipes: ")
        said.append(text[0].upper() + text[1:].replace("recursive=True", "--recursive") + ".")
    return found


def _suffixes(images: Sequence[str], others: Sequence[str]) -> tuple[str, str]:
    """Ends of the stems of images and of annotations, such as `("", "_mask")`.

    >>> _suffixes(["a_img", "b_img"], ["a_mask", "b_mask"]), _suffixes(["a", "b"], ["a", "c"])
    (('_img', '_mask'), ('', ''))
    """
    if len(set(images) & set(others)) >= 0.5 * min(len(images), len(others)):
        return "", ""
    ends: collections.Counter = collections.Counter()
    for image in images[:_TRIED]:
        here = set()
        for other in others:
            common = os.path.commonprefix([image, other]).rstrip("_-. ")
            if common:
                here.add((image[len(common) :], other[len(common) :]))
        ends.update(here)
    for (first, second), count in ends.most_common(8):
        keys = [image.removesuffix(first) for image in images if image.endswith(first)]
        matched = {key for key in keys if f"{key}{second}" in set(others)}
        if count > 1 and len(matched) >= 0.5 * min(len(images), len(others)):
            return first, second
    return "", ""


def _cut(files: dict[str, pathlib.Path], end: str) -> dict[str, pathlib.Path]:
    return {k.removesuffix(end): path for k, path in files.items() if k.endswith(end)}


_PARTNER = {"masks": "a mask", "depth": "a depth map", "normals": "a normal map"}


def _alone(files: dict[str, dict[str, pathlib.Path]], names: Sequence[str]) -> list[str]:
    kept, said = set(names), []
    what = " or ".join(_PARTNER[key] for key in files if key != "images")
    for key, found in files.items():
        alone = [path.name for name, path in found.items() if name not in kept]
        if alone:
            partner = what if key == "images" else "an image"
            said.append(
                f"{key.capitalize()} without {partner} are left out: {len(alone)} ({some(alone)})."
            )
    return said

"""Tags: classes that an image contains, without their places."""

import csv
import pathlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.datasets.listing import READABLE, composed
from keras_dense.ops.tags import tags_of_labels

UNKNOWN_TAG = 255
_CELLS = {"1": 1, "0": 0, "": UNKNOWN_TAG, "?": UNKNOWN_TAG, str(UNKNOWN_TAG): UNKNOWN_TAG}


def tags_from_labels(labels: ArrayLike, num_classes: int, *, partial: bool = False) -> Array:
    """Tags of a mask: 1 for classes that it contains, otherwise 0.

    Void pixels are passed over, as is usual for borders of objects. In a mask without a known
    pixel, all tags are unknown.

    Args:
        labels: ints `(H, W)`, 255 = void.
        num_classes: int >= 1.
        partial: bool, whether only part of the objects is marked (scribbles, points): a class that
            the mask does not contain is then unknown, 255.

    Returns:
        uint8 `(num_classes,)`.

    Raises:
        ValueError: for a label that is no class.

    Example:

    >>> tags_from_labels([[0, 0, 2, 255]], 4).tolist()
    [1, 0, 1, 0]
    >>> tags_from_labels([[0, 0, 2, 255]], 4, partial=True).tolist()
    [1, 255, 1, 255]
    """
    count = _check.integer(num_classes, "num_classes", low=1)
    return tags_of_labels(
        as_labels(labels, "labels"), count, UNKNOWN_TAG, _check.flag(partial, "partial")
    )


def read_tags(
    table: PathLike | Mapping[str, ArrayLike], class_names: Sequence[str]
) -> dict[str, Array]:
    """Read a table of the tags of images.

    The table is a CSV file, UTF-8, with one image in each row, in one of two forms:

    | header | cells |
    |---|---|
    | `image,<class>,<class>,…` | 1: there, 0: not there, empty, `?` or 255: unknown |
    | `image,present` or `image,present,absent` | names of classes, separated by `;` |

    Classes without a column are unknown. In the second form, a class that a row does not name is
    absent, but unknown if no row names it: such a table says nothing about the class (often the
    background). With a column `absent`, a class in neither cell is unknown.

    Args:
        table: path, or a dict from names of images to tags `(classes,)`.
        class_names: sequence of str.

    Returns:
        A dict from the names of the images to their tags, uint8 `(classes,)`.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: naming file and row, for a class, a cell or a header of another kind, or an
            image that has two rows.

    Example:

    >>> read_tags({"a.jpg": [1, 255]}, ["cat", "dog"])["a.jpg"].tolist()
    [1, 255]
    """
    names = [str(name) for name in class_names]
    if isinstance(table, Mapping):
        return {
            str(key): _tags(tags, f"tags of {key!r}", len(names)) for key, tags in table.items()
        }
    path = pathlib.Path(table)
    if not path.is_file():
        raise FileNotFoundError(f"there is no table of tags {str(path)!r}")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    rows = [row for row in rows if any(row)]
    if len(rows) < 2 or len(rows[0]) < 2 or rows[0][0].lower() != "image":
        raise ValueError(
            f"{path}: must have a header that begins with 'image', and a row for each image"
        )
    header = rows[0][1:]
    lists = header in (["present"], ["present", "absent"]) and not set(header) <= set(names)
    read = _named if lists else _cells
    found: dict[str, Array] = {}
    for number, row in enumerate(rows[1:], 2):
        where = f"{path}, row {number}"
        if len(row) != len(rows[0]):
            raise ValueError(f"{where}: must have {len(rows[0])} cells. Received: {len(row)}")
        if row[0] in found:
            raise ValueError(f"{where}: {row[0]!r} has a row already")
        found[row[0]] = read(row[1:], header, names, where)
    if header == ["present"] and lists:
        _forget_classes_without_a_word(found)
    return found


def _tags(value: Any, name: str, count: int) -> Array:
    tags = as_labels(value, name)
    if tags.shape != (count,) or not np.isin(tags, (0, 1, UNKNOWN_TAG)).all():
        raise ValueError(
            f"{name}: must be {count} numbers, 1, 0 or {UNKNOWN_TAG} (unknown), one for each "
            f"class. Received: shape {tags.shape}, values {np.unique(tags)[:5].tolist()}"
        )
    return tags.astype(np.uint8)


def _cells(cells: list[str], header: list[str], names: list[str], where: str) -> Array:
    tags: Array = np.full(len(names), UNKNOWN_TAG, np.uint8)
    for cell, name in zip(cells, header, strict=True):
        if cell not in _CELLS:
            raise ValueError(
                f"{where}: a tag must be 1, 0, or empty if unknown. Received: {cell!r}"
            )
        tags[_place(name, names, where)] = _CELLS[cell]
    return tags


def _named(cells: list[str], header: list[str], names: list[str], where: str) -> Array:
    tags: Array = np.full(len(names), 0 if len(header) == 1 else UNKNOWN_TAG, np.uint8)
    for cell, value in reversed(list(zip(cells, (1, 0), strict=False))):
        for name in filter(None, (part.strip() for part in cell.split(";"))):
            tags[_place(name, names, where)] = value
    return tags


def _place(name: str, names: list[str], where: str) -> int:
    if name not in names:
        raise ValueError(f"{where}: {name!r} is none of the classes {', '.join(names)}")
    return names.index(name)


def _forget_classes_without_a_word(found: dict[str, Array]) -> None:
    silent = ~np.any([tags == 1 for tags in found.values()], axis=0)
    for tags in found.values():
        tags[silent] = UNKNOWN_TAG


def tags_of_files(
    table: PathLike | Mapping[str, ArrayLike],
    class_names: Sequence[str],
    stems: Iterable[str],
    who: str,
) -> list[Array]:
    """Tags for the files of a data set; those without a row are unknown.

    Args:
        table: see `read_tags`.
        class_names: sequence of str.
        stems: paths of the images relative to their folder, without extensions.
        who: str, the reader, for messages.

    Raises:
        ValueError: if no image has a row.

    Warns:
        UserWarning: if some have none.
    """
    rows = {stem_of(name): tags for name, tags in read_tags(table, class_names).items()}
    unknown: Array = np.full(len(class_names), UNKNOWN_TAG, np.uint8)
    stems = [composed(stem) for stem in stems]
    keys = [stem if stem in rows else stem.rpartition("/")[2] for stem in stems]
    alone = [stem for stem, key in zip(stems, keys, strict=True) if key not in rows]
    what = "the dict" if isinstance(table, Mapping) else repr(str(table))
    if len(alone) == len(stems):
        raise ValueError(f"{who}: no image has a row in {what}, such as {alone[0]!r}")
    if alone:
        warnings.warn(
            f"{who}: {len(alone)} of {len(stems)} images have no row in {what}, such as "
            f"{alone[0]!r}; their tags are unknown",
            stacklevel=3,
        )
    return [rows.get(key, unknown) for key in keys]


def stem_of(name: str) -> str:
    """Return the name of an image in a table without its extension, in composed Unicode.

    >>> stem_of("x/a.1.JPG"), stem_of("a.1")
    ('x/a.1', 'a.1')
    """
    name = composed(name).replace("\\", "/").strip("/")
    dot = name.rfind(".")
    return name[:dot] if dot > 0 and name[dot:].lower() in READABLE else name

"""ADE20K of the scene parsing challenge: 150 classes indoors and outdoors."""

import csv

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import first_existing
from keras_dense.datasets.sample import VOID

CLASSES = 150
SPLITS = {"train": "training", "val": "validation"}
SPLITS |= {name: name for name in ("training", "validation")}


def ade20k(
    root: PathLike, split: str = "train", *, upright: bool | None = None
) -> SegmentationFiles:
    """Read ADE20K in the 150 classes of the scene parsing challenge; other objects are 255, void.

    Layout, as the archive unpacks, in `root` or in `root/ADEChallengeData2016`:
    `images/<split>/*.jpg`, `annotations/<split>/*.png` (1 to 150, and 0 for other objects), and
    `objectInfo150.txt` with the names of the classes.

    Args:
        root: path.
        split: `"train"` or `"val"`, in the folders `training` and `validation`.
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if a folder, the list of classes, or one of a pair of files, is missing.
        ValueError: if `split` is unknown, or the list does not have 150 classes. Reading a sample
            raises `ValueError` naming the file if it is corrupt, has another size, or a label out
            of range.

    Reference: Zhou et al., "Scene parsing through ADE20K dataset", CVPR 2017.

    Example:

    ```python
    val = kd.datasets.ade20k("data/ADEChallengeData2016", "val")
    ```
    """
    part = SPLITS[_check.choice(split, "split", SPLITS)]
    choices = ("objectInfo150.txt", "ADEChallengeData2016/objectInfo150.txt")
    info = first_existing(root, "ade20k", *choices)
    home = info.parent
    return folder(
        first_existing(home, "ade20k", f"images/{part}"),
        first_existing(home, "ade20k", f"annotations/{part}"),
        class_names=_names(info),
        remap={0: VOID} | {number: number - 1 for number in range(1, CLASSES + 1)},
        encoding="index",
        upright=upright,
        name="ade20k",
        split=split,
    )


def _names(path: PathLike) -> list[str]:
    """Read the first name of each class from a table with a column "Name"."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = [(row.get("Name") or "").split(",")[0].strip() for row in rows]
    if len(names) != CLASSES or not all(names):
        raise ValueError(
            f"{path}: must be a table of {CLASSES} classes with a column 'Name'. Received: "
            f"{len(names)} rows, {sum(map(bool, names))} of them with a name"
        )
    return names

"""ADE20K of the scene parsing challenge: 150 classes indoors and outdoors."""

import csv
import pathlib

from keras_dense.datasets.folder import folder
from keras_dense.datasets.layouts import check_split, place
from keras_dense.datasets.sample import VOID

CLASSES = 150
SPLITS = {name: name for name in ("training", "validation")}
SPLITS |= {"train": "training", "val": "validation"}


def ade20k(root, split="train", *, upright=None):
    """ADE20K in the 150 classes of the scene parsing challenge; what is none of them is 255, void.

    Layout: `images/<split>/*.jpg`, `annotations/<split>/*.png` (0 for other objects, then 1 to
    150) and `objectInfo150.txt`, whose first words name the classes, in `root` or in
    `root/ADEChallengeData2016`, as the archive unpacks.

    Args:
        root: path.
        split: `"train"` or `"val"`, which are called `training` and `validation` there.
        upright: as of `folder`.

    Returns:
        A dataset, as `folder` gives it.

    Raises:
        FileNotFoundError: if a folder, the list of classes, or one of a pair of files, is missing.
        ValueError: if `split` is unknown, or the list has not 150 classes. Reading a sample raises
            `ValueError` naming the file if it is corrupt, of another size, or has a label out of
            range.

    Source: Zhou et al., "Scene parsing through ADE20K dataset", CVPR 2017.

    Example:

    ```python
    val = kd.datasets.ade20k("data/ADEChallengeData2016", "val")
    ```
    """
    part = check_split(split, SPLITS, "ade20k")
    choices = ("objectInfo150.txt", "ADEChallengeData2016/objectInfo150.txt")
    info = place(root, "ade20k", *choices)
    home = info.parent
    return folder(
        place(home, "ade20k", f"images/{part}"),
        place(home, "ade20k", f"annotations/{part}"),
        class_names=_names(info),
        remap={0: VOID} | {number: number - 1 for number in range(1, CLASSES + 1)},
        encoding="index",
        upright=upright,
        name="ade20k",
        split=split,
    )


def _names(path):
    """The first of several names of each class, from a table with a column "Name"."""
    with open(pathlib.Path(path), newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    names = [(row.get("Name") or "").split(",")[0].strip() for row in rows]
    if len(names) != CLASSES or not all(names):
        raise ValueError(
            f"{path}: must be a table of {CLASSES} classes with a column 'Name'. It has "
            f"{len(names)} rows, of which {sum(map(bool, names))} have a name"
        )
    return names

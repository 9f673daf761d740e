"""PASCAL VOC 2012, segmentation: 20 kinds of objects and background."""

import pathlib

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense.datasets.files import every_fifth, find_files
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import existing_folder
from keras_dense.datasets.pairs import read_names
from keras_dense.datasets.tags import UNKNOWN_TAG
from keras_dense.heads.palette import voc_palette

CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()
_PRESENCE = {"1": 1, "-1": 0, "0": UNKNOWN_TAG}


def voc2012(
    root: PathLike,
    split: str = "train",
    *,
    masks: bool = True,
    tags: bool = False,
    upright: bool | None = None,
) -> SegmentationFiles:
    """Read PASCAL VOC 2012 in its 21 classes; borders and difficult objects are 255, void.

    There are two layouts: that of the development kit (`ImageSets/Segmentation/<split>.txt`,
    `JPEGImages/`, `SegmentationClass/`) in `root`, `root/VOC2012` or `root/VOCdevkit/VOC2012`; or
    plain `images/` and `masks/` with `<split>.txt` beside them. Without such lists, every fifth
    image in the order of names is `"val"`, the others are `"train"`, and all are `"trainval"`.
    Masks may be the palette PNG of the kit or gray PNG of indices; those in
    `SegmentationClassAug/` are used for a split that `SegmentationClass/` does not contain.

    Args:
        root: path.
        split: `"train"`, `"val"`, `"trainval"`, or the name of another list, such as `"trainaug"`.
        masks: bool, whether samples have masks. Without them a split may be one of the lists in
            `ImageSets/Main/`, which has more images.
        tags: bool, whether samples have tags: those of `ImageSets/Main/<class>_<split>.txt` in the
            layout of the kit, where objects that are called difficult are unknown, as is the
            background; otherwise those of `tags.csv` beside the folders, see
            `kd.datasets.read_tags`.
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if the folder, a list, or one of a pair of files, is missing.
        ValueError: for an unknown split without lists. Reading a sample raises `ValueError` naming
            the file if it is corrupt, has another size, or a label out of range.

    Reference: Everingham et al., "The PASCAL visual object classes challenge", 2015; the augmented
        list is from Hariharan et al., "Semantic contours from inverse detectors", 2011.

    Example:

    ```python
    val = kd.datasets.voc2012("data/VOCdevkit", "val")
    ```
    """
    root = existing_folder(root, "voc2012")
    names: PathLike | list[str]
    masks, tags = _check.flag(masks, "masks"), _check.flag(tags, "tags")
    table: PathLike | dict[str, Array] | None = None
    for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (home / "JPEGImages").is_dir():
            images, lists = home / "JPEGImages", home / "ImageSets"
            main = lists / "Main"
            whole = not masks and (main / f"{split}.txt").is_file()
            names = _list(main if whole else lists / "Segmentation", split)
            folder_of_masks = _masks(home, names)
            table = _main_tags(main, split) if tags else None
            break
    else:
        images, folder_of_masks = root / "images", root / "masks"
        table = root / "tags.csv" if tags else None
        if not images.is_dir():
            raise FileNotFoundError(
                f"voc2012: {str(root)!r} contains neither JPEGImages (perhaps in VOC2012 or "
                "VOCdevkit/VOC2012) nor images and masks"
            )
        if any(root.glob("*.txt")):
            names = _list(root, split)
        else:
            names = every_fifth(find_files(images, "voc2012", "images"), split)
    return folder(
        images,
        folder_of_masks if masks else None,
        tags=table,
        class_names=CLASSES,
        palette=voc_palette(len(CLASSES)),
        names=names,
        upright=upright,
        name="voc2012",
        split=split,
    )


def _masks(home: pathlib.Path, names: PathLike | list[str]) -> pathlib.Path:
    """Return the folder of masks that contains the images of a list."""
    masks, augmented = home / "SegmentationClass", home / "SegmentationClassAug"
    first = f"{read_names(names, 'voc2012')[0]}.png"
    return augmented if augmented.is_dir() and not (masks / first).is_file() else masks


def _main_tags(main: pathlib.Path, split: str) -> dict[str, Array]:
    """Read the lists of the kit: a line for each image, with 1, -1 or 0 (difficult)."""
    tags: dict[str, Array] = {}
    for label, name in enumerate(CLASSES[1:], 1):
        paths = [main / f"{name}_{part}.txt" for part in (split, "trainval")]
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"voc2012: there is no list of tags {str(paths[0])!r}")
        for line in read_names(path, "voc2012"):
            parts = line.split()
            if len(parts) != 2 or parts[1] not in _PRESENCE:
                raise ValueError(
                    f"{path}: a line must be the name of an image, and 1, -1 or 0. Received: "
                    f"{line!r}"
                )
            unknown: Array = np.full(len(CLASSES), UNKNOWN_TAG, np.uint8)
            tags.setdefault(parts[0], unknown)[label] = _PRESENCE[parts[1]]
    return tags


def _list(directory: pathlib.Path, split: str) -> pathlib.Path:
    path = directory / f"{split}.txt"
    if not path.is_file():
        known = sorted(p.stem for p in directory.glob("*.txt"))
        raise FileNotFoundError(f"voc2012: there is no list {str(path)!r}. Existing lists: {known}")
    return path

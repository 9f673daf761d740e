"""PASCAL Context: the images of VOC 2010 with a label for every pixel, in 59 classes."""

import pathlib
import re

import numpy as np

from keras_dense._types import Array, PathLike
from keras_dense.datasets.folder import SegmentationFiles
from keras_dense.datasets.layouts import first_existing
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.raster_files import mat_array
from keras_dense.datasets.sample import VOID
from keras_dense.heads.palette import voc_palette

# Three classes have other names in the list of all labels.
OTHER_NAMES = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


class LabelMap:
    """Turn a `.mat` of labels into class indices.

    Args:
        table: uint8 array, class (or 255) of each label.
    """

    def __init__(self, table: Array) -> None:
        self.table = table

    def __call__(self, path: PathLike, upright: bool | None = None) -> Array:
        """Read `LabelMap` as uint8 `(H, W)`, 255 = void.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, has no such array, or labels out of range.
            ImportError: without SciPy.
        """
        del upright  # a matrix has no orientation
        labels = mat_array(path, "LabelMap")
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: must contain integers (H, W). Received: {labels.dtype} of {labels.shape}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.table):
            raise ValueError(
                f"{path}: has labels {labels.min()} to {labels.max()}, but labels.txt has 1 to "
                f"{len(self.table) - 1} (0 = none)"
            )
        return self.table[labels]


def pascal_context(
    root: PathLike, split: str = "train", *, upright: bool | None = None
) -> SegmentationFiles:
    """Read PASCAL Context in its 59 most frequent classes; all other labels become 255, void.

    Layout: VOC 2010 (`JPEGImages/`, `ImageSets/Main/train.txt` and `val.txt`) in `root`,
    `root/VOC2010` or `root/VOCdevkit/VOC2010`; and, there or in `root`, the files of PASCAL
    Context: `trainval/*.mat` with the labels, `labels.txt` and `59_labels.txt` with their names.
    Classes have the order of `59_labels.txt`. PNG made from these files by other tools have various
    numbers; read them with `folder` and `remap`.

    Args:
        root: path.
        split: `"train"`, `"val"`, or the name of another list in `ImageSets/Main`.
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if a folder, a list, or one of a pair of files, is missing.
        ValueError: if a list does not contain the classes. Reading a sample raises `ValueError`
            naming the file if it is corrupt, has another size, or a label out of range.
        ImportError: reading a sample without SciPy.

    Reference: Mottaghi et al., "The role of context for object detection and semantic segmentation
        in the wild", CVPR 2014.

    Example:

    ```python
    val = kd.datasets.pascal_context("data/VOCdevkit/VOC2010", "val")
    ```
    """
    who, voc = "pascal_context", ("", "VOC2010/", "VOCdevkit/VOC2010/")
    images = first_existing(root, who, *(f"{home}JPEGImages" for home in voc))
    masks = first_existing(root, who, *(f"{home}trainval" for home in voc))
    home = masks.parent
    every, chosen = (
        _names(first_existing(home, who, name)) for name in ("labels.txt", "59_labels.txt")
    )
    names = first_existing(images.parent, who, f"ImageSets/Main/{split}.txt")
    pairs = match_files(images, masks, names=names, who=who, what="label map", extensions=(".mat",))
    table: Array = np.full(max(every) + 1, VOID, np.uint8)
    number_of = {name.replace(" ", ""): number for number, name in every.items()}
    for index, name in enumerate(chosen.values()):
        plain = name.replace(" ", "")
        number = number_of.get(plain, number_of.get(OTHER_NAMES.get(plain, "")))
        if number is None:
            raise ValueError(f"{who}: {name!r} of 59_labels.txt is not in labels.txt")
        table[number] = index
    return SegmentationFiles(
        pairs, LabelMap(table), chosen.values(), voc_palette(len(chosen)), who, split, upright
    )


def _names(path: pathlib.Path) -> dict[int, str]:
    """Read names by their numbers from lines such as `2: aeroplane`."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    found = [re.fullmatch(r"\s*(\d+)\s*:\s*(.+?)\s*", line) for line in lines if line.strip()]
    if not found or None in found:
        raise ValueError(f"pascal_context: {str(path)!r} must have lines such as '2: aeroplane'")
    return {int(match[1]): match[2] for match in found if match}

"""PASCAL Context: the pictures of VOC 2010, every pixel labeled, in 59 classes."""

import pathlib
import re

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.folder import SegmentationFiles
from keras_dense.datasets.layouts import place
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.sample import VOID
from keras_dense.heads.palette import voc_palette

# Three classes are called otherwise in the list of all labels.
OTHERWISE = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


class LabelMap:
    """Turn a `.mat` of labels into class indices.

    Args:
        table: uint8, from the number of a label to a class or 255.
    """

    def __init__(self, table):
        self.table = table

    def __call__(self, path, upright=None):
        """Read `LabelMap` as uint8 `(H, W)`, 255 = void.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, or has no such array, or labels out of range.
        """
        del upright  # a matrix has no orientation
        try:
            labels = require("scipy.io", extra="scipy").loadmat(path)["LabelMap"]
        except ImportError:
            raise  # not the file's fault
        except FileNotFoundError:
            raise FileNotFoundError(f"{path}: no such file") from None
        except KeyError as error:
            raise ValueError(f"{path}: has no array 'LabelMap'") from error
        # SciPy raises many kinds for broken files.
        except Exception as error:
            raise ValueError(f"{path}: cannot be read as a MATLAB file ({error})") from error
        if labels.ndim != 2 or labels.dtype.kind not in "iu":
            raise ValueError(
                f"{path}: must hold integers (H, W). It holds {labels.dtype} of {labels.shape}"
            )
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.table):
            raise ValueError(
                f"{path}: has labels {labels.min()} to {labels.max()}, and there are 1 to "
                f"{len(self.table) - 1}, and 0 for none"
            )
        return self.table[labels]


def pascal_context(root, split="train", *, upright=None):
    """PASCAL Context in its 59 most frequent classes; all other labels become 255, void.

    Layout: VOC 2010 (`JPEGImages/`, `ImageSets/Main/train.txt` and `val.txt`) in `root`,
    `root/VOC2010` or `root/VOCdevkit/VOC2010`; and, there or in `root`, what the data set adds:
    `trainval/*.mat` with the labels, `labels.txt` and `59_labels.txt` with their names. Classes are
    in the order of `59_labels.txt`. PNG that other tools have made of these number the classes as
    they like; `folder` reads them, with `remap`.

    Args:
        root: path.
        split: `"train"`, `"val"`, or another list's name in `ImageSets/Main`.
        upright: as of `folder`.

    Returns:
        A dataset, as `folder` gives it.

    Raises:
        FileNotFoundError: if a folder, a list, or one of a pair of files, is missing.
        ValueError: if a list does not name the classes. Reading a sample raises `ValueError`
            naming the file if it is corrupt, of another size, or has a label out of range.
        ImportError: reading a sample without SciPy.

    Source: Mottaghi et al., "The role of context for object detection and semantic segmentation
        in the wild", CVPR 2014.

    Example:

    ```python
    val = kd.datasets.pascal_context("data/VOCdevkit/VOC2010", "val")
    ```
    """
    who, voc = "pascal_context", ("", "VOC2010/", "VOCdevkit/VOC2010/")
    images = place(root, who, *(f"{home}JPEGImages" for home in voc))
    masks = place(root, who, *(f"{home}trainval" for home in voc))
    home = masks.parent
    every, chosen = (_names(place(home, who, name)) for name in ("labels.txt", "59_labels.txt"))
    names = place(images.parent, who, f"ImageSets/Main/{split}.txt")
    pairs = match_files(images, masks, names=names, who=who, what="label map", extensions=(".mat",))
    table = np.full(max(every) + 1, VOID, np.uint8)
    number_of = {name.replace(" ", ""): number for number, name in every.items()}
    for index, name in enumerate(chosen.values()):
        plain = name.replace(" ", "")
        number = number_of.get(plain, number_of.get(OTHERWISE.get(plain)))
        if number is None:
            raise ValueError(f"{who}: {name!r} of 59_labels.txt is not in labels.txt")
        table[number] = index
    return SegmentationFiles(
        pairs, LabelMap(table), chosen.values(), voc_palette(len(chosen)), who, split, upright
    )


def _names(path):
    """Names by their numbers, of lines such as `2: aeroplane`."""
    lines = pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()
    found = [re.fullmatch(r"\s*(\d+)\s*:\s*(.+?)\s*", line) for line in lines if line.strip()]
    if not found or None in found:
        raise ValueError(f"pascal_context: {str(path)!r} must have lines such as '2: aeroplane'")
    return {int(match[1]): match[2] for match in found}

"""The data sets of MMSegmentation's files: classes, and how its networks are tested."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_dense.heads.palette import voc_palette
from keras_dense.weights.classes import ADE20K, CITYSCAPES, VOC, Classes


def _classes(data: str, colors: Mapping[str, str]) -> Classes:
    palette = [list(bytes.fromhex(color)) for color in colors.values()]
    return Classes(data, tuple(colors), np.array(palette, "uint8"))


_LOVEDA = {
    "background": "ffffff",
    "building": "ff0000",
    "road": "ffff00",
    "water": "0000ff",
    "barren": "9f81b7",
    "forest": "00ff00",
    "agricultural": "ffc380",
}
_ISPRS = {
    "impervious_surface": "ffffff",
    "building": "0000ff",
    "low_vegetation": "00ffff",
    "tree": "00ff00",
    "car": "ffff00",
    "clutter": "ff0000",
}
_ISAID = {
    "background": "000000",
    "ship": "00003f",
    "store_tank": "003f3f",
    "baseball_diamond": "003f00",
    "tennis_court": "003f7f",
    "basketball_court": "003fbf",
    "Ground_Track_Field": "003fff",
    "Bridge": "007f3f",
    "Large_Vehicle": "007f7f",
    "Small_Vehicle": "00007f",
    "Helicopter": "0000bf",
    "Swimming_pool": "0000ff",
    "Roundabout": "00bf7f",
    "Soccer_ball_field": "007fbf",
    "plane": "007fff",
    "Harbor": "00649b",
}
_VESSELS = {"background": "787878", "vessel": "06e6e6"}


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        classes: `Classes`, in the order of scores.
        trained_on, scored_on: str, the parts of it.
        test_size: str, the size of images in its test; `{crop}` is that of crops in training.
        score: str, the name of the score.
    """

    classes: Classes
    trained_on: str
    scored_on: str
    test_size: str
    score: str = "mean IoU"


def _vessels(data: str, trained_on: str, scored_on: str, size: str, stride: int) -> Data:
    tiles = f"{size} pixels, in tiles of {{crop}} with stride {stride}"
    score = "Dice of vessels"
    return Data(
        _classes(data, _VESSELS), f"{data}, {trained_on}", f"{data}, {scored_on}", tiles, score
    )


def _aerial(data: str, colors: Mapping[str, str], scored_on: str, size: str) -> Data:
    return Data(_classes(data, colors), data, f"{data}, {scored_on}", f"tiles of {size}")


_PHOTOGRAPHS = "as large as fits 2048×512, with the same proportions"

# "ade20k", "loveda", "potsdam" and "vaihingen" have no class for their label 0 (unlabeled, or
# none), and count classes from the next one.
DATA: dict[str, Data] = {
    "voc": Data(VOC, "PASCAL VOC 2012, trainaug", "PASCAL VOC 2012, val", _PHOTOGRAPHS),
    "ade20k": Data(ADE20K, "ADE20K, training", "ADE20K, validation", _PHOTOGRAPHS),
    "cityscapes": Data(CITYSCAPES, "Cityscapes, fine train", "Cityscapes, val", "1024×2048"),
    "loveda": _aerial("LoveDA", _LOVEDA, "val", "1024×1024"),
    "potsdam": _aerial("ISPRS Potsdam", _ISPRS, "val", "512×512"),
    "vaihingen": _aerial("ISPRS Vaihingen", _ISPRS, "val", "512×512"),
    "isaid": _aerial("iSAID", _ISAID, "val", "896×896"),
    "drive": _vessels("DRIVE", "training", "test", "584×565", 42),
    "stare": _vessels("STARE", "training", "validation", "605×700", 85),
    "chase_db1": _vessels("CHASE_DB1", "training", "validation", "960×999", 85),
    "hrf": _vessels("HRF", "training", "validation", "2336×3504", 170),
}


def classes_in(meta: Mapping[str, Any]) -> Classes | None:
    """The classes that a file names beside its tensors; `None` if it names none.

    >>> print(classes_in({"meta": {"CLASSES": ("road", "field ")}}))
    2 classes of the file
    >>> classes_in({"meta": {"dataset_meta": {"classes": ["road"]}}}).names
    ('road',)
    """
    said = meta.get("meta")
    said = said if isinstance(said, dict) else {}
    newer = said.get("dataset_meta")
    newer = newer if isinstance(newer, dict) else {}
    names = said.get("CLASSES") or newer.get("classes")
    if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
        return None
    try:
        palette = np.array(said.get("PALETTE") or newer.get("palette"), "uint8")
    except (TypeError, ValueError, OverflowError):
        palette = np.zeros(0, "uint8")
    if palette.shape != (len(names), 3):
        palette = voc_palette(len(names))
    return Classes("the file", tuple(name.strip() for name in names), palette)

"""Mapillary Vistas: streets on six continents."""

import json
import pathlib
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, PathLike
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import first_existing
from keras_dense.datasets.sample import VOID

SPLITS = {"train": "training", "val": "validation", "training": "training"}
SPLITS |= {"validation": "validation"}
INSTANCES = 256  # files of instances contain label * 256 + number of the object


def mapillary_vistas(
    root: PathLike,
    split: str = "train",
    *,
    version: str = "v2.0",
    upright: bool | None = None,
) -> SegmentationFiles:
    """Read Mapillary Vistas in the evaluated classes of its configuration file.

    Layout, as the archive unpacks: `config_v2.0.json`, `training/images/*.jpg` and
    `training/v2.0/labels/*.png` with positions in the configuration. If there is no `labels/`,
    `training/v2.0/instances/*.png` of 16 bits are read, label * 256 + object. Releases before 2.0
    have `config.json` and `training/labels/`. Labels that are not evaluated become 255, void.

    Args:
        root: path.
        split: `"train"` or `"val"`.
        version: `"v2.0"` or `"v1.2"`, the version of the labels.
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`. Names and colors of its classes come from the configuration.

    Raises:
        FileNotFoundError: if a folder, the configuration, or one of a pair of files, is missing.
        ValueError: if `split` is unknown, or the configuration has no labels. Reading a sample
            raises `ValueError` naming the file if it is corrupt, has another size, or a label
            out of range.

    Reference: Neuhold et al., "The Mapillary Vistas dataset for semantic understanding of street
        scenes", ICCV 2017.

    Example:

    ```python
    val = kd.datasets.mapillary_vistas("data/vistas", "val")
    ```
    """
    part = SPLITS[_check.choice(split, "split", SPLITS)]
    _check.choice(version, "version", ("v2.0", "v1.2"))
    old = version == "v1.2"
    path = first_existing(
        root, "mapillary_vistas", f"config_{version}.json", *["config.json"] * old
    )
    homes = [f"{part}/{version}", *[part] * old]
    masks = first_existing(
        root,
        "mapillary_vistas",
        *(f"{home}/labels" for home in homes),
        *(f"{home}/instances" for home in homes),
    )
    labels = _labels(path)
    classes = [number for number, label in enumerate(labels) if label["evaluate"]]
    remap = dict.fromkeys(range(len(labels)), VOID)
    remap |= {number: index for index, number in enumerate(classes)}
    return folder(
        first_existing(root, "mapillary_vistas", f"{part}/images"),
        masks,
        class_names=[labels[number]["readable"] for number in classes],
        palette=np.array([labels[number]["color"] for number in classes]),
        remap=remap,
        encoding="index",
        decode=_label_of_instance if masks.name == "instances" else None,
        upright=upright,
        name="mapillary_vistas",
        split=split,
    )


def _label_of_instance(numbers: Array) -> Array:
    return numbers // INSTANCES


def _labels(path: pathlib.Path) -> list[dict[str, Any]]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        evaluated = [label["evaluate"] for label in labels]
        if not any(evaluated) or not all(len(label["color"]) == 3 for label in labels):
            raise ValueError("no label is evaluated, or a color is invalid")
        _ = [label["readable"] for label in labels]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"mapillary_vistas: {str(path)!r} must be JSON with 'labels' that have 'evaluate', "
            f"'readable' and 'color' ({type(error).__name__}: {error})"
        ) from error
    return labels

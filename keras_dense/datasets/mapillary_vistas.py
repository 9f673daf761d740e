"""Mapillary Vistas: streets of six continents."""

import json

import numpy as np

from keras_dense.datasets.folder import folder
from keras_dense.datasets.layouts import check_split, place
from keras_dense.datasets.sample import VOID

SPLITS = {"train": "training", "val": "validation", "training": "training"}
SPLITS |= {"validation": "validation"}
INSTANCES = 256  # files of instances hold label * 256 + the object's number


def mapillary_vistas(root, split="train", *, version="v2.0", upright=None):
    """Mapillary Vistas in the classes that its configuration says are scored.

    Layout, as the archive unpacks: `config_v2.0.json`, `training/images/*.jpg` and
    `training/v2.0/labels/*.png`, of which the number is the place in the configuration; where there
    are no `labels/`, `training/v2.0/instances/*.png` of 16 bits, label * 256 + object. Releases
    before 2.0 have `config.json` and `training/labels/`. Labels that the configuration does not
    have evaluated become 255, void.

    Args:
        root: path.
        split: `"train"` or `"val"`.
        version: `"v2.0"` or `"v1.2"`: of which the labels are.
        upright: as of `folder`.

    Returns:
        A dataset, as `folder` gives it. Names and colors of its classes are those of the file.

    Raises:
        FileNotFoundError: if a folder, the configuration, or one of a pair of files, is missing.
        ValueError: if `split` is unknown, or the configuration has no labels. Reading a sample
            raises `ValueError` naming the file if it is corrupt, of another size, or has a label
            out of range.

    Source: Neuhold et al., "The Mapillary Vistas dataset for semantic understanding of street
        scenes", ICCV 2017.

    Example:

    ```python
    val = kd.datasets.mapillary_vistas("data/vistas", "val")
    ```
    """
    part = check_split(split, SPLITS, "mapillary_vistas")
    if version not in ("v1.2", "v2.0"):
        raise ValueError(
            f'mapillary_vistas: version must be "v1.2" or "v2.0". Received: version={version!r}'
        )
    old = version == "v1.2"
    path = place(root, "mapillary_vistas", f"config_{version}.json", *["config.json"] * old)
    homes = [f"{part}/{version}", *[part] * old]
    masks = place(
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
        place(root, "mapillary_vistas", f"{part}/images"),
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


def _label_of_instance(numbers):
    return numbers // INSTANCES


def _labels(path):
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        evaluated = [label["evaluate"] for label in labels]
        if not any(evaluated) or not all(len(label["color"]) == 3 for label in labels):
            raise ValueError("no label is evaluated, or a color is none")
        _ = [label["readable"] for label in labels]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"mapillary_vistas: {str(path)!r} must be JSON with 'labels' that have 'evaluate', "
            f"'readable' and 'color' ({type(error).__name__}: {error})"
        ) from error
    return labels

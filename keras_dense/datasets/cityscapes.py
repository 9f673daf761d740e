"""Cityscapes: streets of fifty cities, 19 classes."""

import numpy as np

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import first_existing
from keras_dense.datasets.sample import VOID

# name: (its number in *_labelIds.png, its color)
CLASSES = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
LABELS = 34  # numbers 0 to 33; a license plate is -1, stored as 255
ANNOTATIONS = {
    "train": ("gtFine", "gtCoarse"),
    "val": ("gtFine", "gtCoarse"),
    "train_extra": ("gtCoarse",),
}


def cityscapes(root: PathLike, split: str = "train") -> SegmentationFiles:
    """Read Cityscapes in its 19 evaluated classes; all other labels become 255, void.

    Layout, as the archives unpack: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
    `gtFine/<split>/<city>/*_gtFine_labelIds.png`. The labels of `train_extra` are in `gtCoarse`;
    those of `train` and `val` are read from there if there is no `gtFine`.

    Args:
        root: path of the data set.
        split: `"train"`, `"val"` or `"train_extra"`. The labels of `"test"` are not published.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if a folder, or one of a pair of files, is missing.
        ValueError: if `split` is unknown. Reading a sample raises `ValueError` naming the file if
            it is corrupt, has another size, or a label out of range.

    Reference: Cordts et al., "The Cityscapes dataset for semantic urban scene understanding",
        CVPR 2016.

    Example:

    ```python
    val = kd.datasets.cityscapes("data/cityscapes", "val")
    ```
    """
    kinds = ANNOTATIONS[_check.choice(split, "split", ANNOTATIONS)]
    images = first_existing(root, "cityscapes", f"leftImg8bit/{split}")
    masks = first_existing(root, "cityscapes", *(f"{kind}/{split}" for kind in kinds))
    remap = dict.fromkeys([*range(LABELS), VOID], VOID)
    remap |= {number: index for index, (number, _) in enumerate(CLASSES.values())}
    return folder(
        images,
        masks,
        class_names=list(CLASSES),
        palette=np.array([color for _, color in CLASSES.values()]),
        image_suffix="_leftImg8bit",
        mask_suffix=f"_{masks.parent.name}_labelIds",
        recursive=True,
        remap=remap,
        encoding="index",
        name="cityscapes",
        split=split,
    )

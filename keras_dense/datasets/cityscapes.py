"""Cityscapes: streets of fifty cities, 19 classes."""

import numpy as np

from keras_dense.datasets.folder import folder
from keras_dense.datasets.layouts import check_split, place
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
LABELS = 34  # numbers 0 to 33; a license plate is -1, which is stored as 255
ANNOTATIONS = {
    "train": ("gtFine", "gtCoarse"),
    "val": ("gtFine", "gtCoarse"),
    "train_extra": ("gtCoarse",),
}


def cityscapes(root, split="train"):
    """Cityscapes in the 19 classes it is scored in; all other labels become 255, void.

    Layout: `leftImg8bit/<split>/<city>/*_leftImg8bit.png` and
    `gtFine/<split>/<city>/*_gtFine_labelIds.png`, as the archives unpack; `train_extra` has its
    labels in `gtCoarse`, where `train` and `val` have them, too, if there is no `gtFine`.

    Args:
        root: path of the folder that holds them.
        split: `"train"`, `"val"` or `"train_extra"`. The labels of `"test"` are not published.

    Returns:
        A dataset, as `folder` gives it.

    Raises:
        FileNotFoundError: if a folder, or one of a pair of files, is missing.
        ValueError: if `split` is unknown. Reading a sample raises `ValueError` naming the file if
            it is corrupt, of another size, or has a label out of range.

    Source: Cordts et al., "The Cityscapes dataset for semantic urban scene understanding",
        CVPR 2016.

    Example:

    ```python
    val = kd.datasets.cityscapes("data/cityscapes", "val")
    ```
    """
    kinds = check_split(split, ANNOTATIONS, "cityscapes")
    images = place(root, "cityscapes", f"leftImg8bit/{split}")
    masks = place(root, "cityscapes", *(f"{kind}/{split}" for kind in kinds))
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

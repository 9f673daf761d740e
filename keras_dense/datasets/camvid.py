"""CamVid: videos from a car in Cambridge, 11 classes."""

import numpy as np

from keras_dense import _check
from keras_dense._types import PathLike
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import contents, existing_folder
from keras_dense.datasets.sample import VOID

CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


def camvid(root: PathLike, split: str = "train") -> SegmentationFiles:
    """Read CamVid in the 11 classes of the SegNet tutorial; its class 11, void, becomes 255.

    There are two layouts: that of the tutorial, `train/`, `trainannot/`, `val/`, `valannot/`,
    `test/`, `testannot/`; and `train/images/`, `train/masks/`, `val/images/` and so on.

    Args:
        root: path of the data set.
        split: `"train"`, `"val"` or `"test"`.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if the folder, or one of a pair of files, is missing.
        ValueError: if `split` is unknown. Reading a sample raises `ValueError` naming the file if
            it is corrupt, has another size, or a label out of range.

    Reference: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; classes and
        files of Badrinarayanan, Kendall, Cipolla, "SegNet", 2017.

    Example:

    ```python
    train = kd.datasets.camvid("data/CamVid", "train")
    ```
    """
    _check.choice(split, "split", ("train", "val", "test"))
    root = existing_folder(root, "camvid")
    if (root / split / "images").is_dir():
        images, masks = root / split / "images", root / split / "masks"
    else:
        images, masks = root / split, root / f"{split}annot"
        if not images.is_dir():
            raise FileNotFoundError(
                f"camvid: split {split!r} not found in {str(root)!r}: neither {split}/images and "
                f"{split}/masks nor {split} and {split}annot. {contents(root)}"
            )
    return folder(
        images,
        masks,
        class_names=list(CLASSES),
        palette=np.array(list(CLASSES.values())),
        remap={len(CLASSES): VOID},
        name="camvid",
        split=split,
    )

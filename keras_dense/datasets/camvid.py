"""CamVid: driving through Cambridge, 11 classes."""

import pathlib

import numpy as np

from keras_dense.datasets.folder import folder
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


def camvid(root, split="train"):
    """CamVid in the 11 classes of the SegNet tutorial; its class 11, void, becomes 255.

    Two layouts are understood: the tutorial's own, `train/`, `trainannot/`, `val/`, `valannot/`,
    `test/`, `testannot/`; and `train/images/`, `train/masks/`, `val/images/` and so on.

    Args:
        root: path of the folder that holds them.
        split: `"train"`, `"val"` or `"test"`.

    Returns:
        A dataset, as `folder` gives it.

    Raises:
        FileNotFoundError: if the folder, or one of a pair of files, is missing.
        ValueError: if `split` is unknown. Reading a sample raises `ValueError` naming the file if
            it is corrupt, of another size, or has a label out of range.

    Source: Brostow, Fauqueur, Cipolla, "Semantic object classes in video", 2009; classes and
        files of Badrinarayanan, Kendall, Cipolla, "SegNet", 2017.

    Example:

    ```python
    train = kd.datasets.camvid("data/CamVid", "train")
    ```
    """
    if split not in ("train", "val", "test"):
        raise ValueError(f'camvid: split must be "train", "val" or "test". Received: {split=}')
    root = pathlib.Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"camvid: there is no folder {str(root)!r}")
    if (root / split / "images").is_dir():
        images, masks = root / split / "images", root / split / "masks"
    else:
        images, masks = root / split, root / f"{split}annot"
        if not images.is_dir():
            raise FileNotFoundError(
                f"camvid: split {split!r} not found in {str(root)!r}: neither {split}/images and "
                f"{split}/masks nor {split} and {split}annot. "
                f"It holds: {sorted(p.name for p in root.iterdir())[:12]}"
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

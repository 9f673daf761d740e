"""PASCAL VOC 2012, segmentation: 20 kinds of objects and background."""

import pathlib

from keras_dense._types import PathLike
from keras_dense.datasets.files import every_fifth, find_files
from keras_dense.datasets.folder import SegmentationFiles, folder
from keras_dense.datasets.layouts import existing_folder
from keras_dense.datasets.pairs import read_names
from keras_dense.heads.palette import voc_palette

CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
).split()


def voc2012(
    root: PathLike, split: str = "train", *, upright: bool | None = None
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
        upright: bool or `None`, see `folder`.

    Returns:
        A data set, see `folder`.

    Raises:
        FileNotFoundError: if the folder, the list, or one of a pair of files, is missing.
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
    for home in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
        if (home / "JPEGImages").is_dir():
            images, masks, lists = (
                home / "JPEGImages",
                home / "SegmentationClass",
                home / "ImageSets" / "Segmentation",
            )
            names = _list(lists, split)
            augmented = home / "SegmentationClassAug"
            if (
                augmented.is_dir()
                and not (masks / f"{read_names(names, 'voc2012')[0]}.png").is_file()
            ):
                masks = augmented
            break
    else:
        images, masks = root / "images", root / "masks"
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
        masks,
        class_names=CLASSES,
        palette=voc_palette(len(CLASSES)),
        names=names,
        upright=upright,
        name="voc2012",
        split=split,
    )


def _list(directory: pathlib.Path, split: str) -> pathlib.Path:
    path = directory / f"{split}.txt"
    if not path.is_file():
        known = sorted(p.stem for p in directory.glob("*.txt"))
        raise FileNotFoundError(f"voc2012: there is no list {str(path)!r}. Existing lists: {known}")
    return path

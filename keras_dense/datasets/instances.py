"""Numbered objects, such as cells, nuclei or leaves."""

from collections.abc import Iterable, Sequence

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, PathLike, Sample
from keras_dense.datasets.border_weights import separate_instances
from keras_dense.datasets.files import (
    READABLE,
    Decode,
    every_fifth,
    find_files,
    read_image,
    read_numbers,
)
from keras_dense.datasets.layouts import existing_folder
from keras_dense.datasets.pairs import Pairs, match_files
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.samples import Samples

PALETTE = ((0, 0, 0), (255, 200, 60))


class InstanceFiles(Samples):
    """Map-style data set of pairs of an image file and a file of numbered objects.

    `ds[i]` = `{"image": uint8 (H, W, 3), "segmentation": uint8 (H, W), 1 = object,
    "instances": int32 (H, W), 0 = background}`.

    Attributes:
        num_classes: 2.
        class_names: list of str.
        palette: uint8 `(2, 3)`.
        ignore_class: 255.
        name: str.
        split: str.
        files: list of pairs of paths.
    """

    num_classes, ignore_class, name = 2, 255, "instances"

    def __init__(
        self,
        files: Pairs,
        class_names: Iterable[str],
        numbered: bool,
        split: str,
        decode: Decode | None = None,
        decode_image: Decode | None = None,
        upright: bool | None = None,
        separate: bool = True,
    ) -> None:
        self.files = list(files)
        self.class_names = list(class_names)
        self.palette = np.array(PALETTE, np.uint8)
        self.numbered = numbered
        self.split = split
        self.decode = decode
        self.decode_image = decode_image
        self.upright = upright
        self.separate = separate

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image, mask = self.files[index]
        numbers = read_numbers(mask, decode=self.decode, upright=self.upright)
        if not self.numbered:
            _check_black_and_white(mask, numbers)
            numbers, _ = require("scipy.ndimage", extra="scipy").label(numbers)
        numbers = numbers.astype(np.int32)
        if self.separate:
            numbers = separate_instances(numbers)
        sample = {
            "image": read_image(image, self.upright, self.decode_image, numbers.shape),
            "segmentation": (numbers > 0).astype(np.uint8),
            "instances": numbers,
        }
        return check_sample(sample, f"{mask} (objects of {image.name})")

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return str(self.files[index][0])

    def __repr__(self) -> str:
        return f"<{self.name}, split={self.split!r}: {len(self)} samples, 2 classes>"


def _check_black_and_white(path: PathLike, numbers: Array) -> None:
    values = np.unique(numbers)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise ValueError(
            f"{path}: must be black and white (0 and another number). Received: {len(values)} "
            f"numbers, {values[0]} to {values[-1]}. Move numbered objects to the folder instances, "
            "or give a threshold, such as decode=lambda x: x > 127"
        )


def instances(
    root: PathLike,
    split: str = "train",
    *,
    class_names: Sequence[str] = ("background", "object"),
    decode: Decode | None = None,
    decode_image: Decode | None = None,
    upright: bool | None = None,
    separate: bool = True,
) -> InstanceFiles:
    """Read images and numbered objects, as for U-Net.

    Beside `root/images` there is either `root/instances`, with a number for every object and 0 for
    background (PNG of 8 or 16 bits), or `root/masks`, black and white, where every connected
    component (with four neighbors) is an object. A line of background is drawn between objects that
    touch, see `separate_instances`; `kd.heads.Instances` does not need it. Every fifth image in the
    order of names is `"val"`, the others are `"train"`, and all are `"trainval"`.

    Args:
        root: path.
        split: `"train"`, `"val"` or `"trainval"`.
        class_names: two strings, names of background and objects.
        decode: function from the numbers of a mask file as stored to numbers of objects, or to a
            mask of objects: `lambda x: x > 127` for black-and-white JPEG.
        decode_image: function, see `folder`.
        upright: bool or `None`, see `folder`.
        separate: bool, whether to draw a line of background between objects that touch.

    Returns:
        A data set of two classes. Its samples also have `"instances"`, ints `(H, W)`, from which
        `transforms.BorderWeights` computes the weights of U-Net.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image, is missing.
        ValueError: for an unknown split, or if there are not two names. Reading a sample raises
            `ValueError` naming the file if it is corrupt, has another size, or is not an image of
            numbers.
        ImportError: reading black-and-white masks without SciPy.

    Example:

    ```python
    val = kd.datasets.instances("data/nuclei", "val", class_names=["background", "nucleus"])
    ```
    """
    if isinstance(class_names, str) or len(class_names) != 2:
        raise _check.fail("class_names", "two names, of background and objects", class_names)
    separate = _check.flag(separate, "separate")
    root = existing_folder(root, "instances")
    numbered = (root / "instances").is_dir()
    if not numbered and not (root / "masks").is_dir():
        raise FileNotFoundError(f"instances: {str(root)!r} contains neither instances nor masks")
    images, masks = root / "images", root / ("instances" if numbered else "masks")
    names = every_fifth(find_files(images, "instances", "images", extensions=READABLE), split)
    match_files(images, masks, who="instances")  # an error if any image has no objects
    files = match_files(images, masks, names=names, who="instances")
    return InstanceFiles(
        files, class_names, numbered, split, decode, decode_image, upright, separate
    )

"""Objects, each with a number of its own: cells, nuclei, leaves."""

import pathlib

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.border_weights import separate_instances
from keras_dense.datasets.files import READABLE, every_fifth, find_files, read_image, read_numbers
from keras_dense.datasets.pairs import match_files
from keras_dense.datasets.sample import check_sample

PALETTE = ((0, 0, 0), (255, 200, 60))


class InstanceFiles:
    """A map-style dataset of pairs (image file, file of numbered objects).

    `ds[i]` = `{"image": uint8 (H, W, 3), "segmentation": uint8 (H, W), 1 = object,
    "instances": int32 (H, W), 0 = background}`.

    Attributes:
        num_classes: 2.
        class_names: list of str.
        palette: uint8 `(2, 3)`.
        ignore_class: 255.
        name, split: str.
        files: list of pairs of paths.
    """

    num_classes, ignore_class, name = 2, 255, "instances"

    def __init__(
        self,
        files,
        class_names,
        numbered,
        split,
        decode=None,
        decode_image=None,
        upright=None,
    ):
        self.files = list(files)
        self.class_names = list(class_names)
        self.palette = np.array(PALETTE, np.uint8)
        self.numbered = numbered
        self.split = split
        self.decode = decode
        self.decode_image = decode_image
        self.upright = upright

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image, mask = self.files[index]
        numbers = read_numbers(mask, decode=self.decode, upright=self.upright)
        if not self.numbered:
            _check_black_and_white(mask, numbers)
            numbers, _ = require("scipy.ndimage", extra="scipy").label(numbers)
        numbers = separate_instances(numbers.astype(np.int32))
        sample = {
            "image": read_image(image, self.upright, self.decode_image, numbers.shape),
            "segmentation": (numbers > 0).astype(np.uint8),
            "instances": numbers,
        }
        return check_sample(sample, f"{mask} (objects of {image.name})")

    def describe(self, index):
        """What sample `index` is, for messages: the name of its image."""
        return str(self.files[index][0])

    def __repr__(self):
        return f"<{self.name}, split={self.split!r}: {len(self)} samples, 2 classes>"


def _check_black_and_white(path, numbers):
    values = np.unique(numbers)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise ValueError(
            f"{path}: must be black and white (0 and another number). It holds "
            f"{len(values)} numbers, {values[0]} to {values[-1]}. Numbered objects belong into "
            "the folder instances; give decode=, such as decode=lambda x: x > 127, to draw the line"
        )


def instances(
    root,
    split="train",
    *,
    class_names=("background", "object"),
    decode=None,
    decode_image=None,
    upright=None,
):
    """Images and numbered objects: what U-Net is for.

    Beside `root/images` there is either `root/instances`, whose files hold a number for every
    object and 0 for background (PNG of 8 or 16 bits), or `root/masks`, black and white, where
    every connected piece (over its four neighbors) is an object. Where objects touch, a line of
    background is drawn between them, see `separate_instances`. Every fifth image in order of name
    is `"val"`, the others are `"train"`, all are `"trainval"`.

    Args:
        root: path.
        split: `"train"`, `"val"` or `"trainval"`.
        class_names: what background and objects are called.
        decode: function from the numbers of a mask file as stored to numbers of objects, or to
            where there are any: `lambda x: x > 127` for black and white JPEG.
        decode_image, upright: as of `folder`.

    Returns:
        A dataset of two classes. Its samples have `"instances"` besides, ints `(H, W)`, from which
        `transforms.BorderWeights` makes U-Net's weights.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image, is missing.
        ValueError: for an unknown split, or not two names. Reading a sample raises `ValueError`
            naming the file if it is corrupt, of another size, or no picture of numbers.
        ImportError: reading black and white masks without SciPy.

    Example:

    ```python
    val = kd.datasets.instances("data/nuclei", "val", class_names=["background", "nucleus"])
    ```
    """
    root = pathlib.Path(root)
    if isinstance(class_names, str) or len(class_names) != 2:
        raise ValueError(
            "instances: class_names must be two names, of background and objects. "
            f"Received: class_names={class_names!r}"
        )
    if not root.is_dir():
        raise FileNotFoundError(f"instances: there is no folder {str(root)!r}")
    numbered = (root / "instances").is_dir()
    if not numbered and not (root / "masks").is_dir():
        raise FileNotFoundError(f"instances: {str(root)!r} holds neither instances nor masks")
    images, masks = root / "images", root / ("instances" if numbered else "masks")
    names = every_fifth(
        find_files(images, "instances", "images", extensions=READABLE), split, "instances"
    )
    match_files(images, masks, who="instances")  # not one image without its objects
    files = match_files(images, masks, names=names, who="instances")
    return InstanceFiles(files, class_names, numbered, split, decode, decode_image, upright)

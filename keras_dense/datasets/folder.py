"""Images in one folder, masks in another."""

import numbers
import pathlib

import numpy as np

from keras_dense.datasets.files import find_files, read_image
from keras_dense.datasets.masks import MaskDecoder
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.heads.palette import voc_palette


class SegmentationFiles:
    """A map-style dataset of pairs (image file, mask file).

    `len(ds)`, `ds[i]` = `{"image": uint8 (H, W, 3), "segmentation": uint8 (H, W), 255 = void}`.

    Attributes:
        num_classes: int.
        class_names: list of str.
        palette: uint8 `(num_classes, 3)`.
        ignore_class: 255.
        name: str.
        split: str or `None`.
        files: list of pairs of paths.
    """

    ignore_class = VOID

    def __init__(self, files, decoder, class_names, palette, name, split=None):
        self.files = list(files)
        self.decoder = decoder
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.palette = palette
        self.name = name
        self.split = split

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image_path, mask_path = self.files[index]
        sample = {"image": read_image(image_path), "segmentation": self.decoder(mask_path)}
        return check_sample(sample, f"{mask_path} (mask of {image_path.name})")

    def describe(self, index):
        """What sample `index` is, for messages: the name of its image."""
        return str(self.files[index][0])

    def __repr__(self):
        split = f", split={self.split!r}" if self.split else ""
        return f"<{self.name}{split}: {len(self)} samples, {self.num_classes} classes>"


def folder(
    images,
    masks,
    *,
    class_names=None,
    palette=None,
    num_classes=None,
    names=None,
    mask_suffix="",
    remap=None,
    encoding="auto",
    void_colors=((224, 224, 192),),
    name=None,
    split=None,
):
    """Images in one folder, masks of the same names in another.

    Masks may hold class indices (grey or palette PNG), or colours (decoded by `palette`).

    Args:
        images: path of the folder of images.
        masks: path of the folder of masks: `images/a.jpg` goes with `masks/a.png`.
        class_names: list of str, one a class.
        palette: `(num_classes, 3)` colours, 0 to 255; the VOC colours unless given.
        num_classes: int; needed only if neither `class_names` nor `palette` tells.
        names: which samples: a list of stems, or the path of a text file with one a line. All
            of the folder unless given.
        mask_suffix: str, what a mask's stem has behind its image's (`"_L"`: `a_L.png`).
        remap: dict from values in the files to classes, or to 255 for void: `{255: 1}` for
            black and white masks, `{11: 255}` where class 11 means void.
        encoding: `"index"`, `"color"`, or `"auto"`: colours where a mask has three channels.
        void_colors: colours of void in colour-coded masks.
        name: str, how the dataset calls itself.
        split: str, kept as an attribute.

    Returns:
        A dataset: `len(ds)`, `ds[i]`, `num_classes`, `class_names`, `palette`, `ignore_class`.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image or a mask, is missing.
        ValueError: if arguments contradict each other. Reading a sample raises `ValueError`
            naming the file if it is corrupt, of another size, or has a label out of range.

    Example:

    ```python
    ds = kd.datasets.folder("data/images", "data/masks", class_names=["ground", "crop", "weed"])
    ```
    """
    class_names, palette = _classes(class_names, palette, num_classes, encoding)
    who = name or "folder"
    pairs = match_files(images, masks, names=names, mask_suffix=mask_suffix, who=who)
    if remap is not None:
        for value, label in remap.items():
            if not (label == VOID or 0 <= label < len(class_names)) or value < 0:
                raise ValueError(
                    f"folder: remap must map values >= 0 to classes 0 to {len(class_names) - 1} "
                    f"or to {VOID} (void). Received: {value!r}: {label!r}"
                )
    decoder = MaskDecoder(len(class_names), palette, void_colors, remap, encoding)
    return SegmentationFiles(pairs, decoder, class_names, palette, who, split)


def match_files(images, masks, *, names=None, mask_suffix="", who="folder", what="mask"):
    """Pairs of paths (image, mask) of the same stem; an error names what has no partner.

    `what` is how errors call a mask.
    """
    image_files = find_files(images, who, "images")
    mask_files = find_files(masks, who, f"{what}s")
    if names is not None:
        stems = _read_names(names, who)
    else:
        stems = list(image_files)
        alone = sorted(set(mask_files) - {stem + mask_suffix for stem in stems})
        if alone:
            raise FileNotFoundError(
                f"{who}: {_some(mask_files[s].name for s in alone)} in {str(masks)!r} "
                f"without an image in {str(images)!r}"
            )
    missing = [stem for stem in stems if stem not in image_files]
    if missing:
        raise FileNotFoundError(f"{who}: no image for {_some(missing)} in {str(images)!r}")
    alone = [stem for stem in stems if stem + mask_suffix not in mask_files]
    if alone:
        raise FileNotFoundError(
            f"{who}: {_some(image_files[s].name for s in alone)} in {str(images)!r} "
            f"without a {what} in {str(masks)!r}"
        )
    return [(image_files[stem], mask_files[stem + mask_suffix]) for stem in stems]


def _read_names(names, who):
    if isinstance(names, str | pathlib.Path):
        path = pathlib.Path(names)
        if not path.is_file():
            raise FileNotFoundError(f"{who}: there is no list of names {str(path)!r}")
        names = path.read_text().split("\n")
    stems = [str(name).strip() for name in names]
    stems = [stem for stem in stems if stem]
    if not stems:
        raise ValueError(f"{who}: the list of names is empty")
    return stems


def _some(names):
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(n) for n in names[:3]) + more


def _classes(class_names, palette, num_classes, encoding):
    if encoding not in ("auto", "index", "color"):
        raise ValueError(
            f'folder: encoding must be "auto", "index" or "color". Received: encoding={encoding!r}'
        )
    counts = {
        "class_names": None if class_names is None else len(class_names),
        "palette": None if palette is None else len(palette),
        "num_classes": num_classes,
    }
    given = {key: count for key, count in counts.items() if count is not None}
    if not given:
        raise ValueError("folder: give class_names, palette or num_classes. Received: none of them")
    if len(set(given.values())) > 1:
        raise ValueError(f"folder: the numbers of classes differ. Received: {given}")
    count = next(iter(given.values()))
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or count < 1:
        raise ValueError(
            f"folder: num_classes must be a positive integer. Received: num_classes={count!r}"
        )
    if encoding == "color" and palette is None:
        raise ValueError('folder: encoding="color" needs the palette that says what colours mean')
    if class_names is None:
        class_names = [f"class {i}" for i in range(count)]
    if palette is None and count <= 256:
        palette = voc_palette(count)
    elif palette is None:
        palette = np.random.default_rng(0).integers(0, 256, (count, 3))
    palette = np.asarray(palette)
    if palette.shape != (count, 3) or palette.min() < 0 or palette.max() > 255:
        raise ValueError(
            f"folder: palette must be ({count}, 3) colours from 0 to 255. "
            f"Received: shape {palette.shape}, {palette.min()} to {palette.max()}"
        )
    return list(class_names), palette.astype(np.uint8)

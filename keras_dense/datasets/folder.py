"""Images in one folder, masks in another."""

import numpy as np

from keras_dense import _check
from keras_dense.datasets.files import read_image
from keras_dense.datasets.masks import VOC_BORDER, MaskDecoder
from keras_dense.datasets.pairs import match_files
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

    def __init__(
        self,
        files,
        decoder,
        class_names,
        palette,
        name,
        split=None,
        upright=None,
        decode_image=None,
    ):
        self.files = list(files)
        self.decoder = decoder
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.palette = palette
        self.name = name
        self.split = split
        self.upright = upright
        self.decode_image = decode_image

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        image_path, mask_path = self.files[index]
        labels = self.decoder(mask_path, self.upright)
        image = read_image(image_path, self.upright, self.decode_image, labels.shape)
        sample = {"image": image, "segmentation": labels}
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
    image_suffix="",
    mask_suffix="",
    recursive=False,
    remap=None,
    encoding="auto",
    void_colors=VOC_BORDER,
    decode=None,
    decode_image=None,
    upright=None,
    name=None,
    split=None,
):
    """Images in one folder, masks of the same names in another.

    Masks may hold class indices (gray or palette PNG, TIFF of any depth, GeoTIFF, `.npy`), or
    colors (decoded by `palette`). What a file says of itself is honored or an error that says what
    to give; see `docs/data.md`.

    Args:
        images: path of the folder of images.
        masks: path of the folder of masks: `images/a.jpg` goes with `masks/a.png`.
        class_names: list of str, one a class.
        palette: `(num_classes, 3)` colors, 0 to 255; the VOC colors unless given.
        num_classes: int; needed only if neither `class_names` nor `palette` tells.
        names: which samples: a list of stems, or the path of a text file with one a line. Names
            may have endings and folders before them. All of the folder unless given.
        image_suffix, mask_suffix: str, what the stems end with beside what they share (`"_L"`:
            `a.png` goes with `a_L.png`); other files are passed over. With an ending
            (`".jpg"`, `"_L.png"`) it says which one is meant, so that both may lie in one folder.
        recursive: bool: whether folders below are read, too. `images/x/a.jpg` goes with
            `masks/x/a.png`.
        remap: dict from values in the files to classes, or to 255 for void: `{255: 1}` for
            black and white masks, `{11: 255}` where class 11 means void, `{-1: 255}`.
        encoding: `"index"`, `"color"`, or `"auto"`: colors where a mask has three channels.
        void_colors: colors of void in color-coded masks.
        decode: function from the numbers of a mask file as stored, `(H, W)` or `(H, W, C)`, to
            class indices `(H, W)` or colors `(H, W, 3)`: `lambda x: x > 127` for black and white
            JPEG, `lambda x: x // 256` where the upper byte is the class. Integers come as int32 or
            int64.
        decode_image: function from the numbers of an image file as stored to whole numbers from 0
            to 255, `(H, W, 3)` or `(H, W)`: `lambda x: x // 256` for 16 bits a channel.
        upright: whether to turn files as their EXIF orientation says, as viewers do; `False` leaves
            them as stored. `None` takes what fits the mask, and where its size does not say, a
            turned file is an error.
        name: str, how the dataset calls itself.
        split: str, kept as an attribute.

    Returns:
        A dataset: `len(ds)`, `ds[i]`, `num_classes`, `class_names`, `palette`, `ignore_class`.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image or a mask, is missing.
        ValueError: if arguments contradict each other, or masks of two classes hold only 0 and 255.
            Reading a sample raises `ValueError` naming the file if it is corrupt, of another size,
            has a label out of range, or says of itself what makes its numbers doubtful.

    Example:

    ```python
    ds = kd.datasets.folder("data/images", "data/masks", class_names=["ground", "crop", "weed"])
    ```
    """
    class_names, palette = _classes(class_names, palette, num_classes, encoding)
    who = name or "folder"
    pairs = match_files(
        images,
        masks,
        names=names,
        image_suffix=image_suffix,
        mask_suffix=mask_suffix,
        recursive=recursive,
        who=who,
    )
    decoder = MaskDecoder(len(class_names), palette, void_colors, remap, encoding, decode)
    _check_black_and_white(pairs, decoder)
    return SegmentationFiles(
        pairs, decoder, class_names, palette, who, split, upright, decode_image
    )


def _check_black_and_white(files, decoder):
    """White is 255 in many a mask of two classes, and 255 is void here."""
    if decoder.num_classes > 2 or VOID in decoder.remap:
        return
    seen = set()
    for _, mask in files[:: max(1, len(files) // 8)][:8]:
        try:
            values = decoder.values(mask)
        except (OSError, ValueError, ImportError):
            continue  # reading the sample says what is wrong
        if values is None:
            return
        seen |= values
    if VOID in seen and seen <= {0, VOID}:
        raise ValueError(
            f"folder: masks hold only 0 and 255, such as {str(files[0][1])!r}, and 255 means void. "
            "Where white is the second of two classes, give remap={255: 1}; where it is void, "
            "remap={255: 255}"
        )


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
    count = _check.integer(count, "num_classes", low=1)
    if encoding == "color" and palette is None:
        raise ValueError('folder: encoding="color" needs the palette that says what colors mean')
    if class_names is None:
        class_names = [f"class {i}" for i in range(count)]
    if palette is None and count <= 256:
        palette = voc_palette(count)
    elif palette is None:
        palette = np.random.default_rng(0).integers(0, 256, (count, 3))
    palette = np.asarray(palette)
    if palette.shape != (count, 3) or palette.min() < 0 or palette.max() > 255:
        raise ValueError(
            f"folder: palette must be ({count}, 3) colors from 0 to 255. "
            f"Received: shape {palette.shape}, {palette.min()} to {palette.max()}"
        )
    return list(class_names), palette.astype(np.uint8)

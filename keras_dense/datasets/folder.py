"""Images in one folder, masks in another."""

import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, PathLike, Sample
from keras_dense.datasets.files import Decode, read_image
from keras_dense.datasets.masks import VOC_BORDER, MaskDecoder
from keras_dense.datasets.pairs import Pairs, list_files, match_files
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.datasets.samples import Samples
from keras_dense.datasets.tags import tags_of_files
from keras_dense.heads.palette import voc_palette


class SegmentationFiles(Samples):
    """Map-style data set of pairs of an image file and a mask file, and of tags.

    `len(ds)`, `ds[i]` = `{"image": uint8 (H, W, 3), "segmentation": uint8 (H, W), 255 = void}`, and
    `"tags"`, uint8 `(num_classes,)`, where there is a table of them. Without masks, samples have no
    `"segmentation"`.

    Attributes:
        num_classes: int.
        class_names: list of str.
        palette: uint8 `(num_classes, 3)`.
        ignore_class: 255.
        name: str.
        split: str or `None`.
        files: list of pairs of paths; without masks, the second is `None`.
    """

    ignore_class = VOID

    def __init__(
        self,
        files: Sequence[tuple[pathlib.Path, pathlib.Path | None]],
        decoder: Callable[[pathlib.Path, bool | None], Array],
        class_names: Iterable[str],
        palette: Array,
        name: str,
        split: str | None = None,
        upright: bool | None = None,
        decode_image: Decode | None = None,
        tags: Sequence[Array] | None = None,
    ) -> None:
        self.files = list(files)
        self.tags = None if tags is None else list(tags)
        self.decoder = decoder
        self.class_names = list(class_names)
        self.num_classes = len(self.class_names)
        self.palette = palette
        self.name = name
        self.split = split
        self.upright = upright
        self.decode_image = decode_image

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        image_path, mask_path = self.files[index]
        sample: Sample = {}
        if mask_path is not None:
            sample["segmentation"] = self.decoder(mask_path, self.upright)
        size = sample["segmentation"].shape if sample else None
        sample["image"] = read_image(image_path, self.upright, self.decode_image, size)
        if self.tags is not None:
            sample["tags"] = self.tags[index]
        what = image_path if mask_path is None else f"{mask_path} (mask of {image_path.name})"
        return check_sample(sample, str(what))

    def describe(self, index: int) -> str:
        """Return the path of an image, for messages."""
        return str(self.files[index][0])

    def __repr__(self) -> str:
        split = f", split={self.split!r}" if self.split else ""
        return f"<{self.name}{split}: {len(self)} samples, {self.num_classes} classes>"


def folder(
    images: PathLike,
    masks: PathLike | None = None,
    *,
    tags: PathLike | Mapping[str, ArrayLike] | None = None,
    class_names: Sequence[str] | None = None,
    palette: ArrayLike | None = None,
    num_classes: int | None = None,
    names: PathLike | Iterable[str] | None = None,
    image_suffix: str = "",
    mask_suffix: str = "",
    recursive: bool = False,
    remap: Mapping[int, int] | None = None,
    encoding: str = "auto",
    void_colors: Sequence[Sequence[int]] = VOC_BORDER,
    decode: Decode | None = None,
    decode_image: Decode | None = None,
    upright: bool | None = None,
    name: str | None = None,
    split: str | None = None,
) -> SegmentationFiles:
    """Read images in one folder, and masks of the same names in another.

    Masks contain class indices (gray or palette PNG, TIFF of any depth, GeoTIFF, `.npy`), or colors
    (decoded by `palette`). Metadata of a file is honored, or causes an error with the argument to
    give; see `docs/data.md`.

    Args:
        images: path of the folder of images.
        masks: path of the folder of masks: `images/a.jpg` belongs to `masks/a.png`. `None`: images
            without masks, such as those that only have tags.
        tags: path of a table of the classes that each image contains, or a dict from names of
            images to tags; see `kd.datasets.read_tags`.
        class_names: sequence of str, one per class.
        palette: array-like `(num_classes, 3)`, colors from 0 to 255; the VOC colors by default.
        num_classes: int; required only without `class_names` and `palette`.
        names: list of stems of the samples, or path of a text file with one per line. They may have
            an extension and parent folders. The whole folder by default.
        image_suffix: str, end of the stems of images after the common part; other files are
            skipped. With an extension (`".jpg"`), files of other extensions are skipped, so that
            images and masks can be in one folder.
        mask_suffix: str, the same for masks (`"_L"`: `a.png` belongs to `a_L.png`).
        recursive: bool, whether to read subfolders: `images/x/a.jpg` belongs to `masks/x/a.png`.
        remap: dict from values in the files to classes, or to 255 for void: `{255: 1}` for
            black-and-white masks, `{11: 255}` if class 11 means void, `{-1: 255}`.
        encoding: `"index"`, `"color"`, or `"auto"`: colors if a mask has three channels.
        void_colors: sequence of colors that mean void in color-coded masks.
        decode: function from the numbers of a mask file as stored, `(H, W)` or `(H, W, C)`, to
            class indices `(H, W)` or colors `(H, W, 3)`: `lambda x: x > 127` for black-and-white
            JPEG, `lambda x: x // 256` if the upper byte is the class. Integers are int32 or int64.
        decode_image: function from the numbers of an image file as stored to whole numbers from 0
            to 255, `(H, W, 3)` or `(H, W)`: `lambda x: x // 256` for 16 bits per channel.
        upright: bool, whether to apply the EXIF orientation, as viewers do; `False` reads files as
            stored. `None` chooses by the size of the mask; if that does not decide, a file with an
            orientation is an error.
        name: str, name of the data set.
        split: str, stored as an attribute.

    Returns:
        A data set: `len(ds)`, `ds[i]`, `num_classes`, `class_names`, `palette`, `ignore_class`.

    Raises:
        FileNotFoundError: if a folder, or the partner of an image or a mask, is missing.
        ValueError: if arguments contradict each other, or masks of two classes contain only 0 and
            255. Reading a sample raises `ValueError` naming the file if it is corrupt, has another
            size, a label out of range, or metadata that makes its numbers doubtful.

    Example:

    ```python
    ds = kd.datasets.folder("data/images", "data/masks", class_names=["ground", "crop", "weed"])
    ```
    """
    class_names, palette = _classes(class_names, palette, num_classes, encoding)
    who = name or "folder"
    files: list[tuple[pathlib.Path, pathlib.Path | None]]
    if masks is None:
        found = list_files(images, names, image_suffix, recursive, who)
        files = [(path, None) for path in found]
    else:
        pairs = match_files(
            images,
            masks,
            names=names,
            image_suffix=image_suffix,
            mask_suffix=mask_suffix,
            recursive=recursive,
            who=who,
        )
        files = list(pairs)
    decoder = MaskDecoder(len(class_names), palette, void_colors, remap, encoding, decode)
    if masks is not None:
        _check_black_and_white(pairs, decoder)
    rows = None
    if tags is not None:
        ends = [path.relative_to(images).with_suffix("").as_posix() for path, _ in files]
        stems = [end.removesuffix(image_suffix) for end in ends]
        rows = tags_of_files(tags, class_names, stems, who)
    return SegmentationFiles(
        files, decoder, class_names, palette, who, split, upright, decode_image, rows
    )


def _check_black_and_white(files: Pairs, decoder: MaskDecoder) -> None:
    """Refuse masks of two classes with 255 as white, since 255 means void."""
    if decoder.num_classes > 2 or VOID in decoder.remap:
        return
    seen: set = set()
    for _, mask in files[:: max(1, len(files) // 8)][:8]:
        try:
            values = decoder.values(mask)
        except (OSError, ValueError, ImportError):
            continue  # reading the sample raises the error
        if values is None:
            return
        seen |= values
    if VOID in seen and seen <= {0, VOID}:
        raise ValueError(
            f"folder: masks contain only 0 and 255, such as {str(files[0][1])!r}, and 255 means "
            "void. If white is the second of two classes, give remap={255: 1}; if it is void, "
            "remap={255: 255}"
        )


def _classes(
    class_names: Sequence[str] | None,
    palette: ArrayLike | None,
    num_classes: int | None,
    encoding: str,
) -> tuple[list[str], Array]:
    _check.choice(encoding, "encoding", ("auto", "index", "color"))
    counts = {
        "class_names": None if class_names is None else len(class_names),
        "palette": None if palette is None else len(palette),
        "num_classes": num_classes,
    }
    given = {key: count for key, count in counts.items() if count is not None}
    if not given:
        raise ValueError(
            "`class_names`, `palette` or `num_classes` must be given. Received: none of them"
        )
    if len(set(given.values())) > 1:
        raise ValueError(
            f"`class_names`, `palette` and `num_classes` must agree on the number of classes. "
            f"Received: {given}"
        )
    count = next(iter(given.values()))
    count = _check.integer(count, "num_classes", low=1)
    if encoding == "color" and palette is None:
        raise ValueError('`palette` must be given with encoding="color". Received: palette=None')
    if class_names is None:
        class_names = [f"class {i}" for i in range(count)]
    if palette is None and count <= 256:
        palette = voc_palette(count)
    elif palette is None:
        palette = np.random.default_rng(0).integers(0, 256, (count, 3))
    palette = np.asarray(palette)
    if palette.shape != (count, 3) or palette.min() < 0 or palette.max() > 255:
        raise ValueError(
            f"`palette` must be ({count}, 3) colors from 0 to 255. "
            f"Received: shape {palette.shape}, {palette.min()} to {palette.max()}"
        )
    return list(class_names), palette.astype(np.uint8)

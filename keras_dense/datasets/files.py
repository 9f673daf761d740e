"""Pictures and masks from files, with errors that name the file and the fault."""

import pathlib

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.sample import VOID

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm")


def find_files(directory, who, what):
    """The pictures in a folder by their stem, sorted.

    Raises:
        FileNotFoundError: if the folder is missing or holds no picture.
        ValueError: if two pictures differ only in their extension.
    """
    directory = pathlib.Path(directory)
    if not directory.is_dir():
        raise FileNotFoundError(f"{who}: there is no {what} folder {str(directory)!r}")
    files = {}
    for path in sorted(directory.iterdir()):
        if path.suffix.lower() not in EXTENSIONS or path.name.startswith("."):
            continue
        if path.stem in files:
            raise ValueError(
                f"{who}: {files[path.stem].name!r} and {path.name!r} in {str(directory)!r} differ "
                "only in their extension; which one is meant?"
            )
        files[path.stem] = path
    if not files:
        raise FileNotFoundError(
            f"{who}: the {what} folder {str(directory)!r} holds no picture "
            f"({', '.join(e[1:] for e in EXTENSIONS)})"
        )
    return files


def every_fifth(stems, split, who):
    """The names of a split where no list says: every fifth is `"val"`, the rest `"train"`.

    Raises:
        ValueError: for another split than these and `"trainval"`.

    >>> every_fifth("abcdef", "val", "letters")
    ['e']
    """
    stems = sorted(stems)
    parts = {
        "train": [stem for i, stem in enumerate(stems) if i % 5 != 4],
        "val": stems[4::5],
        "trainval": stems,
    }
    if split not in parts:
        raise ValueError(
            f"{who}: without lists the splits are {sorted(parts)}. Received: split={split!r}"
        )
    return parts[split]


def read_numbers(path, deep=False):
    """Read a picture of one number a pixel, of 1, 8 or 16 bits, as int32 `(H, W)`.

    Args:
        path: path.
        deep: bool: whether it has to have more than 8 bits a pixel.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has colours, or is not `deep` enough.
    """
    picture = _open(path)
    if deep and picture.mode in ("1", "L", "P"):
        raise ValueError(
            f"{path}: has no more than 8 bits a pixel (mode {picture.mode!r}), where 16 are needed"
        )
    if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
        raise ValueError(f"{path}: is a picture of mode {picture.mode!r}, not of numbers")
    return np.array(picture).astype(np.int32)


def depth_to_png16(metres, scale=1000):
    """Metres as the 16-bit numbers that depth is stored in, 0 where unknown.

    Args:
        metres: `(H, W)` or `(H, W, 1)`.
        scale: numbers for each metre: 1000 as of NYU Depth v2 (up to 65.5 m), 256 of KITTI (up to
            256 m).

    Returns:
        uint16 `(H, W)`, rounded; a known depth too small for the scale becomes 1.

    Raises:
        ValueError: for another shape, a scale that is not positive, or depths beyond 65535 / scale.

    >>> depth_to_png16(np.array([[1.5, np.nan]])).tolist()
    [[1500, 0]]
    """
    metres, scale = np.asarray(metres, "float64"), _positive(scale)
    metres = metres[..., 0] if metres.ndim == 3 and metres.shape[2] == 1 else metres
    if metres.ndim != 2:
        raise ValueError(
            f"`metres` must have shape (height, width) or (height, width, 1). "
            f"Received: shape {metres.shape}"
        )
    known = np.isfinite(metres) & (metres > 0)
    numbers = np.rint(np.where(known, metres, 0) * scale)
    if numbers.max(initial=0) > 65535:
        raise ValueError(
            f"`scale` must be at most 65535 / {metres[known].max():g} m for these depths, 16 bits "
            f"hold no more. Received: scale={scale:g}"
        )
    return np.where(known, np.maximum(numbers, 1), 0).astype(np.uint16)


def depth_from_png16(numbers, scale=1000):
    """Metres from 16-bit numbers, 0 where unknown: undoes `depth_to_png16`.

    Args:
        numbers: ints `(H, W)`.
        scale: numbers for each metre.

    Returns:
        float32 `(H, W, 1)`.

    >>> depth_from_png16(np.array([[1500, 0]], "uint16"))[..., 0].tolist()
    [[1.5, 0.0]]
    """
    return (np.asarray(numbers, "float64") / _positive(scale)).astype(np.float32)[..., None]


def _positive(scale):
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not scale > 0:
        raise ValueError(f"`scale` must be a positive number. Received: scale={scale!r}")
    return float(scale)


def write_depth(path, metres, scale=1000):
    """Write depth as a PNG of 16 bits; see `depth_to_png16`.

    ```python
    kd.datasets.write_depth("0001.png", kd.decoded(model, head).predict(image[None])[0])
    ```
    """
    image = require("PIL.Image", extra="examples")
    image.fromarray(depth_to_png16(metres, scale)).save(path, format="PNG")


def read_depth(path, scale=1000):
    """Read depth from a picture of one number a pixel: float32 metres `(H, W, 1)`, 0 = unknown.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has colours, or `scale` is not positive.

    ```python
    sample = {"image": image, "depth": kd.datasets.read_depth("0001.png", scale=1000)}
    ```
    """
    return depth_from_png16(read_numbers(path), scale)


def _open(path):
    image = require("PIL.Image", extra="examples")
    try:
        picture = image.open(path)
        picture.load()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    # What Pillow raises for a broken file depends on the format and on where it is broken.
    except (OSError, SyntaxError, ValueError, EOFError, image.DecompressionBombError) as error:
        raise ValueError(f"{path}: cannot be read as a picture ({error})") from error
    return picture


def read_image(path, upright=False):
    """Read a picture as uint8 RGB `(H, W, 3)`: grey, palette and CMYK converted, alpha dropped.

    Args:
        path: path.
        upright: whether to turn it as its EXIF orientation says, which viewers do. Masks lie on
            the pixels as they are stored.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt or holds more than 8 bits a channel.
    """
    picture = _open(path)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"{path}: holds more than 8 bits a channel (mode {picture.mode!r}); scale it to 8 bits"
        )
    if upright:
        picture = require("PIL.ImageOps", extra="examples").exif_transpose(picture)
    return np.array(picture.convert("RGB"))


class MaskDecoder:
    """Turn a mask file into class indices.

    Args:
        num_classes: int.
        palette: `(num_classes, 3)`, the colours of colour-coded masks.
        void_colors: colours of void in colour-coded masks.
        remap: dict from a value in the file to a class, or to 255 for void.
        encoding: `"index"`, `"color"` or `"auto"`: colour where the file has three channels.
    """

    def __init__(self, num_classes, palette, void_colors=(), remap=None, encoding="auto"):
        self.num_classes = num_classes
        self.encoding = encoding
        self.remap = dict(remap or {})
        self.codes, self.classes = _color_table(palette, void_colors)

    def __call__(self, path):
        """Read a mask as uint8 (int32 beyond 255 classes) `(H, W)`, 255 = void.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is corrupt, or holds a class or colour that does not exist.
        """
        picture = _open(path)
        colored = picture.mode not in ("P", "L", "1", "LA") and not picture.mode.startswith("I")
        if self.encoding == "color" or (self.encoding == "auto" and colored):
            labels = self._from_colors(path, np.asarray(picture.convert("RGB"), np.int32))
        elif colored:
            raise ValueError(
                f"{path}: is a picture of mode {picture.mode!r}, not of class indices; "
                'use encoding="color" with a palette'
            )
        else:
            labels = np.array(picture.convert("L") if picture.mode == "LA" else picture)
            labels = labels.astype(np.int32)
        return self._checked(path, self._remapped(labels))

    def _from_colors(self, path, rgb):
        if self.codes is None:
            raise ValueError(f"{path}: has colours; give the palette that says what they mean")
        codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
        place = np.searchsorted(self.codes, codes).clip(0, len(self.codes) - 1)
        unknown = self.codes[place] != codes
        if unknown.any():
            row, column = np.argwhere(unknown)[0]
            raise ValueError(
                f"{path}: colour {tuple(rgb[row, column].tolist())} at row {row}, column {column} "
                f"is not in the palette ({int(unknown.sum())} such pixels)"
            )
        return self.classes[place]

    def _remapped(self, labels):
        if not self.remap:
            return labels
        size = max(labels.max(initial=0), *self.remap, 255) + 1
        table = np.arange(size, dtype=np.int32)
        for value, label in self.remap.items():
            table[value] = label
        return table[labels.clip(0)]

    def _checked(self, path, labels):
        bad = ((labels < 0) | (labels >= self.num_classes)) & (labels != VOID)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            values = np.unique(labels[bad])
            raise ValueError(
                f"{path}: label {int(labels[row, column])} at row {row}, column {column} is out "
                f"of range: there are {self.num_classes} classes (0 to {self.num_classes - 1}, "
                f"{VOID} = void). Such labels in this file: {values[:8].tolist()}"
            )
        return labels.astype(np.uint8 if self.num_classes <= VOID else np.int32)


def _color_table(palette, void_colors):
    if palette is None:
        return None, None
    colors = np.concatenate([palette, np.reshape(void_colors, (-1, 3))]).astype(np.int32)
    classes = np.append(np.arange(len(palette)), [VOID] * (len(colors) - len(palette)))
    codes, first = np.unique(
        colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2], return_index=True
    )
    return codes, classes[first].astype(np.int32)

"""Pictures from files, with errors that name the file and the fault."""

import pathlib

import numpy as np

from keras_dense._optional import require

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
    picture = open_picture(path)
    if deep and picture.mode in ("1", "L", "P"):
        raise ValueError(
            f"{path}: has no more than 8 bits a pixel (mode {picture.mode!r}), where 16 are needed"
        )
    if picture.mode not in ("1", "L", "P") and not picture.mode.startswith("I"):
        raise ValueError(f"{path}: is a picture of mode {picture.mode!r}, not of numbers")
    return np.array(picture).astype(np.int32)


def open_picture(path):
    """Open and load a picture with Pillow; errors name the file."""
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
    picture = open_picture(path)
    if picture.mode.startswith(("I", "F")):
        raise ValueError(
            f"{path}: holds more than 8 bits a channel (mode {picture.mode!r}); scale it to 8 bits"
        )
    if upright:
        picture = require("PIL.ImageOps", extra="examples").exif_transpose(picture)
    return np.array(picture.convert("RGB"))

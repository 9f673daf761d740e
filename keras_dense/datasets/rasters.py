"""Rasters: exact numbers from files of many formats, with their scale and unit."""

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from keras_dense._types import Array, PathLike
from keras_dense.datasets.listing import EXTENSIONS
from keras_dense.datasets.raster_files import (
    METERS,
    Read,
    read_exr,
    read_hdf5,
    read_mat,
    read_npy,
    read_pfm,
)
from keras_dense.datasets.stored import stored
from keras_dense.datasets.tiff import GDAL_METADATA, pages

# Formats of numbers, in addition to those of images.
ARRAYS = (".npy", ".npz", ".pfm", ".pgm", ".exr", ".h5", ".hdf5", ".mat")
RASTERS = tuple(dict.fromkeys((*EXTENSIONS, *ARRAYS)))


class Raster(NamedTuple):
    """Result of `read_raster`.

    Attributes:
        values: array of the numbers as stored, `(H, W)` or `(H, W, C)`.
        known: bool array `(H, W)`, False at nodata and transparent pixels; `None` if all are known.
        units: list of str, scale and unit of the numbers by the file; not applied.
        flaws: list of str, reasons to doubt the numbers: lossy compression, orientation.
    """

    values: Array
    known: Array | None = None
    units: Sequence[str] = ()
    flaws: Sequence[str] = ()


def read_raster(path: PathLike, key: str | None = None) -> Raster:
    """Read numbers from a file, exactly as stored.

    | extension | content | needs |
    |---|---|---|
    | `.png`, other images | 1 to 16 bits; palettes as colors; transparent = unknown | Pillow |
    | `.tif`, `.tiff` | 1 to 64 bits, signed, float; nodata and masks = unknown; one page | Pillow |
    | `.npy`, `.npz` | numbers; no objects, no pickles | |
    | `.pfm`, `.pgm` | both byte orders; any largest value | Pillow for `.pgm` |
    | `.exr` | one channel, or X, Y, Z or R, G, B | OpenEXR |
    | `.h5`, `.hdf5` | one dataset; its `_FillValue` = unknown | h5py |
    | `.mat` | one array | SciPy; h5py for MATLAB 7.3 |

    Formats that Pillow would change (16 bits with several channels, float16, float64) are read by
    rasterio.

    Args:
        path: path.
        key: str, name of the array in a `.npz`, `.h5` or `.mat` file, or of the channel in an EXR;
            required if there are several.

    Returns:
        A `Raster`.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has an unknown extension, contains several arrays of which
            `key` is none, or contains no numbers over height and width.
        ImportError: if the package that reads the format is not installed.
    """
    path = pathlib.Path(path)
    suffix = path.suffix.lower()
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if suffix not in RASTERS:
        raise ValueError(f"{path}: must end in one of {', '.join(RASTERS)}. Received: {suffix!r}")
    if suffix in KEYED:
        raster = Raster(*KEYED[suffix](path, key))
    elif key is not None:
        raise ValueError(
            f"{path}: contains one array, so `key` must be None. Received: key={key!r}"
        )
    else:
        raster = Raster(*PLAIN.get(suffix, _image)(path))
    values = raster.values
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or values.size == 0:
        raise ValueError(
            f"{path}: must contain numbers of shape (height, width) or (height, width, channels). "
            f"Received: {values.dtype} of shape {values.shape}"
        )
    return raster


def _image(path: pathlib.Path) -> tuple[Array, Array | None, Sequence[str], list[str]]:
    """Read an image without converting its numbers; a palette as its colors."""
    facts = stored(path)
    if facts.model not in ("gray", "RGB", "palette", "other"):
        raise ValueError(f"{path}: has the colors of {facts.model}, not numbers")
    values, unknown = facts.numbers, facts.unknown
    if facts.transparent is not None:
        unknown = facts.transparent if unknown is None else unknown | facts.transparent
    if facts.model == "palette":
        values = facts.colors
    elif facts.alpha:
        values = values[..., 0] if values.shape[2] == 2 else values[..., :-1]
    flaws = [] if facts.lossy is None else [f"is {facts.lossy}, whose compression changes numbers"]
    if facts.white_is_zero:
        flaws.append("stores white as 0 (inverted numbers)")
    if facts.orientation != 1:
        flaws.append(f"has EXIF orientation {facts.orientation}")
    return values, None if unknown is None else ~unknown, (), flaws


def _tiff(path: pathlib.Path) -> tuple[Array, Array | None, Sequence[str], list[str]]:
    """Read a TIFF, with the scale, offset and unit that GDAL stores in it."""
    values, known, _, flaws = _image(path)
    text = str(pages(path)[0].get(GDAL_METADATA, ""))
    items = dict(re.findall(r'role="(scale|offset|unittype)">([^<]*)<', text))
    neutral = {"scale": ("1", "1.0"), "offset": ("0", "0.0", "-0"), "unittype": ("", *METERS)}
    units = [f"{role} {what}" for role, what in items.items() if what not in neutral[role]]
    return values, known, units, flaws


PLAIN: dict[str, Callable[[pathlib.Path], tuple]] = {
    ".tif": _tiff,
    ".tiff": _tiff,
    ".pfm": read_pfm,
}
KEYED: dict[str, Callable[[pathlib.Path, str | None], Read]] = {
    ".npy": read_npy,
    ".npz": read_npy,
    ".exr": read_exr,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".mat": read_mat,
}

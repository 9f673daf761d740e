"""Rasters: the numbers that files of many formats hold, and what the files say of them."""

import pathlib
import re
from typing import NamedTuple

import numpy as np

from keras_dense.datasets.listing import EXTENSIONS
from keras_dense.datasets.raster_files import (
    METERS,
    read_exr,
    read_hdf5,
    read_mat,
    read_npy,
    read_pfm,
)
from keras_dense.datasets.stored import stored
from keras_dense.datasets.tiff import GDAL_METADATA, pages

# Files of numbers beside those that are pictures, too.
ARRAYS = (".npy", ".npz", ".pfm", ".pgm", ".exr", ".h5", ".hdf5", ".mat")
RASTERS = tuple(dict.fromkeys((*EXTENSIONS, *ARRAYS)))


class Raster(NamedTuple):
    """What `read_raster` read.

    Attributes:
        values: the numbers as they are stored, `(H, W)` or `(H, W, C)`.
        known: bool `(H, W)`, False at nodata and where it is transparent; `None` if all is known.
        units: list of str, what the file says of its numbers' scale and unit; not applied.
        flaws: list of str, why they may not be what was meant: compression with loss, orientation.
    """

    values: np.ndarray
    known: np.ndarray | None = None
    units: tuple = ()
    flaws: tuple = ()


def read_raster(path, key=None):
    """Read numbers from a file, exactly as they are stored.

    | ending | what is read | needs |
    |---|---|---|
    | `.png`, other pictures | 1 to 16 bits; palettes as colors; transparent = unknown | Pillow |
    | `.tif`, `.tiff` | 1 to 64 bits, signed, float; nodata and masks = unknown; one page | Pillow |
    | `.npy`, `.npz` | numbers; no objects, no pickles | |
    | `.pfm`, `.pgm` | both byte orders; any largest value | Pillow for `.pgm` |
    | `.exr` | one channel, or X, Y, Z or R, G, B | OpenEXR |
    | `.h5`, `.hdf5` | one dataset; its `_FillValue` = unknown | h5py |
    | `.mat` | one array | SciPy; h5py for MATLAB 7.3 |

    What Pillow would change (16 bits of several channels, float16 and float64) rasterio reads.

    Args:
        path: path.
        key: str, which array of a `.npz`, `.h5` or `.mat` file, which channel of an EXR; needed
            only where there are several.

    Returns:
        A `Raster`.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, of an unknown ending, holds several arrays and `key` names
            none of them, or no numbers over height and width.
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
        raise ValueError(f"{path}: holds one array, there is no `key` to it. Received: key={key!r}")
    else:
        raster = Raster(*PLAIN.get(suffix, _picture)(path))
    values = raster.values
    if values.dtype.kind not in "biuf" or values.ndim not in (2, 3) or values.size == 0:
        raise ValueError(
            f"{path}: must hold numbers of shape (height, width) or (height, width, channels). "
            f"Received: {values.dtype} of shape {values.shape}"
        )
    return raster


def _picture(path):
    """A picture, without any conversion of its numbers; a palette as its colors."""
    facts = stored(path)
    if facts.model not in ("gray", "RGB", "palette", "other"):
        raise ValueError(f"{path}: is a picture in {facts.model}, not of numbers")
    values, unknown = facts.numbers, facts.unknown
    if facts.transparent is not None:
        unknown = facts.transparent if unknown is None else unknown | facts.transparent
    if facts.model == "palette":
        values = facts.colors
    elif facts.alpha:
        values = values[..., 0] if values.shape[2] == 2 else values[..., :-1]
    flaws = [] if facts.lossy is None else [f"is {facts.lossy}, whose numbers are not the original"]
    if facts.white_is_zero:
        flaws.append("says that its 0 is white (inverted numbers)")
    if facts.orientation != 1:
        flaws.append("says that it is stored turned (orientation of EXIF)")
    return values, None if unknown is None else ~unknown, (), flaws


def _tiff(path):
    """A TIFF, with the scale, offset and unit that GDAL keeps in it."""
    values, known, _, flaws = _picture(path)
    text = str(pages(path)[0].get(GDAL_METADATA, ""))
    items = dict(re.findall(r'role="(scale|offset|unittype)">([^<]*)<', text))
    neutral = {"scale": ("1", "1.0"), "offset": ("0", "0.0", "-0"), "unittype": ("", *METERS)}
    units = [f"{role} {what}" for role, what in items.items() if what not in neutral[role]]
    return values, known, units, flaws


PLAIN = {".tif": _tiff, ".tiff": _tiff, ".pfm": read_pfm}
KEYED = {
    ".npy": read_npy,
    ".npz": read_npy,
    ".exr": read_exr,
    ".h5": read_hdf5,
    ".hdf5": read_hdf5,
    ".mat": read_mat,
}

"""Tags of TIFF files, page by page."""

import math
from typing import Any

from keras_dense._optional import require
from keras_dense._types import PathLike

# Tags by their numbers, as TIFF 6.0 and GDAL have them.
SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION = 254, 256, 257, 258, 259
PHOTOMETRIC, SAMPLES = 262, 277
ORIENTATION, EXTRA, FORMAT, GDAL_METADATA, GDAL_NODATA = 274, 338, 339, 42112, 42113

# Meaning of the channels by PHOTOMETRIC; 0 is gray with 0 as white.
MODELS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "LAB"}
KINDS = {1: "uint", 2: "int", 3: "float", 4: "uint"}

# (model, bits of each channel, kind of number) that Pillow returns as stored, except for files with
# an orientation (Pillow only reshapes mapped memory) and compressed big-endian files of 32 bits.
_EXACT = {
    ("gray", (1,), "uint"),
    ("gray", (8,), "uint"),
    ("gray", (16,), "uint"),
    ("gray", (32,), "int"),
    ("gray", (32,), "float"),
    ("palette", (8,), "uint"),
    ("RGB", (8, 8, 8), "uint"),
    ("RGB", (8, 8, 8, 8), "uint"),
    ("CMYK", (8, 8, 8, 8), "uint"),
    ("YCbCr", (8, 8, 8), "uint"),
}
# Compressions that can change numbers: JPEG (old, new, of old microscopes), JPEG 2000, WebP.
_LOSSY = {6, 7, 33003, 33004, 33005, 33007, 34712, 34892, 50001, 50002}


def is_tiff(path: PathLike) -> bool:
    """Return whether a file is a TIFF or BigTIFF by its first bytes."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def pages(path: PathLike) -> list[dict[int, Any]]:
    """Read the tags of every page with Pillow, without decoding pixels.

    Raises:
        Exception: any exception of Pillow for a broken file.
    """
    directory = require("PIL.TiffImagePlugin", extra="examples").ImageFileDirectory_v2
    found: list[dict[int, Any]] = []
    places: set[int] = set()
    with open(path, "rb") as file:
        head = file.read(8)
        if head[2] == 43 or head[3] == 43:  # BigTIFF
            head += file.read(8)
        tags = directory(head)
        place = tags.next
        while place and place not in places and len(found) < 1000:
            places.add(place)
            file.seek(place)
            tags = directory(head)
            tags.load(file)
            found.append(dict(tags))
            place = tags.next
    return found


def facts(path: PathLike) -> dict[str, Any]:
    """Return the fields of a `Stored` from the tags of the first page.

    Raises:
        ValueError: if the file contains more than one image.
    """
    first, *others = pages(path)
    # Overviews are smaller copies; masks mark known pixels of the first page.
    roles = [int(page.get(SUBFILE, 0)) for page in others]
    count = 1 + sum(not role & 5 for role in roles)
    if count > 1:
        raise ValueError(f"{path}: has {count} pages, but must have one; write a file for each")
    bits = _all(first.get(BITS, 1))
    samples = int(first.get(SAMPLES, 1))
    bits = bits * samples if len(bits) == 1 else bits
    kinds = {KINDS.get(int(kind), "other") for kind in _all(first.get(FORMAT, 1))}
    kind = kinds.pop() if len(kinds) == 1 else "other"
    photometric = int(first.get(PHOTOMETRIC, 1))
    model = MODELS.get(photometric, "other")
    plain = {"gray": 1, "palette": 1, "RGB": 3, "YCbCr": 3, "LAB": 3, "CMYK": 4}.get(model)
    extra = _all(first.get(EXTRA, ()))
    alpha = samples - 1 == plain and extra in ((1,), (2,))
    if plain is not None and samples not in (plain, plain + alpha):
        model = "other"  # more channels than color channels
    orientation = int(first.get(ORIENTATION, 1))
    with open(path, "rb") as file:
        little = file.read(1) == b"I"
    return {
        "size": (int(first[HEIGHT]), int(first[WIDTH])),
        "bits": max(bits),
        "kind": kind,
        "model": model,
        "channels": samples,
        "alpha": alpha,
        "exact": (model, bits, kind) in _EXACT and orientation == 1 and (little or max(bits) < 32),
        "white_is_zero": photometric == 0,
        "orientation": orientation,
        "lossy": "a lossy TIFF" if int(first.get(COMPRESSION, 1)) in _LOSSY else None,
        "nodata": _nodata(first.get(GDAL_NODATA)),
        "top": 2 ** max(bits) - 1,
        "masked": any(role & 4 for role in roles),
        "scaled": 'role="scale"' in str(first.get(GDAL_METADATA, "")),
    }


def _all(value: Any) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _nodata(text: Any) -> float | None:
    """Return the number of unknown pixels, or `None`."""
    try:
        value = float(str(text).strip().strip("\0"))
    except ValueError:
        return None
    return value if math.isnan(value) or not value.is_integer() else int(value)

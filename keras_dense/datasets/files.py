"""Pictures from files, with errors that name the file and the fault.

What a file says of itself is honored, or converted because the caller said how, or an error.
"""

import warnings

import numpy as np

from keras_dense._arrays import as_array, as_image, as_labels
from keras_dense.datasets.listing import EXTENSIONS, READABLE, every_fifth, find_files
from keras_dense.datasets.opening import load, opened
from keras_dense.datasets.stored import stored, turned

__all__ = [
    "EXTENSIONS",
    "READABLE",
    "every_fifth",
    "find_files",
    "open_picture",
    "orientation_of",
    "read_image",
    "read_labels",
    "read_numbers",
]


def open_picture(path):
    """Open and load a picture with Pillow; errors name the file.

    What Pillow gives is not always what is stored: see `stored`.
    """
    picture = opened(path)
    load(picture, path)
    return picture


def read_image(path, upright=None, decode=None, size=None):
    """Read a picture as uint8 RGB `(H, W, 3)`: gray, palette and CMYK converted.

    Alpha is dropped, with a warning where a pixel is not opaque. Color profiles are not applied.

    Args:
        path: path of a picture, or of a `.npy` of such an array.
        upright: whether to turn it as its EXIF orientation says, which viewers do. `None` takes
            what fits `size`; where that does not say, a turned picture is an error.
        decode: function from the numbers of the file as stored, `(H, W)` or `(H, W, C)`, integers
            as int32 or int64, to whole numbers from 0 to 255, `(H, W, 3)` or, for gray, `(H, W)`:
            the way to read what this function refuses.
        size: (height, width) of what lies over the image, such as its mask.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, or holds what bytes of RGB do not: more than 8 bits a
            channel, other channels, several pages.
    """
    found = stored(path)
    orientation = orientation_of(found, upright, size)
    pixels = _rgb(found) if decode is None else decoded(found, decode)
    if decode is not None:
        pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
        pixels = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels
        if pixels.dtype.kind in "iu" and 0 <= pixels.min(initial=0) <= pixels.max(initial=0) < 256:
            pixels = pixels.astype(np.uint8)
    return turned(_named(path, as_image, pixels, "image"), orientation)


def read_numbers(path, deep=False, decode=None, upright=None):
    """Read a picture of one whole number a pixel, as int32 `(H, W)`; what is unknown is 0.

    Args:
        path: path of a picture or of a `.npy`.
        deep: bool: whether it has to have more than 8 bits a pixel.
        decode: function from the numbers of the file as stored to those that are meant.
        upright: whether to turn it as its EXIF orientation says; `None`: it may have none.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has colors, is lossy or not `deep` enough, or holds numbers
            that are not whole.
    """
    found = stored(path)
    if decode is None and found.channels - found.alpha != 1:
        raise ValueError(f"{path}: is a picture of mode {found.mode!r}, not of numbers")
    if deep and found.bits <= 8:
        raise ValueError(
            f"{path}: has no more than 8 bits a pixel (mode {found.mode!r}), where 16 are needed"
        )
    numbers, unknown = read_labels(found, decode)
    if numbers.ndim == 3:
        raise ValueError(f"{path}: decode must give (H, W). It gave {numbers.shape}")
    numbers = np.where(False if unknown is None else unknown, 0, numbers)
    return turned(whole(numbers, path).astype(np.int32), orientation_of(found, upright))


def read_labels(found, decode=None):
    """The numbers of a file of which every single one counts, and where they are unknown.

    Args:
        found: a `Stored`.
        decode: function from the numbers of the file as stored to those that are meant.

    Returns:
        The numbers, `(H, W)` or `(H, W, C)`, and bool `(H, W)` or `None`.

    Raises:
        ValueError: if they were changed by a lossy compression, are inverted, to be scaled, or
            have transparent pixels, and no `decode` says what is meant.
    """
    if decode is not None:
        return decoded(found, decode), found.unknown
    way = "give decode=, a function from the numbers as stored to those that are meant"
    if found.lossy:
        raise ValueError(
            f"{found.path}: is {found.lossy} file, whose compression changes numbers. Save it as "
            f"PNG, or {way}, such as decode=lambda x: x > 127 for black and white"
        )
    if found.white_is_zero:
        raise ValueError(f"{found.path}: says that its 0 is white (inverted numbers); {way}")
    if found.scaled:
        raise ValueError(f"{found.path}: says that its numbers are to be scaled; {way}")
    if found.alpha and found.transparent is not None:
        count = int(found.transparent.sum())
        raise ValueError(f"{found.path}: has {count} transparent pixels; {way}")
    numbers = found.numbers
    if found.alpha:
        numbers = numbers[..., 0] if found.channels == 2 else numbers[..., :-1]
    return numbers, found.unknown


def whole(numbers, path):
    """Labels as whole numbers of at most 32 bits; the error names the file."""
    numbers = numbers.astype(np.float32) if numbers.dtype == np.float16 else numbers
    return _named(path, as_labels, numbers, "labels")


def _named(path, check, value, name):
    try:
        return check(value, name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def decoded(found, decode):
    """What `decode` makes of the numbers of a file; errors name the file."""
    numbers = found.numbers
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize < 8:
        # So that `2 * x` does not begin at 0 again beyond 255.
        numbers = numbers.astype(np.int32 if numbers.dtype.itemsize < 4 else np.int64)
    try:
        result = as_array(decode(numbers), "decode")
    except Exception as error:
        raise ValueError(
            f"{found.path}: decode failed for {numbers.dtype} {numbers.shape} "
            f"({type(error).__name__}: {error})"
        ) from error
    if result.shape[:2] != numbers.shape[:2] or result.ndim not in (2, 3):
        raise ValueError(
            f"{found.path}: decode must keep height and width. It made {result.shape} "
            f"of {numbers.shape}"
        )
    return result


def orientation_of(found, upright, size=None):
    """The orientation to follow: that of the file or, to leave it as stored, 1.

    Args:
        found: a `Stored`.
        upright: bool or `None`, see `read_image`.
        size: (height, width) of what lies over it, where known.

    Raises:
        ValueError: if the file is turned, and neither `upright` nor `size` says what is meant.
    """
    if found.orientation == 1 or upright is not None:
        return found.orientation if upright else 1
    height, width = found.size
    if size is not None and found.orientation >= 5 and height != width:
        return found.orientation if tuple(size) == (width, height) else 1
    raise ValueError(
        f"{found.path}: is turned or mirrored where it is shown (EXIF orientation "
        f"{found.orientation}), and nothing says which of both is meant. Give upright=True (as "
        "shown: what was drawn over it in a viewer fits) or upright=False (as stored)"
    )


def _rgb(found):
    """RGB as bytes, of a file that holds no more than that."""
    path = found.path
    if found.bits > 8 or found.kind != "uint":
        raise ValueError(
            f"{path}: holds more than 8 bits a channel ({found.bits}, {found.kind}); give "
            "decode_image=, such as decode_image=lambda x: x // 256 where all of 16 bits are "
            "used, or scale it to 8 bits"
        )
    if found.transparent is not None:
        warnings.warn(
            f"{path}: has {int(found.transparent.sum())} transparent pixels; the colors that are "
            "stored there are taken, though no viewer shows them. Flatten the file if they are "
            "not meant, or give decode_image=",
            stacklevel=3,
        )
    if found.model == "palette":
        return found.colors
    if found.model in ("gray", "RGB"):
        numbers = found.numbers[..., :-1] if found.alpha else found.numbers
        if found.top < 255:
            numbers = np.rint(numbers * (255 / found.top)).astype(np.uint8)
        if found.white_is_zero:
            numbers = 255 - numbers
        gray = numbers.ndim == 2 or numbers.shape[2] == 1
        return np.stack([numbers.reshape(found.size)] * 3, -1) if gray else numbers
    if found.model in ("CMYK", "YCbCr") and found.exact:
        load(found.picture, path)
        return np.array(found.picture.convert("RGB"))
    raise ValueError(
        f"{path}: holds {found.channels} channels ({found.model}), which are not RGB; give "
        "decode_image=, such as decode_image=lambda x: x[..., :3] to take the first three"
    )

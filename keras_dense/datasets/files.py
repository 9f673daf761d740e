"""Images from files, with errors that name the file and the fact.

Metadata of a file is honored, or replaced by an argument of the caller, or causes an error.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from keras_dense._arrays import as_array, as_image, as_labels
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.datasets.listing import EXTENSIONS, READABLE, every_fifth, find_files
from keras_dense.datasets.opening import load_pixels
from keras_dense.datasets.stored import Stored, stored, turned

__all__ = [
    "EXTENSIONS",
    "READABLE",
    "every_fifth",
    "find_files",
    "orientation_of",
    "read_image",
    "read_labels",
    "read_numbers",
]

Decode = Callable[[Array], ArrayLike]


def read_image(
    path: PathLike,
    upright: bool | None = None,
    decode: Decode | None = None,
    size: tuple[int, int] | None = None,
) -> Array:
    """Read an image as uint8 RGB `(H, W, 3)`; gray, palette and CMYK are converted.

    Alpha is dropped, with a warning if a pixel is not opaque. Color profiles are not applied.

    Args:
        path: path of an image, or of a `.npy` with such an array.
        upright: bool, whether to apply the EXIF orientation, as viewers do. `None` chooses by
            `size`; if that does not decide, an image with an orientation is an error.
        decode: function from the numbers as stored, `(H, W)` or `(H, W, C)`, integers as int32 or
            int64, to whole numbers from 0 to 255, `(H, W, 3)` or, for gray, `(H, W)`. It reads
            files that are otherwise an error.
        size: pair `(height, width)` of the mask or depth map that belongs to the image.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, or contains more than RGB of 8 bits: more bits per channel,
            other channels, several pages.
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


def read_numbers(
    path: PathLike,
    deep: bool = False,
    decode: Decode | None = None,
    upright: bool | None = None,
) -> Array:
    """Read an image of one whole number per pixel as int32 `(H, W)`; unknown pixels are 0.

    Args:
        path: path of an image or of a `.npy`.
        deep: bool, whether it must have more than 8 bits per pixel.
        decode: function from the numbers as stored to the intended ones.
        upright: bool, whether to apply the EXIF orientation; with `None`, there must be none.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has colors, is lossy or not `deep` enough, or contains numbers
            that are not whole.
    """
    found = stored(path)
    if decode is None and found.channels - found.alpha != 1:
        raise ValueError(f"{path}: is an image of mode {found.mode!r}; numbers have one channel")
    if deep and found.bits <= 8:
        raise ValueError(
            f"{path}: has at most 8 bits per pixel (mode {found.mode!r}); 16 are needed"
        )
    numbers, unknown = read_labels(found, decode)
    if numbers.ndim == 3:
        raise ValueError(f"{path}: `decode` must return shape (H, W). Received: {numbers.shape}")
    numbers = np.where(False if unknown is None else unknown, 0, numbers)
    return turned(whole(numbers, path).astype(np.int32), orientation_of(found, upright))


def read_labels(found: Stored, decode: Decode | None = None) -> tuple[Array, Array | None]:
    """Return the exact numbers of a file, and its unknown pixels.

    Args:
        found: a `Stored`.
        decode: function from the numbers as stored to the intended ones.

    Returns:
        The numbers, `(H, W)` or `(H, W, C)`, and the unknown pixels, bool `(H, W)` or `None`.

    Raises:
        ValueError: without `decode`, if the numbers were changed by lossy compression, are inverted
            or scaled, or have transparent pixels.
    """
    if decode is not None:
        return decoded(found, decode), found.unknown
    remedy = "give decode=, a function from the numbers as stored to the intended ones"
    if found.lossy:
        raise ValueError(
            f"{found.path}: is {found.lossy} file, whose compression changes numbers. Save it as "
            f"PNG, or {remedy}, such as decode=lambda x: x > 127 for black and white"
        )
    if found.white_is_zero:
        raise ValueError(f"{found.path}: stores white as 0 (inverted numbers); {remedy}")
    if found.scaled:
        raise ValueError(f"{found.path}: has a scale that must be applied to its numbers; {remedy}")
    if found.alpha and found.transparent is not None:
        count = int(found.transparent.sum())
        raise ValueError(f"{found.path}: has {count} transparent pixels; {remedy}")
    numbers = found.numbers
    if found.alpha:
        numbers = numbers[..., 0] if found.channels == 2 else numbers[..., :-1]
    return numbers, found.unknown


def whole(numbers: Array, path: PathLike) -> Array:
    """Convert labels to integers of at most 32 bits; errors name the file."""
    numbers = numbers.astype(np.float32) if numbers.dtype == np.float16 else numbers
    return _named(path, as_labels, numbers, "labels")


def _named(path: PathLike, check: Callable[..., Array], value: Any, name: str) -> Array:
    try:
        return check(value, name)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def decoded(found: Stored, decode: Decode) -> Array:
    """Apply `decode` to the numbers of a file; errors name the file."""
    numbers = found.numbers
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize < 8:
        # So that `2 * x` does not overflow.
        numbers = numbers.astype(np.int32 if numbers.dtype.itemsize < 4 else np.int64)
    try:
        result = as_array(decode(numbers), "decode")
    except Exception as error:
        raise ValueError(
            f"{found.path}: `decode` failed for {numbers.dtype} of shape {numbers.shape} "
            f"({type(error).__name__}: {error})"
        ) from error
    if result.shape[:2] != numbers.shape[:2] or result.ndim not in (2, 3):
        raise ValueError(
            f"{found.path}: `decode` must keep height and width. Received: {result.shape} "
            f"for {numbers.shape}"
        )
    return result


def orientation_of(found: Stored, upright: bool | None, size: tuple[int, int] | None = None) -> int:
    """Return the EXIF orientation to apply; 1 leaves the file as stored.

    Args:
        found: a `Stored`.
        upright: bool or `None`, see `read_image`.
        size: pair `(height, width)` of the mask or depth map, if known.

    Raises:
        ValueError: if the file has an orientation, and neither `upright` nor `size` decides
            whether to apply it.
    """
    if found.orientation == 1 or upright is not None:
        return found.orientation if upright else 1
    height, width = found.size
    if size is not None and found.orientation >= 5 and height != width:
        return found.orientation if tuple(size) == (width, height) else 1
    raise ValueError(
        f"{found.path}: has EXIF orientation {found.orientation} (viewers turn or mirror it). Give "
        "upright=True to apply it (annotations drawn in a viewer then fit), or upright=False to "
        "read the image as stored"
    )


def _rgb(found: Stored) -> Array:
    """Return a file that contains at most RGB of 8 bits as uint8 `(H, W, 3)`."""
    path = found.path
    if found.bits > 8 or found.kind != "uint":
        raise ValueError(
            f"{path}: has more than 8 bits per channel ({found.bits}, {found.kind}); give "
            "decode_image=, such as decode_image=lambda x: x // 256 if all 16 bits are used, or "
            "convert it to 8 bits"
        )
    if found.transparent is not None:
        warnings.warn(
            f"{path}: has {int(found.transparent.sum())} transparent pixels; their stored colors "
            "are read, which no viewer shows. Flatten the file, or give decode_image=, if that is "
            "wrong",
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
        load_pixels(found.pillow, path)
        return np.array(found.pillow.convert("RGB"))
    raise ValueError(
        f"{path}: has {found.channels} channels ({found.model}), which are not RGB; give "
        "decode_image=, such as decode_image=lambda x: x[..., :3] for the first three"
    )

"""Image files as stored: exact numbers and metadata."""

import dataclasses
import functools
import re
import threading
import warnings
from typing import Any

import numpy as np

from keras_dense._optional import require
from keras_dense._types import Array, PathLike
from keras_dense.datasets import tiff
from keras_dense.datasets.opening import load_pixels, naming_file, open_image

_LOSSY = {"JPEG", "MPO", "JPEG2000", "AVIF", "HEIF"}
_MODELS = {
    "1": ("gray", False),
    "L": ("gray", False),
    "LA": ("gray", True),
    "F": ("gray", False),
    "P": ("palette", False),
    "RGB": ("RGB", False),
    "RGBA": ("RGB", True),
}
_PNG_COLORS = {0: ("gray", 1), 2: ("RGB", 3), 3: ("palette", 1), 4: ("gray", 2), 6: ("RGB", 4)}
# Filters of warnings belong to the process, not to the reading thread.
_quiet = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Stored:
    """An image file: its metadata, and its numbers on demand.

    Attributes:
        path: path of the file.
        size: pair `(height, width)`, as stored.
        pillow: the image opened with Pillow; `None` for a `.npy`, or a file unknown to Pillow.
        bits: int, bits per channel.
        kind: `"uint"`, `"int"`, `"float"`, or `"other"`.
        model: str, meaning of the channels: `"gray"`, `"palette"`, `"RGB"`, another mode of
            Pillow, or `"other"`.
        channels: int.
        alpha: bool, whether the last channel is opacity.
        exact: bool, whether Pillow returns the numbers as stored; otherwise rasterio reads them.
        top: int, the number of white.
        white_is_zero: bool, whether 0 is white.
        orientation: int from 1 to 8, EXIF orientation that viewers apply; 1 is upright.
        lossy: str, the format whose compression changed the numbers, or `None`.
        nodata: the number of unknown pixels, or `None`.
        masked: bool, whether the file has its own mask of known pixels.
        scaled: bool, whether the file has a scale to be applied to its numbers.
        array: the numbers of a `.npy`, otherwise `None`.
    """

    path: Any
    size: tuple[int, int]
    pillow: Any = None
    bits: int = 8
    kind: str = "uint"
    model: str = "gray"
    channels: int = 1
    alpha: bool = False
    exact: bool = True
    top: int = 255
    white_is_zero: bool = False
    orientation: int = 1
    lossy: str | None = None
    nodata: float | None = None
    masked: bool = False
    scaled: bool = False
    array: Array | None = None

    @functools.cached_property
    def numbers(self) -> Array:
        """The numbers as stored, `(H, W)`, or `(H, W, C)` if there are several channels."""
        if self.array is not None:
            return self.array
        return self._from_pillow() if self.exact else self._from_rasterio()[0]

    @functools.cached_property
    def unknown(self) -> Array | None:
        """Pixels that are unknown by nodata or the mask of the file, bool `(H, W)`, or `None`."""
        if self.masked:
            return self._from_rasterio()[1]
        if self.nodata is None:
            return None
        numbers = self.numbers
        if isinstance(self.nodata, float) and np.isnan(self.nodata):
            same = np.isnan(numbers)
        elif numbers.dtype.kind == "f":
            same = numbers == numbers.dtype.type(self.nodata)
        else:
            same = numbers == self.nodata
        return same.all(-1) if same.ndim == 3 else same

    @property
    def mode(self) -> str:
        """Pillow's mode if there is one, otherwise `model`; for messages."""
        return self.model if self.pillow is None else self.pillow.mode

    @property
    def palette(self) -> Array:
        """The colors of the palette, uint8 `(n, 3)`."""
        return np.reshape(self.pillow.getpalette("RGB"), (-1, 3)).astype(np.uint8)

    @property
    def colors(self) -> Array:
        """The colors of the numbers by the palette, uint8 `(H, W, 3)`."""
        palette, numbers = self.palette, self.numbers
        if numbers.max(initial=0) >= len(palette):
            raise ValueError(
                f"{self.path}: has number {numbers.max()}, but its palette has "
                f"{len(palette)} colors"
            )
        return palette[numbers]

    @property
    def transparent(self) -> Array | None:
        """Pixels that are not opaque, bool `(H, W)`, or `None` if all are opaque."""
        key = None if self.pillow is None else self.pillow.info.get("transparency")
        if self.alpha:
            full = 1.0 if self.kind == "float" else 2**self.bits - 1
            found = self.numbers[..., -1] != full
        elif key is None:
            return None
        elif isinstance(key, bytes):  # the opacity of each color of the palette
            opaque = np.full(256, 255)
            opaque[: len(key)] = list(key)
            found = opaque[self.numbers] != 255
        else:  # one transparent color
            same = self.numbers == np.asarray(key)
            found = same.all(-1) if same.ndim == 3 else same
        return found if found.any() else None

    def _from_pillow(self) -> Array:
        load_pixels(self.pillow, self.path)
        numbers = np.array(self.pillow)
        if numbers.dtype.byteorder == ">":
            numbers = numbers.astype(numbers.dtype.newbyteorder("="))
        if numbers.dtype == bool:
            numbers = numbers.astype(np.uint8)
        if self.white_is_zero and self.bits <= 8:
            numbers = self.top - numbers  # Pillow has inverted them
        elif self.pillow.format == "PNG" and self.model == "gray" and self.bits in (2, 4):
            numbers = numbers // (255 // self.top)  # Pillow has scaled them to 255
        elif self.pillow.format == "PNG" and self.bits == 16:
            numbers = numbers.astype(np.uint16)
        return numbers

    def _from_rasterio(self) -> tuple[Array, Array | None]:
        """Read the numbers, and the unknown pixels by the mask of the file."""
        try:
            rasterio = require("rasterio", extra="large")
        except ImportError as error:
            raise ImportError(
                f"{self.path}: has {self.channels} x {self.bits} bits ({self.kind}), which only "
                f"rasterio reads exactly: {error}"
            ) from error
        try:
            with _quiet, warnings.catch_warnings():
                # An image without a place on Earth is not a fault.
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                file = rasterio.open(self.path)
            with file:
                numbers = np.moveaxis(file.read(), 0, -1)
                known = file.dataset_mask() != 0 if self.masked else None
        except rasterio.errors.RasterioError as error:
            raise ValueError(f"{self.path}: cannot be read as an image ({error})") from error
        numbers = numbers[..., 0] if numbers.shape[2] == 1 else numbers
        return numbers, None if known is None else ~known


def stored(path: PathLike) -> Stored:
    """Open an image file and read its metadata.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, or contains more than one image.
    """
    if str(path).lower().endswith(".npy"):
        return _facts_of_npy(path)
    unidentified = require("PIL.Image", extra="examples").UnidentifiedImageError
    try:
        image = open_image(path)
    except ValueError as error:
        if not isinstance(error.__cause__, unidentified) or not tiff.is_tiff(path):
            raise
        return _facts_of_tiff(path, None)
    if image.format == "TIFF":
        return _facts_of_tiff(path, image)
    # Phones store small copies behind a photograph (MPO); viewers show the first.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise ValueError(f"{path}: has {frames} frames, but must have one; write a file for each")
    model, alpha = _MODELS.get(image.mode, (image.mode, False))
    if image.mode.startswith("I"):
        model, alpha = "gray", False
    found = Stored(
        path,
        (image.height, image.width),
        image,
        bits={"1": 1, "I": 32, "F": 32}.get(image.mode, 16 if ";16" in image.mode else 8),
        kind={"I": "int", "F": "float"}.get(image.mode, "uint"),
        model=model,
        channels=len(image.getbands()),
        alpha=alpha,
        top=1 if image.mode == "1" else 255,
        orientation=_orientation(image, path),
        lossy=_lossy(image, path),
    )
    return dataclasses.replace(found, **_corrections(image, path))


def turned(array: Array, orientation: int) -> Array:
    """Apply an EXIF orientation to an array, as viewers do.

    >>> turned(np.array([[1, 2]]), 6).tolist()
    [[1], [2]]
    """
    if orientation >= 5:
        array = np.swapaxes(array, 0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(array[::rows, ::columns])


def _orientation(image: Any, path: PathLike) -> int:
    value = naming_file(path, image.getexif).get(0x0112, 1)
    return value if value in range(1, 9) else 1


def _lossy(image: Any, path: PathLike) -> str | None:
    if image.format == "WEBP":
        with open(path, "rb") as file:
            return None if b"VP8L" in file.read(4096) else "a lossy WebP"
    return f"a {image.format}" if image.format in _LOSSY else None


def _corrections(image: Any, path: PathLike) -> dict[str, Any]:
    """Fields of PNG and portable maps that Pillow leaves out or changes."""
    with open(path, "rb") as file:
        head = file.read(512)
    if image.format == "PNG":
        bits = head[24]
        color, channels = _PNG_COLORS[head[25]]
        # Of 16 bits, Pillow keeps the upper eight if there are several channels.
        exact = bits <= 8 or image.mode.startswith("I")
        return {
            "bits": bits,
            "kind": "uint",
            "model": color,
            "channels": channels,
            "alpha": head[25] & 4 != 0,
            "exact": exact,
            "top": 2**bits - 1,
        }
    if image.format == "PPM" and head[:2] in (b"P1", b"P4"):
        return {"white_is_zero": True}  # Pillow inverts them
    if image.format == "PPM" and head[:1] == b"P" and head[1:2] in b"2356":
        numbers = re.sub(rb"#.*", b"", head).split()
        top = int(numbers[3])
        exact = top == 255 or (top == 65535 and head[1:2] in b"25")
        return {"bits": top.bit_length(), "kind": "uint", "exact": exact, "top": top}
    return {}


def _facts_of_tiff(path: PathLike, image: Any) -> Stored:
    found = naming_file(path, lambda: tiff.facts(path))
    found["exact"] &= image is not None
    return Stored(path, pillow=image, **found)


def _facts_of_npy(path: PathLike) -> Stored:
    try:
        array = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as an array ({error})") from error
    shape = array.shape
    array = array[..., 0] if array.ndim == 3 and shape[2] == 1 else array
    if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: must be an array of numbers (height, width) or (height, width, channels). "
            f"Received: {array.dtype} of shape {shape}"
        )
    channels = 1 if array.ndim == 2 else array.shape[2]
    kind = {"i": "int", "f": "float"}.get(array.dtype.kind, "uint")
    bits, top = 8 * array.dtype.itemsize, 255
    if array.dtype == bool:
        array, bits, top = array.astype(np.uint8), 1, 1
    model = {1: "gray", 3: "RGB"}.get(channels, "other")
    size = array.shape[:2]
    return Stored(path, size, None, bits, kind, model, channels, top=top, array=array)

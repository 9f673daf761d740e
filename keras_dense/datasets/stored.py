"""What a picture file holds: its numbers, exactly as stored, and what it says of itself."""

import dataclasses
import functools
import re
import threading
import warnings

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets import tiff
from keras_dense.datasets.opening import load, named, opened

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
# The filters of warnings belong to the process, not to the thread that reads.
_quiet = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Stored:
    """A picture file: what it says of itself, and its numbers on demand.

    Attributes:
        path: of the file.
        size: (height, width), as stored.
        picture: what Pillow has opened, `None` for a `.npy` or what Pillow does not know.
        bits: int, of a channel.
        kind: `"uint"`, `"int"`, `"float"`, or `"other"`.
        model: what the channels are: `"gray"`, `"palette"`, `"RGB"`, another of Pillow's modes, or
            `"other"`.
        channels: int.
        alpha: bool, whether the last channel says how opaque a pixel is.
        exact: bool, whether Pillow gives the numbers as they are stored; else rasterio reads them.
        top: the number that means white.
        white_is_zero: bool, whether 0 means white.
        orientation: int, 1 to 8: how EXIF says that the picture is turned for a viewer; 1 is not.
        lossy: str, what makes the numbers differ from those that were saved, or `None`.
        nodata: the number that means "unknown", or `None`.
        masked: bool, whether the file has a mask of its own that says what is known.
        scaled: bool, whether it says that its numbers are to be scaled.
        array: the numbers of a `.npy`, else `None`.
    """

    path: object
    size: tuple
    picture: object = None
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
    array: np.ndarray | None = None

    @functools.cached_property
    def numbers(self):
        """The numbers as stored, `(H, W)`, or `(H, W, C)` where there are several channels."""
        if self.array is not None:
            return self.array
        return self._from_pillow() if self.exact else self._from_rasterio()[0]

    @functools.cached_property
    def unknown(self):
        """Where the file says that nothing is known, bool `(H, W)`, or `None`."""
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
    def mode(self):
        """How messages call what it holds: Pillow's mode where it has one."""
        return self.model if self.picture is None else self.picture.mode

    @property
    def palette(self):
        """The colors of the palette, uint8 `(n, 3)`."""
        return np.reshape(self.picture.getpalette("RGB"), (-1, 3)).astype(np.uint8)

    @property
    def colors(self):
        """What the palette makes of the numbers, uint8 `(H, W, 3)`."""
        palette, numbers = self.palette, self.numbers
        if numbers.max(initial=0) >= len(palette):
            raise ValueError(
                f"{self.path}: has number {numbers.max()}, and its palette {len(palette)} colors"
            )
        return palette[numbers]

    @property
    def transparent(self):
        """Where pixels are not opaque, bool `(H, W)`, or `None` if all are."""
        key = None if self.picture is None else self.picture.info.get("transparency")
        if self.alpha:
            full = 1.0 if self.kind == "float" else 2**self.bits - 1
            found = self.numbers[..., -1] != full
        elif key is None:
            return None
        elif isinstance(key, bytes):  # how opaque each color of the palette is
            opaque = np.full(256, 255)
            opaque[: len(key)] = list(key)
            found = opaque[self.numbers] != 255
        else:  # one color that is
            same = self.numbers == np.asarray(key)
            found = same.all(-1) if same.ndim == 3 else same
        return found if found.any() else None

    def _from_pillow(self):
        load(self.picture, self.path)
        numbers = np.array(self.picture)
        if numbers.dtype.byteorder == ">":
            numbers = numbers.astype(numbers.dtype.newbyteorder("="))
        if numbers.dtype == bool:
            numbers = numbers.astype(np.uint8)
        if self.white_is_zero and self.bits <= 8:
            numbers = self.top - numbers  # which Pillow has inverted
        elif self.picture.format == "PNG" and self.model == "gray" and self.bits in (2, 4):
            numbers = numbers // (255 // self.top)  # which Pillow has stretched to 255
        elif self.picture.format == "PNG" and self.bits == 16:
            numbers = numbers.astype(np.uint16)
        return numbers

    def _from_rasterio(self):
        """The numbers, and where they are unknown by the file's own mask."""
        try:
            rasterio = require("rasterio", extra="large")
        except ImportError as error:
            raise ImportError(
                f"{self.path}: holds {self.channels} x {self.bits} bits ({self.kind}), which "
                f"only rasterio reads exactly: {error}"
            ) from error
        try:
            with _quiet, warnings.catch_warnings():
                # That a picture does not say where on Earth it lies is no fault.
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                file = rasterio.open(self.path)
            with file:
                numbers = np.moveaxis(file.read(), 0, -1)
                known = file.dataset_mask() != 0 if self.masked else None
        except rasterio.errors.RasterioError as error:
            raise ValueError(f"{self.path}: cannot be read as a picture ({error})") from error
        numbers = numbers[..., 0] if numbers.shape[2] == 1 else numbers
        return numbers, None if known is None else ~known


def stored(path):
    """What a file says of itself, as a `Stored`.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, or holds more than one picture.
    """
    if str(path).lower().endswith(".npy"):
        return _facts_of_npy(path)
    image = require("PIL.Image", extra="examples")
    try:
        picture = opened(path)
    except ValueError as error:
        if not isinstance(error.__cause__, image.UnidentifiedImageError) or not tiff.is_tiff(path):
            raise
        return _facts_of_tiff(path, None)
    if picture.format == "TIFF":
        return _facts_of_tiff(path, picture)
    # Phones keep small copies behind a photograph (MPO); the first is what is shown.
    frames = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
    if frames > 1:
        raise ValueError(
            f"{path}: holds {frames} frames, and nothing says which is meant; "
            "write each to a file of its own"
        )
    model, alpha = _MODELS.get(picture.mode, (picture.mode, False))
    if picture.mode.startswith("I"):
        model, alpha = "gray", False
    found = Stored(
        path,
        (picture.height, picture.width),
        picture,
        bits={"1": 1, "I": 32, "F": 32}.get(picture.mode, 16 if ";16" in picture.mode else 8),
        kind={"I": "int", "F": "float"}.get(picture.mode, "uint"),
        model=model,
        channels=len(picture.getbands()),
        alpha=alpha,
        top=1 if picture.mode == "1" else 255,
        orientation=_orientation(picture, path),
        lossy=_lossy(picture, path),
    )
    return dataclasses.replace(found, **_more(picture, path))


def turned(array, orientation):
    """An array as a viewer shows it, from how it is stored and its EXIF orientation.

    >>> turned(np.array([[1, 2]]), 6).tolist()
    [[1], [2]]
    """
    if orientation >= 5:
        array = np.swapaxes(array, 0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(array[::rows, ::columns])


def _orientation(picture, path):
    value = named(path, picture.getexif).get(0x0112, 1)
    return value if value in range(1, 9) else 1


def _lossy(picture, path):
    if picture.format == "WEBP":
        with open(path, "rb") as file:
            return None if b"VP8L" in file.read(4096) else "a lossy WebP"
    return f"a {picture.format}" if picture.format in _LOSSY else None


def _more(picture, path):
    """What Pillow does not say, or changes: of PNG and of the portable maps."""
    with open(path, "rb") as file:
        head = file.read(512)
    if picture.format == "PNG":
        bits = head[24]
        color, channels = _PNG_COLORS[head[25]]
        # Of 16 bits, Pillow keeps the upper eight where there are several channels.
        exact = bits <= 8 or picture.mode.startswith("I")
        return {
            "bits": bits,
            "kind": "uint",
            "model": color,
            "channels": channels,
            "alpha": head[25] & 4 != 0,
            "exact": exact,
            "top": 2**bits - 1,
        }
    if picture.format == "PPM" and head[:2] in (b"P1", b"P4"):
        return {"white_is_zero": True}  # which Pillow inverts
    if picture.format == "PPM" and head[:1] == b"P" and head[1:2] in b"2356":
        numbers = re.sub(rb"#.*", b"", head).split()
        top = int(numbers[3])
        exact = top == 255 or (top == 65535 and head[1:2] in b"25")
        return {"bits": top.bit_length(), "kind": "uint", "exact": exact, "top": top}
    return {}


def _facts_of_tiff(path, picture):
    found = named(path, lambda: tiff.facts(path))
    found["exact"] &= picture is not None
    return Stored(path, picture=picture, **found)


def _facts_of_npy(path):
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
            f"It is {array.dtype} of shape {shape}"
        )
    channels = 1 if array.ndim == 2 else array.shape[2]
    kind = {"i": "int", "f": "float"}.get(array.dtype.kind, "uint")
    bits, top = 8 * array.dtype.itemsize, 255
    if array.dtype == bool:
        array, bits, top = array.astype(np.uint8), 1, 1
    model = {1: "gray", 3: "RGB"}.get(channels, "other")
    size = array.shape[:2]
    return Stored(path, size, None, bits, kind, model, channels, top=top, array=array)

"""GeoTIFF and other files that GDAL opens, read window by window."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, PathLike

# Bands that are no channel of red, green, blue, or gray, under the names of rasterio.
_NO_CHANNELS = (
    "cyan magenta yellow black hue saturation lightness Y Cb Cr".split()  # other color spaces
)


class GeoTiff:
    """A GeoTIFF, or another file that GDAL opens (JPEG 2000, VRT, …), read by slices like an array.

    Bands become channels. Numbers stay as they are stored, except as the file itself demands: a
    palette becomes RGB, scales and offsets of bands are applied, and pixels without data (nodata, a
    mask, alpha 0) become 0 and are unknown (see `read`). `predict_tiled` takes 0 to 255; for files
    with other numbers, such as reflectances in 16 bits, `scale` gives those of black and white.

    Args:
        path: path of the file.
        bands: ints, the bands that become channels, counted from 1; default: all but alpha, or the
            three colors of a palette. A band with a palette that is named here keeps its numbers.
        scale: `(low, high)`, the numbers that become 0 and 255; numbers beyond become 0 and 255 as
            well. The result is float32. Default: numbers stay as they are.
        alpha: bool, whether the alpha band decides which pixels are known. Default: `True` unless
            `bands` are named, since in files of four bands near infrared often has that name.

    Attributes:
        shape: `(height, width, channels)`.
        dtype: type of the numbers.
        path, bands: see above.
        masked: bool, whether pixels may be unknown.
        crs, transform: georeference in the form of rasterio.

    Raises:
        ImportError: if rasterio is not installed.
        FileNotFoundError, ValueError: if the file cannot be opened, has no such band, or holds data
            that cannot be channels: complex numbers, bands of several types, other color spaces.
            The message names file, band and remedy.

    ```python
    scene = kd.inference.GeoTiff("scene.tif", bands=(4, 3, 2), scale=(0, 3000))
    kd.inference.predict_tiled(model, scene, out="classes.tif")
    ```
    """

    def __init__(
        self,
        path: PathLike,
        bands: int | Sequence[int] | None = None,
        *,
        scale: tuple[float, float] | None = None,
        alpha: bool | None = None,
    ) -> None:
        rasterio = require("rasterio", extra="large")
        try:
            self._file = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            there = "://" in str(path) or pathlib.Path(path).exists()
            kind = ValueError if there else FileNotFoundError
            raise kind(f"{path}: cannot be opened ({error})") from error
        self.path = str(path)
        self._colors = None
        self.bands = self._chosen(bands)
        self._scale = _checked_scale(scale)
        self._linear = self._stretch()
        self.dtype = self._checked_type()
        turned = self._file.tags().get("EXIF_Orientation", "1")
        if turned != "1":
            raise ValueError(
                f"{self.path}: has an EXIF orientation ({turned}), which windows cannot follow; "
                "turn and save it first, or read it whole"
            )
        channels = 3 if self._colors is not None else len(self.bands)
        self.shape = (*self._file.shape, channels)
        self.crs, self.transform = self._file.crs, self._file.transform
        flags, valid = self._file.mask_flag_enums, rasterio.enums.MaskFlags.all_valid
        alpha = bands is None if alpha is None else bool(alpha)
        unused = valid if alpha else rasterio.enums.MaskFlags.alpha
        self._has_masks = not all({valid, unused} & set(flags[band - 1]) for band in self.bands)
        self.masked = self._has_masks or self.dtype.kind == "f"

    def _chosen(self, bands):
        """The bands to read; keeps a palette."""
        file = self._file
        meaning = dict(zip(file.indexes, (c.name for c in file.colorinterp), strict=True))
        if bands is None:
            chosen = tuple(band for band in file.indexes if meaning[band] != "alpha")
            if not chosen:
                raise ValueError(f"{self.path}: has no band besides alpha")
            if meaning[chosen[0]] == "palette":
                if len(chosen) > 1:
                    raise ValueError(
                        f"{self.path}: band {chosen[0]} holds places in a palette, beside "
                        f"{len(chosen) - 1} others; say which are meant (`bands=`)"
                    )
                table = file.colormap(chosen[0])
                self._colors = np.zeros((max(table) + 1, 3), "uint8")
                for place, color in table.items():
                    self._colors[place] = color[:3]
        else:
            chosen = tuple(bands) if np.iterable(bands) else (bands,)
            chosen = tuple(_check.integer(band, "bands") for band in chosen)
            missing = sorted(set(chosen) - set(file.indexes))
            if missing or not chosen:
                raise ValueError(
                    f"`bands` must be among {file.indexes}, those of {self.path}. "
                    f"Received: bands={bands!r}"
                )
        for band in chosen:
            if meaning[band] in _NO_CHANNELS:
                raise ValueError(
                    f"{self.path}: band {band} is {meaning[band]!r} of another color space than "
                    "RGB; convert the file to RGB first"
                )
        return chosen

    def _checked_type(self):
        """Type of the numbers that are read."""
        types = {band: self._file.dtypes[band - 1] for band in self.bands}
        for band, kind in types.items():
            if "complex" in kind:
                raise ValueError(
                    f"{self.path}: band {band} holds complex numbers ({kind}); write their "
                    "amplitude to a file first"
                )
        if len(set(types.values())) > 1:
            listed = ", ".join(f"{band}: {kind}" for band, kind in types.items())
            raise ValueError(
                f"{self.path}: bands must be of one type. They are {listed}; choose others "
                "(`bands=`), or convert the file first"
            )
        if self._colors is not None:
            return np.dtype("uint8")
        if self._linear is not None:
            return np.dtype("float32")
        for band in self.bands:
            about = self._file.tags(band, ns="IMAGE_STRUCTURE")
            about = {**self._file.tags(ns="IMAGE_STRUCTURE"), **about}
            if int(about.get("NBITS", 8)) < 8:
                most = 2 ** int(about["NBITS"]) - 1
                raise ValueError(
                    f"{self.path}: band {band} has {about['NBITS']} bits, from 0 to {most}; say "
                    f"that {most} is white: scale=(0, {most})"
                )
            if about.get("MINISWHITE") == "YES":
                raise ValueError(
                    f"{self.path}: band {band} counts from white to black (MINISWHITE); convert "
                    "the file first"
                )
        return np.dtype(types[self.bands[0]])

    def _stretch(self):
        """Factors and offsets, one for each band, or `None`."""
        pairs = [(self._file.scales[b - 1], self._file.offsets[b - 1]) for b in self.bands]
        if self._colors is not None:
            if self._scale is not None:
                raise ValueError(
                    f"`scale` is for numbers; {self.path} holds colors of a palette. Received: "
                    f"scale={self._scale}"
                )
            return None
        if self._scale is None and all(pair == (1.0, 0.0) for pair in pairs):
            return None
        factors, offsets = np.array(pairs, "float64").T
        if self._scale is not None:
            low, high = self._scale
            factors, offsets = 255 / (high - low) * factors, 255 / (high - low) * (offsets - low)
        return factors, offsets

    def __getitem__(self, key: Any) -> Array:
        return self.read(key)[0]

    def read(self, key):
        """Pixels of `key`, a pair of slices, and which of them are known.

        Of several bands of bytes a pixel is unknown where all are without data, for nodata may be
        a color, too; otherwise where one is.

        Returns:
            The pixels `(h, w, C)`, and a bool array `(h, w)`, or `None` where all are known.
        """
        window = self._window(key)
        values = np.moveaxis(self._file.read(self.bands, window=window), 0, -1)
        known, valid = None, None
        if self._has_masks:
            valid = np.moveaxis(self._file.read_masks(self.bands, window=window), 0, -1) > 0
        if values.dtype.kind == "f":
            number = np.isfinite(values)
            if not number.all():
                valid = number if valid is None else valid & number
        if valid is not None and not valid.all():
            known = valid.any(-1) if values.dtype == np.uint8 else valid.all(-1)
        if self._colors is not None:
            values = self._colors[values[..., 0].clip(0, len(self._colors) - 1)]
        if self._linear is not None:
            factors, offsets = self._linear
            with np.errstate(over="ignore", invalid="ignore"):
                values = values * factors + offsets
            values = values.clip(0, 255) if self._scale is not None else values
            values = values.astype("float32")
        if known is not None:
            values = np.where(known[..., None], values, values.dtype.type(0))
        return values, known

    def _window(self, key):
        """Rows and columns in the form of rasterio."""
        key = (slice(None), slice(None)) if key is Ellipsis else key
        key = key if isinstance(key, tuple) else (key,)
        whole = all(part in (slice(None), Ellipsis) for part in key[2:])
        if len(key) > 3 or not whole or not all(isinstance(part, slice) for part in key[:2]):
            raise IndexError(f"GeoTiff is read by slices of rows and columns. Received: {key}")
        key = (*key[:2], slice(None))[:2]
        rows, columns = (range(*s.indices(n)) for s, n in zip(key, self.shape, strict=False))
        if {rows.step, columns.step} != {1}:
            raise IndexError(f"GeoTiff is read by slices without steps. Received: {key}")
        return tuple((part.start, max(part.stop, part.start)) for part in (rows, columns))

    def __array__(self, dtype=None, copy=None):
        return self[...].astype(dtype or self.dtype)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def place(self):
        """Georeference in the form of rasterio: crs and transform, or ground control points."""
        points, crs = self._file.gcps
        if points and self.crs is None:
            return {"gcps": points, "crs": crs}
        found = {"crs": self.crs, "transform": self.transform}
        return {**found, "rpcs": self._file.rpcs} if self._file.rpcs else found


def _checked_scale(scale):
    if scale is None:
        return None
    pair = tuple(scale) if np.iterable(scale) and not isinstance(scale, str) else ()
    try:
        low, high = map(float, pair)
        good = np.isfinite([low, high]).all() and low != high
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            "`scale` must be (low, high), the numbers that become 0 and 255. Received: "
            f"scale={scale!r}"
        )
    return low, high

"""GeoTIFF files, read and written window by window."""

import numpy as np

from keras_dense._optional import require

_BLOCK = 512  # side of the blocks that are written


class GeoTiff:
    """A GeoTIFF (or whatever GDAL opens) that is read by slices, as an array `(H, W, C)`.

    Args:
        path: of the file.
        bands: which bands become channels, counted from 1; `None` for all.

    Attributes:
        shape, dtype: as of an array.
        crs, transform: its georeference, as rasterio has them.

    Raises:
        ImportError: if rasterio is not installed.
        FileNotFoundError, ValueError: if it cannot be opened, or has no such band.

    ```python
    scene = kd.inference.GeoTiff("scene.tif", bands=(4, 3, 2))
    kd.inference.predict_tiled(model, scene, head, out="classes.tif")
    ```
    """

    def __init__(self, path, bands=None):
        rasterio = require("rasterio", extra="large")
        try:
            self._file = rasterio.open(path)
        except rasterio.errors.RasterioIOError as error:
            kind = ValueError if "://" in str(path) or _exists(path) else FileNotFoundError
            raise kind(f"{path}: cannot be opened ({error})") from error
        self.bands = tuple(self._file.indexes if bands is None else bands)
        missing = sorted(set(self.bands) - set(self._file.indexes))
        if missing:
            raise ValueError(
                f"`bands` must be among {self._file.indexes}, those of {path}. "
                f"Received: bands={bands!r}"
            )
        self.shape = (*self._file.shape, len(self.bands))
        self.dtype = np.dtype(self._file.dtypes[self.bands[0] - 1])
        self.crs, self.transform = self._file.crs, self._file.transform

    def __getitem__(self, key):
        if key is Ellipsis:
            key = slice(None), slice(None)
        rows, columns = (range(*s.indices(n)) for s, n in zip(key, self.shape, strict=False))
        if {rows.step, columns.step} != {1}:
            raise IndexError(f"GeoTiff is read by slices without steps. Received: {key}")
        window = ((rows.start, max(rows.stop, rows.start)), (columns.start, columns.stop))
        return np.moveaxis(self._file.read(self.bands, window=window), 0, -1)

    def __array__(self, dtype=None, copy=None):
        return self[...].astype(dtype or self.dtype)


def _exists(path):
    import pathlib

    return pathlib.Path(path).exists()


def write_geotiff(path, array, like=None):
    """Write an array `(H, W)` or `(H, W, C)` as a tiled, compressed GeoTIFF, window by window.

    Args:
        path: of the new file.
        array: read by slices.
        like: a `GeoTiff` of the same size, whose georeference the file gets.
    """
    rasterio = require("rasterio", extra="large")
    height, width = array.shape[:2]
    place = {"crs": like.crs, "transform": like.transform} if isinstance(like, GeoTiff) else {}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=array.shape[2] if array.ndim == 3 else 1,
        dtype=array.dtype,
        tiled=True,
        blockxsize=_BLOCK,
        blockysize=_BLOCK,
        compress="deflate",
        BIGTIFF="IF_SAFER",
        **place,
    ) as file:
        for y in range(0, height, _BLOCK):
            for x in range(0, width, _BLOCK):
                window = array[y : y + _BLOCK, x : x + _BLOCK]
                window = window[..., None] if window.ndim == 2 else window
                rows, columns = window.shape[:2]
                file.write(
                    np.ascontiguousarray(np.moveaxis(window, -1, 0)),
                    window=((y, y + rows), (x, x + columns)),
                )

"""Results as GeoTIFF files with the meaning of their numbers."""

import errno
import json
import os

import numpy as np

from keras_dense._optional import require
from keras_dense.inference.geotiff import GeoTiff

_BLOCK = 512  # side of the blocks that are written
_UNITS = {"meter": "meter", "degree": "degree", "unit vector": "1"}


def write_geotiff(path, array, like=None, facts=None):
    """Write an array `(H, W)` or `(H, W, C)` as a tiled, compressed GeoTIFF, window by window.

    Args:
        path: of the new file.
        array: read by slices.
        like: a `GeoTiff` of the same size, whose georeference the file gets.
        facts: dict of what the numbers mean, see `kd.inference.TiledPredictor`: a palette becomes
            the color table, classes the names of bands, and all is in the tag "about" as JSON.
    """
    rasterio = require("rasterio", extra="large")
    facts = facts or {}
    height, width = array.shape[:2]
    settings = dict(like.place) if isinstance(like, GeoTiff) else {}
    # rasterio writes these after the file was made.
    later = {key: settings.pop(key) for key in ("gcps", "rpcs") if key in settings}
    if later:
        crs = settings.pop("crs") if "gcps" in later else None
    if facts.get("unknown") is not None:
        settings["nodata"] = facts["unknown"]
    if facts.get("unit", "").startswith("RGB"):
        settings["photometric"] = "rgb"
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
        **settings,
    ) as file:
        if "gcps" in later:
            file.gcps = later["gcps"], crs
        if "rpcs" in later:
            file.rpcs = later["rpcs"]
        _describe(file, array, facts)
        for window, values in _blocks(array):
            file.write(values, window=window)
    # The last blocks are written when the file is closed, where a full disk raises no error.
    with rasterio.open(path) as file:
        for window, values in _blocks(array):
            if not np.array_equal(file.read(window=window), values, equal_nan=True):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def _blocks(array):
    """Windows `((top, bottom), (left, right))` of an array with their values `(C, h, w)`."""
    height, width = array.shape[:2]
    for y in range(0, height, _BLOCK):
        for x in range(0, width, _BLOCK):
            values = array[y : y + _BLOCK, x : x + _BLOCK]
            values = values[..., None] if values.ndim == 2 else values
            rows, columns = values.shape[:2]
            values = np.ascontiguousarray(np.moveaxis(values, -1, 0))
            yield ((y, y + rows), (x, x + columns)), values


def plain(facts):
    """Facts for JSON, which has no NaN."""
    return {key: str(x) if isinstance(x, float) and x != x else x for key, x in facts.items()}


def _describe(file, array, facts):
    """Write the meaning of the numbers into the file."""
    if not facts:
        return
    file.update_tags(about=json.dumps(plain(facts), ensure_ascii=False))
    names = facts.get("classes", [])
    if len(names) == file.count and array.ndim == 3:
        file.descriptions = names
    elif "name" in facts:
        one = file.count == 1
        file.descriptions = [
            facts["name"] if one else f"{facts['name']} {n}" for n in range(1, file.count + 1)
        ]
    if facts.get("unit") in _UNITS:
        file.units = [_UNITS[facts["unit"]]] * file.count
    palette = facts.get("palette")
    if palette is not None and array.ndim == 2 and array.dtype == np.uint8:
        table = {place: (*color, 255) for place, color in enumerate(palette)}
        if facts.get("unknown") is not None:
            table.setdefault(int(facts["unknown"]), (224, 224, 224, 0))
        file.write_colormap(1, table)

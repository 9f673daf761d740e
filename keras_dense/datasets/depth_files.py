"""Depth files: numbers to meters, and back."""

import os
import pathlib
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.datasets.files import Decode
from keras_dense.datasets.rasters import read_raster

# Sensors do not measure farther; floats beyond it mostly are millimeters.
FARTHEST = 1000.0


def depth_to_png16(meters: ArrayLike, scale: float = 1000) -> Array:
    """Convert meters to the 16-bit numbers of depth files, 0 = unknown.

    Args:
        meters: array-like `(H, W)` or `(H, W, 1)`; not finite or <= 0 is unknown.
        scale: float > 0, numbers per meter: 1000 as in NYU Depth v2 (up to 65.5 m), 256 as in KITTI
            (up to 256 m).

    Returns:
        uint16 `(H, W)`, rounded; a known depth too small for the scale becomes 1.

    Raises:
        TypeError: if `meters` is not an array of numbers, or a masked array (fill it with 0 first).
        ValueError: for another shape, a scale that is not positive, or depths beyond 65535 / scale.

    >>> depth_to_png16(np.array([[1.5, np.nan]])).tolist()
    [[1500, 0]]
    """
    if isinstance(meters, np.ma.MaskedArray):
        raise TypeError(
            "`meters` must not be a masked array: fill unknown values with 0 first "
            "(`array.filled(0)`). Received: a numpy.ma.MaskedArray"
        )
    meters, scale = as_array(meters, "meters").astype("float64"), _scale(scale)
    meters = meters[..., 0] if meters.ndim == 3 and meters.shape[2] == 1 else meters
    if meters.ndim != 2:
        raise ValueError(
            f"`meters` must have shape (height, width) or (height, width, 1). "
            f"Received: shape {meters.shape}"
        )
    known = np.isfinite(meters) & (meters > 0)
    numbers = np.rint(np.where(known, meters, 0) * scale)
    if numbers.max(initial=0) > 65535:
        raise ValueError(
            f"`scale` must be at most 65535 / {meters[known].max():g} m, so that these depths fit "
            f"into 16 bits. Received: scale={scale:g}"
        )
    return np.where(known, np.maximum(numbers, 1), 0).astype(np.uint16)


def depth_from_png16(numbers: ArrayLike, scale: float = 1000) -> Array:
    """Convert 16-bit numbers to meters, 0 = unknown: the inverse of `depth_to_png16`.

    Args:
        numbers: ints `(H, W)`, from 0 to 65535.
        scale: float > 0, numbers per meter.

    Returns:
        float32 `(H, W, 1)`.

    Raises:
        TypeError: if `numbers` is not an array of numbers.
        ValueError: for another shape, another kind of numbers, or a scale that is not positive.

    >>> depth_from_png16(np.array([[1500, 0]], "uint16"))[..., 0].tolist()
    [[1.5, 0.0]]
    """
    numbers = as_array(numbers, "numbers")
    low, high = (numbers.min(), numbers.max()) if numbers.size else (0, 0)
    if numbers.ndim != 2 or numbers.dtype.kind not in "iu" or low < 0 or high > 65535:
        raise ValueError(
            "`numbers` must be integers from 0 to 65535 of shape (height, width). "
            f"Received: {numbers.dtype} of shape {numbers.shape}, {low:g} to {high:g}"
        )
    return (numbers / _scale(scale)).astype(np.float32)[..., None]


def _scale(value: float) -> float:
    return _check.number(value, "scale", above=0)


def write_depth(path: PathLike | BinaryIO, meters: ArrayLike, *, scale: float = 1000) -> None:
    """Write depth as a PNG of 16 bits; see `depth_to_png16`.

    Args:
        path: path that ends in `.png`, or an open file.
        meters: array-like `(H, W)` or `(H, W, 1)`.
        scale: float > 0, numbers per meter.

    Raises:
        ValueError: for another extension, and the errors of `depth_to_png16`.

    ```python
    kd.datasets.write_depth("0001.png", kd.decoded(model, head).predict(image[None])[0])
    ```
    """
    if isinstance(path, (str, os.PathLike)) and pathlib.Path(path).suffix.lower() != ".png":
        raise ValueError(f"`path` must end in .png. Received: path={str(path)!r}")
    image = require("PIL.Image", extra="examples")
    image.fromarray(depth_to_png16(meters, scale)).save(path, format="PNG")


def read_depth(
    path: PathLike,
    scale: float | None = None,
    *,
    key: str | None = None,
    decode: Decode | None = None,
    max_depth: float | None = None,
) -> Array:
    """Read a depth map of any format: float32 meters `(H, W, 1)`, 0 = unknown.

    By default, integers are millimeters and floats are meters. Depth is unknown if it is not finite
    or <= 0, if it is nodata in the file, or if the pixel is transparent. Depth is along the optical
    axis; `decode` converts disparities and distances along the ray:

    ```python
    decode=lambda v: focal * baseline / v                            # disparity (Middlebury)
    decode=lambda v: kd.datasets.distance_to_depth(v, intrinsics)    # distance along the ray
    decode=lambda v: (v >> 3) | (v << 13)                            # SUN RGB-D
    decode=lambda v: (v @ [1, 256, 65536]) / (2**24 - 1) * 1000      # CARLA
    decode=lambda v: v / 255 * 10                                    # 8 bits for 10 m
    ```

    Args:
        path: path of a PNG, TIFF, `.npy`, `.npz`, `.pfm`, `.pgm`, `.exr`, `.h5`, `.hdf5` or `.mat`
            file; see `docs/data.md` for the packages they need.
        scale: float > 0, numbers per meter, also for floats; by default 1000 for integers and 1 for
            floats. 256 in KITTI, 5000 in TUM RGB-D, 4000 in Matterport3D.
        key: str, name of the array in a `.npz`, `.h5` or `.mat` file, or of the channel in an EXR;
            required if there are several.
        decode: function from the numbers as stored, `(H, W)` or `(H, W, C)`, to the intended ones,
            `(H, W)`, which are then read as above. Numbers of 8 bits are converted to int32, so
            that sums do not overflow; all others keep the type of the file.
        max_depth: float > 0, meters: depth beyond it (a sky of 65504 or 1e10) becomes unknown.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt; without `decode` also if it has colors, at most 8 bits, or
            lossy compression; without `scale` and `decode` if the file has its own scale or unit,
            a depth is beyond 1000 m, or all numbers look rotated like those of SUN RGB-D; if all
            numbers are negative; if `decode` returns another shape.
        ImportError: if the package that reads the format is not installed.

    ```python
    sample = {"image": image, "depth": kd.datasets.read_depth("0001.png", scale=1000)}
    ```
    """
    check_depth_arguments(scale, max_depth)
    values, known, units, flaws = read_raster(path, key)
    if decode is not None:
        values = decoded(path, values, decode)
    else:
        _check_numbers(path, values, flaws)
        if units and scale is None:
            raise ValueError(
                f"{path}: has its own scale or unit: {', '.join(units)}. Give scale=, numbers per "
                "meter, or decode=, a function from its numbers to meters"
            )
    depth = _meters(path, values, known, scale)
    if not depth.any():
        _check_signs(path, values)
    if max_depth is not None:
        depth[depth > max_depth] = 0
    elif scale is None and decode is None:
        _check_depth(path, values, depth)
    return depth.astype(np.float32)[..., None]


def check_depth_arguments(scale: float | None, max_depth: float | None) -> None:
    """Check the arguments of `read_depth` that are positive numbers or `None`."""
    for name, value in {"scale": scale, "max_depth": max_depth}.items():
        if value is not None:
            _check.number(value, name, above=0)


def decoded(path: PathLike, values: Array, decode: Decode) -> Array:
    """Apply `decode` to the numbers of a file; errors name the file."""
    values = values.astype(np.int32) if values.dtype in (np.uint8, np.int8) else values
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            return as_array(decode(values), "decode(numbers)")
    except Exception as error:
        raise ValueError(
            f"{path}: `decode` failed for {values.dtype} of shape {values.shape} "
            f"({type(error).__name__}: {error})"
        ) from error


def _check_numbers(path: PathLike, values: Array, flaws: Sequence[str]) -> None:
    """Refuse numbers that cannot be depth without `decode`."""
    if flaws:
        raise ValueError(
            f"{path}: {' and '.join(flaws)}. To read it anyway, give decode=, a function from its "
            "numbers to meters"
        )
    if values.ndim == 3 and values.shape[2] != 1:
        raise ValueError(
            f"{path}: has {values.shape[2]} channels, but depth has one; give decode=, a function "
            "from the channels to meters"
        )
    if values.dtype.itemsize == 1:
        raise ValueError(
            f"{path}: has at most 8 bits per pixel, but depth needs 16; if there is no better "
            "file, give decode=, a function from its numbers to meters"
        )


def _check_signs(path: PathLike, values: Array) -> None:
    """Refuse negative depth: one negative number is unknown, many are an axis to the viewer."""
    below = np.unique(values[np.isfinite(values) & (values < 0)])
    if len(below) > 2:
        raise ValueError(
            f"{path}: has no number above 0, but {len(below)} below, from {below[0]:.6g} to "
            f"{below[-1]:.6g}. If they are depth, give decode=lambda v: -v"
        )


def _check_depth(path: PathLike, values: Array, depth: Array) -> None:
    """Refuse depth that is implausible in the default unit."""
    if depth.max() > FARTHEST:
        raise ValueError(
            f"{path}: has depth up to {depth.max():.6g} m as {values.dtype}. Give scale=1000 if "
            "the numbers are millimeters, scale=1 if they are meters, max_depth= if that is the sky"
        )
    found = np.unique(values) if values.dtype == np.uint16 else np.zeros(0, np.uint16)
    if len(found) > 32 and np.all(found % 8 < 2):
        raise ValueError(
            f"{path}: has {len(found)} different numbers, all of them multiples of 8 (or one more),"
            " like bits rotated by three. Give decode=lambda v: (v >> 3) | (v << 13) for SUN RGB-D "
            "and SUN3D, scale=1000 if the numbers are millimeters"
        )


def _meters(path: PathLike, values: Array, known: Array | None, scale: float | None) -> Array:
    """Convert numbers to meters, float64 `(H, W)`, 0 = unknown."""
    values = values[..., 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if values.ndim != 2 or values.dtype.kind == "b":
        raise ValueError(
            f"{path}: depth must be numbers of shape (height, width). "
            f"Received: {values.dtype} of shape {values.shape}"
        )
    if scale is None:
        scale = 1.0 if values.dtype.kind == "f" else 1000.0
    depth = values.astype(np.float64) / scale
    good = np.isfinite(depth) & (depth > 0)
    if known is not None:
        if known.shape != depth.shape:
            raise ValueError(
                f"{path}: has {known.shape[0]} x {known.shape[1]} pixels, but `decode` returned "
                f"{depth.shape[0]} x {depth.shape[1]}"
            )
        good &= known
    return np.where(good, depth, 0)

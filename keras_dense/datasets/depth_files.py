"""Depth in files: meters out of numbers, and back."""

import numbers as kinds
import os
import pathlib

import numpy as np

from keras_dense._arrays import as_array
from keras_dense._optional import require
from keras_dense.datasets.rasters import read_raster

# Nobody measures farther, and who has floats beyond it mostly has millimeters.
FARTHEST = 1000.0


def depth_to_png16(meters, scale=1000):
    """Meters as the 16-bit numbers that depth is stored in, 0 where unknown.

    Args:
        meters: `(H, W)` or `(H, W, 1)`; not finite or ≤ 0 is unknown.
        scale: numbers for each meter: 1000 as of NYU Depth v2 (up to 65.5 m), 256 of KITTI (up to
            256 m).

    Returns:
        uint16 `(H, W)`, rounded; a known depth too small for the scale becomes 1.

    Raises:
        TypeError: if `meters` is no array of numbers, or a masked one (fill it with 0 first).
        ValueError: for another shape, a scale that is not positive, or depths beyond 65535 / scale.

    >>> depth_to_png16(np.array([[1.5, np.nan]])).tolist()
    [[1500, 0]]
    """
    if isinstance(meters, np.ma.MaskedArray):
        raise TypeError(
            "`meters` must say itself what is unknown: fill masked arrays with 0 first "
            "(`array.filled(0)`). Received: a numpy.ma.MaskedArray"
        )
    meters, scale = as_array(meters, "meters").astype("float64"), positive("scale", scale)
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
            f"`scale` must be at most 65535 / {meters[known].max():g} m for these depths, 16 bits "
            f"hold no more. Received: scale={scale:g}"
        )
    return np.where(known, np.maximum(numbers, 1), 0).astype(np.uint16)


def depth_from_png16(numbers, scale=1000):
    """Meters from 16-bit numbers, 0 where unknown: undoes `depth_to_png16`.

    Args:
        numbers: ints `(H, W)`, 0 to 65535.
        scale: numbers for each meter.

    Returns:
        float32 `(H, W, 1)`.

    Raises:
        TypeError: if `numbers` are no array.
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
    return (numbers / positive("scale", scale)).astype(np.float32)[..., None]


def positive(name, value):
    """`value` as a float, if it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, kinds.Real) or not 0 < value < np.inf:
        raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}")
    return float(value)


def write_depth(path, meters, scale=1000):
    """Write depth as a PNG of 16 bits; see `depth_to_png16`.

    Args:
        path: path that ends in `.png`, or an open file.
        meters: `(H, W)` or `(H, W, 1)`.
        scale: numbers for each meter.

    Raises:
        ValueError: for another ending, and what `depth_to_png16` raises.

    ```python
    kd.datasets.write_depth("0001.png", kd.decoded(model, head).predict(image[None])[0])
    ```
    """
    if isinstance(path, (str, os.PathLike)) and pathlib.Path(path).suffix.lower() != ".png":
        raise ValueError(f"`path` must end in .png. Received: path={str(path)!r}")
    image = require("PIL.Image", extra="examples")
    image.fromarray(depth_to_png16(meters, scale)).save(path, format="PNG")


def read_depth(path, scale=None, *, key=None, decode=None, max_depth=None):
    """Read a depth map of any format: float32 meters `(H, W, 1)`, 0 = unknown.

    Integers are millimeters and floats are meters unless `scale` says otherwise. Unknown is what
    is not finite or ≤ 0, what the file calls nodata, and what is transparent. Depth is along the
    optical axis; of disparities and distances along the ray `decode` makes it:

    ```python
    decode=lambda v: focal * baseline / v                            # disparity (Middlebury)
    decode=lambda v: kd.datasets.distance_to_depth(v, intrinsics)    # distance along the ray
    decode=lambda v: (v >> 3) | (v << 13)                            # SUN RGB-D
    decode=lambda v: (v @ [1, 256, 65536]) / (2**24 - 1) * 1000      # CARLA
    decode=lambda v: v / 255 * 10                                    # 8 bits for 10 m
    ```

    Args:
        path: path of a file; formats and what they need are those of `RASTERS`: PNG, TIFF, `.npy`,
            `.npz`, `.pfm`, `.pgm`, `.exr`, `.h5`, `.hdf5`, `.mat`.
        scale: float > 0, numbers for each meter, for floats, too; 1000 for integers and 1 for
            floats unless given. 256 in KITTI, 5000 in TUM RGB-D, 4000 in Matterport3D.
        key: str, which array of a `.npz`, `.h5` or `.mat` file, which channel of an EXR; needed
            only where there are several.
        decode: function from the file's numbers, `(H, W)` or `(H, W, C)`, to those that are meant,
            `(H, W)`, which are then read as above. Numbers of 8 bits come as int32, so that sums
            do not overflow; all others in the file's own type.
        max_depth: float > 0, meters: what is farther (a sky of 65504 or 1e10) is unknown.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt; without `decode` also if it has colors, no more than 8 bits,
            or is compressed with loss; without `scale` and `decode` if the file itself names
            another scale or unit, a depth is beyond 1000 m, or all numbers look turned like those
            of SUN RGB-D; if numbers are negative throughout; if `decode` returns another shape.
        ImportError: if the package that reads the format is not installed.

    ```python
    sample = {"image": image, "depth": kd.datasets.read_depth("0001.png", scale=1000)}
    ```
    """
    scale = None if scale is None else positive("scale", scale)
    max_depth = None if max_depth is None else positive("max_depth", max_depth)
    values, known, units, flaws = read_raster(path, key)
    if decode is not None:
        values = decoded(path, values, decode)
    else:
        _check_numbers(path, values, flaws)
        if units and scale is None:
            raise ValueError(
                f"{path}: says of itself: {', '.join(units)}. Give scale=, numbers for each meter, "
                "or decode=, a function from its numbers to meters"
            )
    depth = _meters(path, values, known, scale)
    if not depth.any():
        _check_signs(path, values)
    if max_depth is not None:
        depth[depth > max_depth] = 0
    elif scale is None and decode is None:
        _check_depth(path, values, depth)
    return depth.astype(np.float32)[..., None]


def decoded(path, values, decode):
    """What `decode` makes of a file's numbers; errors name the file."""
    values = values.astype(np.int32) if values.dtype in (np.uint8, np.int8) else values
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            return as_array(decode(values), "decode(numbers)")
    except Exception as error:
        raise ValueError(
            f"{path}: `decode` fails on {values.dtype} of shape {values.shape} "
            f"({type(error).__name__}: {error})"
        ) from error


def _check_numbers(path, values, flaws):
    """Whether a file's numbers can be depth as they are."""
    if flaws:
        raise ValueError(
            f"{path}: {' and '.join(flaws)}. If that is meant, give decode=, a function from its "
            "numbers to meters"
        )
    if values.ndim == 3 and values.shape[2] != 1:
        raise ValueError(
            f"{path}: has {values.shape[2]} channels, where one is depth; give decode=, a function "
            "from them to meters"
        )
    if values.dtype.itemsize == 1:
        raise ValueError(
            f"{path}: has no more than 8 bits a pixel, where 16 are needed; give decode=, a "
            "function from its numbers to meters, if that is all there is"
        )


def _check_signs(path, values):
    """One negative number stands for unknown; many are depth along an axis to the viewer."""
    below = np.unique(values[np.isfinite(values) & (values < 0)])
    if len(below) > 2:
        raise ValueError(
            f"{path}: has no number above 0, and {len(below)} below, from {below[0]:.6g} to "
            f"{below[-1]:.6g}. If these are depth, give decode=lambda v: -v"
        )


def _check_depth(path, values, depth):
    """Whether a guess of the unit gives what depth can be."""
    if depth.max() > FARTHEST:
        raise ValueError(
            f"{path}: goes up to {depth.max():.6g} m as {values.dtype}. Give scale=1000 if these "
            "are millimeters, scale=1 if they are meters, max_depth= if that is the sky"
        )
    found = np.unique(values) if values.dtype == np.uint16 else ()
    if len(found) > 32 and (found % 8 < 2).all():
        raise ValueError(
            f"{path}: has {len(found)} different numbers, all of them multiples of 8 (or one more),"
            " as bits turned by three places are. Give decode=lambda v: (v >> 3) | (v << 13) for "
            "SUN RGB-D and SUN3D, scale=1000 if these are millimeters"
        )


def _meters(path, values, known, scale):
    """float64 `(H, W)`, 0 where unknown."""
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
                f"{path}: is {known.shape[0]} x {known.shape[1]} pixels, and `decode` returns "
                f"{depth.shape[0]} x {depth.shape[1]}"
            )
        good &= known
    return np.where(good, depth, 0)


def distance_to_depth(distance, intrinsics):
    """Depth along the optical axis from distance along the ray, as renderers and lidars give it.

    ```
    depth = distance / |K⁻¹ (u, v, 1)|
    ```

    Args:
        distance: `(H, W)` or `(H, W, 1)`.
        intrinsics: `(3, 3)`, in pixels of this map; the last row is (0, 0, 1).

    Returns:
        float64 of the same shape; what is not finite stays so.

    Raises:
        TypeError: if an argument is no array of numbers.
        ValueError: if a shape is wrong.

    >>> distance_to_depth(np.array([[2.0, 5.0]]), [[1, 0, 0], [0, 1, 0], [0, 0, 1]]).round(3)
    array([[2.   , 3.536]])
    """
    distance = as_array(distance, "distance").astype(np.float64)
    if distance.ndim not in (2, 3) or distance.shape[2:] not in ((), (1,)):
        raise ValueError(
            "`distance` must have shape (height, width) or (height, width, 1). "
            f"Received: shape {distance.shape}"
        )
    length = np.linalg.norm(pixel_rays(distance.shape[:2], intrinsics), axis=-1)
    return distance / length.reshape(distance.shape)


def pixel_rays(size, intrinsics):
    """The points at depth 1 that the pixels of a picture see, float64 `(H, W, 3)`."""
    matrix = as_array(intrinsics, "intrinsics").astype(np.float64)
    if matrix.shape != (3, 3) or (matrix[2] != (0, 0, 1)).any():
        raise ValueError(
            "`intrinsics` must be a matrix (3, 3) with (0, 0, 1) at the bottom. "
            f"Received: {matrix.tolist()}"
        )
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(matrix).T

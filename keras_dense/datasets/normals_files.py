"""Normals in files."""

import numpy as np

from keras_dense.datasets.depth_files import decoded, pixel_rays
from keras_dense.datasets.rasters import read_raster
from keras_dense.ops.geometry import convert_normals


def read_normals(path, frame="opencv", *, key=None, decode=None, intrinsics=None):
    """Read normals of any format as unit vectors, float32 `(H, W, 3)`, (0, 0, 0) = unknown.

    Integers of 8 and 16 bits are `(n + 1) / 2` times 255 or 65535, floats are the vectors
    themselves. Unknown are black pixels, vectors that are not finite or shorter than 1/2, nodata,
    and what is transparent.

    Args:
        path: of a file; see `read_raster` for the formats.
        frame: the axes of the file; those of the result are "opencv", a sample's.
        key: str, which array, where a file holds several.
        decode: function from the file's numbers to vectors, floats `(H, W, 3)`, of any length
            from 1/2 up.
        intrinsics: `(3, 3)`, of the camera: with them normals that look away from it are turned,
            for files in which surfaces have an inside and an outside.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has not three channels, is compressed with loss, holds floats
            that are no unit vectors, or most of its normals look away from the camera.
    """
    values, known, _, flaws = read_raster(path, key)
    if decode is not None:
        values = decoded(path, values, decode)
    elif flaws:
        raise ValueError(
            f"{path}: {' and '.join(flaws)}. If that is meant, give normals_decode=, a function "
            "from its numbers to vectors"
        )
    if values.ndim != 3 or values.shape[2] != 3:
        raise ValueError(
            f"{path}: normals must have shape (height, width, 3). Received: shape {values.shape}"
        )
    vectors, given = _vectors(path, values, decode is not None)
    if known is not None:
        given &= known[..., None]
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    good = given & (length >= 0.5)
    normals = np.where(good, vectors / np.where(good, length, 1), 0)
    normals = np.asarray(convert_normals(normals, frame, "opencv"))
    if intrinsics is not None:
        away = (normals * pixel_rays(normals.shape[:2], intrinsics)).sum(-1, keepdims=True) > 0
        normals = np.where(away, -normals, normals)
    away = normals[..., 2] > 0.1  # 0 itself is stored as 127 or 128, on either side
    if intrinsics is None and 2 * away.sum() > good.sum():
        raise ValueError(
            f"{path}: {int(away.sum())} of {int(good.sum())} normals look away from the camera. "
            f"Are its axes really those of normals_frame={frame!r}?"
        )
    return normals.astype(np.float32)


def _vectors(path, values, told):
    """Vectors, float64, and where there are any, bool `(H, W, 1)`."""
    if values.dtype in (np.uint8, np.uint16) and not told:
        top = np.iinfo(values.dtype).max
        return values / (top / 2) - 1, values.any(-1, keepdims=True)
    if values.dtype.kind != "f":
        raise ValueError(
            f"{path}: normals must be floats, or integers of 8 or 16 bits without a sign. "
            f"Received: {values.dtype}"
        )
    given = np.isfinite(values).all(-1, keepdims=True)
    vectors = np.where(given, values, 0).astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1)[vectors.any(-1)]
    odd = np.abs(length - 1) > 0.1
    if not told and 2 * odd.sum() > odd.size:
        raise ValueError(
            f"{path}: most of its vectors are not of length 1 (median {np.median(length):.3g}); "
            "give normals_decode=, a function from its numbers to vectors, such as "
            "lambda v: 2 * v - 1"
        )
    return vectors, given

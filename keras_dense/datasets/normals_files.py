"""Files of normals."""

import numpy as np

from keras_dense._types import Array, ArrayLike, PathLike
from keras_dense.datasets.depth_files import decoded
from keras_dense.datasets.files import Decode
from keras_dense.datasets.rasters import read_raster
from keras_dense.datasets.rays import pixel_rays
from keras_dense.ops.geometry import convert_normals


def read_normals(
    path: PathLike,
    frame: str = "opencv",
    *,
    key: str | None = None,
    decode: Decode | None = None,
    intrinsics: ArrayLike | None = None,
) -> Array:
    """Read normals of any format as unit vectors, float32 `(H, W, 3)`, (0, 0, 0) = unknown.

    Integers of 8 and 16 bits are `(n + 1) / 2` times 255 or 65535, floats are the vectors
    themselves. Black pixels, vectors that are not finite or shorter than 1/2, nodata and
    transparent pixels are unknown.

    Args:
        path: path of a file; see `read_raster` for the formats.
        frame: str, the axes of the file; the result has those of "opencv", like a sample.
        key: str, name of the array if a file contains several.
        decode: function from the numbers of the file to vectors, floats `(H, W, 3)`, of length 1/2
            or more.
        intrinsics: array-like `(3, 3)`, of the camera. If given, normals that face away from it are
            inverted: for files in which surfaces have an inside and an outside.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, does not have three channels, has lossy compression, contains
            floats that are not unit vectors, or if most of its normals face away from the camera.
    """
    values, known, _, flaws = read_raster(path, key)
    if decode is not None:
        values = decoded(path, values, decode)
    elif flaws:
        raise ValueError(
            f"{path}: {' and '.join(flaws)}. To read it anyway, give normals_decode=, a function "
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
    away = normals[..., 2] > 0.1  # 0 is stored as 127 or 128
    if intrinsics is None and 2 * away.sum() > good.sum():
        raise ValueError(
            f"{path}: {int(away.sum())} of {int(good.sum())} normals face away from the camera. "
            f"Check whether its axes are those of normals_frame={frame!r}"
        )
    return normals.astype(np.float32)


def _vectors(path: PathLike, values: Array, is_decoded: bool) -> tuple[Array, Array]:
    """Return vectors, float64, and the pixels that have one, bool `(H, W, 1)`."""
    if values.dtype in (np.uint8, np.uint16) and not is_decoded:
        top = np.iinfo(values.dtype).max
        return values / (top / 2) - 1, np.any(values, axis=-1, keepdims=True)
    if values.dtype.kind != "f":
        raise ValueError(
            f"{path}: normals must be floats, or unsigned integers of 8 or 16 bits. "
            f"Received: {values.dtype}"
        )
    given: Array = np.isfinite(values).all(-1, keepdims=True)
    vectors = np.where(given, values, 0).astype(np.float64)
    length = np.linalg.norm(vectors, axis=-1)[vectors.any(-1)]
    odd = np.abs(length - 1) > 0.1
    if not is_decoded and 2 * odd.sum() > odd.size:
        raise ValueError(
            f"{path}: most of its vectors do not have length 1 (median {np.median(length):.3g}); "
            "give normals_decode=, a function from its numbers to vectors, such as "
            "lambda v: 2 * v - 1"
        )
    return vectors, given

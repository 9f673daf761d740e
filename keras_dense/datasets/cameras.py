"""Matrices of intrinsics from files."""

import json
import pathlib
from typing import Any

import numpy as np

from keras_dense._types import Array, ArrayLike, PathLike


def read_camera(
    intrinsics: ArrayLike | PathLike | None, who: str
) -> tuple[Array | None, tuple[int, int] | None]:
    """Return intrinsics as a matrix, float32 `(3, 3)`, and the image size they belong to.

    Args:
        intrinsics: a `(3, 3)` matrix; `(fx, fy, cx, cy)`; the path of a JSON file with these four
            keys and optionally "height" and "width"; the path of a text file with nine numbers, the
            matrix row by row; or `None`.
        who: str, the reader, for messages.

    Returns:
        The matrix, and `(height, width)`; each may be `None`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a camera matrix.
    """
    size: tuple[int, int] | None = None
    given = intrinsics
    if intrinsics is None:
        return None, size
    if isinstance(intrinsics, (str, pathlib.Path)):
        path = pathlib.Path(intrinsics)
        if not path.is_file():
            raise FileNotFoundError(f"{who}: there is no file of intrinsics {str(path)!r}")
        if path.suffix.lower() == ".txt":
            intrinsics = numbers_of(path.read_text(), path, 9).reshape(3, 3)
        else:
            intrinsics, size = _from_json(path, who)
    matrix = np.asarray(intrinsics, np.float32)
    if matrix.shape == (4,):
        fx, fy, cx, cy = matrix
        matrix = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)
    good = matrix.shape == (3, 3) and np.isfinite(matrix).all()
    if not good or min(matrix[0, 0], matrix[1, 1]) <= 0 or (matrix[2] != (0, 0, 1)).any():
        raise ValueError(
            f"{who}: `intrinsics` must be a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], or "
            f"(fx, fy, cx, cy), with fx, fy > 0. Received: intrinsics={given!r}"
        )
    return matrix, size


def _from_json(path: pathlib.Path, who: str) -> tuple[list[float], Any]:
    try:
        found = json.loads(path.read_text())
        intrinsics = [float(found[key]) for key in ("fx", "fy", "cx", "cy")]
        if "height" in found and "width" in found:
            return intrinsics, (int(found["height"]), int(found["width"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{who}: {str(path)!r} must be JSON with the numbers fx, fy, cx, cy ({error!r})"
        ) from error
    return intrinsics, None


def numbers_of(text: str, path: PathLike, count: int) -> Array:
    """Parse the numbers in a text, float64 `(count,)`.

    Raises:
        ValueError: if there is another number of them; the message names the file.
    """
    try:
        found = np.array([float(word) for word in text.replace(",", " ").split()])
    except ValueError as error:
        raise ValueError(f"{path}: must contain {count} numbers ({error})") from error
    if len(found) != count:
        raise ValueError(f"{path}: must contain {count} numbers. Received: {len(found)}")
    return found

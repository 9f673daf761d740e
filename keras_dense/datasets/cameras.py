"""Cameras from files: matrices of intrinsics."""

import json
import pathlib

import numpy as np


def read_camera(intrinsics, who):
    """Intrinsics as a matrix, float32 `(3, 3)`, and the size they are of, where it is known.

    Args:
        intrinsics: a `(3, 3)` matrix; `(fx, fy, cx, cy)`; the path of a JSON file with these four
            keys, and perhaps "height" and "width"; the path of a text file of nine numbers, the
            matrix row by row; or `None`.
        who: str, how errors begin.

    Returns:
        The matrix, and `(height, width)`; each may be `None`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no camera.
    """
    size, given = None, intrinsics
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
            f"{who}: intrinsics must be a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], or "
            f"(fx, fy, cx, cy), with fx, fy above 0. Received: intrinsics={given!r}"
        )
    return matrix, size


def _from_json(path, who):
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


def numbers_of(text, path, count):
    """The numbers in a text, float64 `(count,)`.

    Raises:
        ValueError: naming the file, if they are not so many.
    """
    try:
        found = np.array([float(word) for word in text.replace(",", " ").split()])
    except ValueError as error:
        raise ValueError(f"{path}: must hold {count} numbers ({error})") from error
    if len(found) != count:
        raise ValueError(f"{path}: must hold {count} numbers. Received: {len(found)}")
    return found

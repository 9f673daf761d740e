"""Depth in files: metres out of numbers, and back."""

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.files import read_numbers


def depth_to_png16(metres, scale=1000):
    """Metres as the 16-bit numbers that depth is stored in, 0 where unknown.

    Args:
        metres: `(H, W)` or `(H, W, 1)`.
        scale: numbers for each metre: 1000 as of NYU Depth v2 (up to 65.5 m), 256 of KITTI (up to
            256 m).

    Returns:
        uint16 `(H, W)`, rounded; a known depth too small for the scale becomes 1.

    Raises:
        ValueError: for another shape, a scale that is not positive, or depths beyond 65535 / scale.

    >>> depth_to_png16(np.array([[1.5, np.nan]])).tolist()
    [[1500, 0]]
    """
    metres, scale = np.asarray(metres, "float64"), _positive(scale)
    metres = metres[..., 0] if metres.ndim == 3 and metres.shape[2] == 1 else metres
    if metres.ndim != 2:
        raise ValueError(
            f"`metres` must have shape (height, width) or (height, width, 1). "
            f"Received: shape {metres.shape}"
        )
    known = np.isfinite(metres) & (metres > 0)
    numbers = np.rint(np.where(known, metres, 0) * scale)
    if numbers.max(initial=0) > 65535:
        raise ValueError(
            f"`scale` must be at most 65535 / {metres[known].max():g} m for these depths, 16 bits "
            f"hold no more. Received: scale={scale:g}"
        )
    return np.where(known, np.maximum(numbers, 1), 0).astype(np.uint16)


def depth_from_png16(numbers, scale=1000):
    """Metres from 16-bit numbers, 0 where unknown: undoes `depth_to_png16`.

    Args:
        numbers: ints `(H, W)`.
        scale: numbers for each metre.

    Returns:
        float32 `(H, W, 1)`.

    >>> depth_from_png16(np.array([[1500, 0]], "uint16"))[..., 0].tolist()
    [[1.5, 0.0]]
    """
    return (np.asarray(numbers, "float64") / _positive(scale)).astype(np.float32)[..., None]


def _positive(scale):
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not scale > 0:
        raise ValueError(f"`scale` must be a positive number. Received: scale={scale!r}")
    return float(scale)


def write_depth(path, metres, scale=1000):
    """Write depth as a PNG of 16 bits; see `depth_to_png16`.

    ```python
    kd.datasets.write_depth("0001.png", kd.decoded(model, head).predict(image[None])[0])
    ```
    """
    image = require("PIL.Image", extra="examples")
    image.fromarray(depth_to_png16(metres, scale)).save(path, format="PNG")


def read_depth(path, scale=1000):
    """Read depth from a picture of one number a pixel: float32 metres `(H, W, 1)`, 0 = unknown.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it is corrupt, has colours, or `scale` is not positive.

    ```python
    sample = {"image": image, "depth": kd.datasets.read_depth("0001.png", scale=1000)}
    ```
    """
    return depth_from_png16(read_numbers(path), scale)

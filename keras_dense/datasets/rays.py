"""Rays of a pinhole camera: distances along them, and depth along the axis."""

import numpy as np

from keras_dense._arrays import as_array
from keras_dense._types import Array, ArrayLike


def distance_to_depth(distance: ArrayLike, intrinsics: ArrayLike) -> Array:
    """Convert distance along the ray, as from renderers and lidars, to depth along the axis.

    ```
    depth = distance / |K⁻¹ (u, v, 1)|
    ```

    Args:
        distance: array-like `(H, W)` or `(H, W, 1)`.
        intrinsics: array-like `(3, 3)`, in pixels of this map; the last row is (0, 0, 1).

    Returns:
        float64 of the same shape; values that are not finite stay so.

    Raises:
        TypeError: if an argument is not an array of numbers.
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


def pixel_rays(size: tuple[int, ...], intrinsics: ArrayLike) -> Array:
    """Return the points at depth 1 on the rays of the pixels, float64 `(H, W, 3)`."""
    matrix: Array = as_array(intrinsics, "intrinsics").astype(np.float64)
    if matrix.shape != (3, 3) or (matrix[2] != (0, 0, 1)).any():
        raise ValueError(
            "`intrinsics` must be a (3, 3) matrix with the last row (0, 0, 1). "
            f"Received: {matrix.tolist()}"
        )
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(matrix).T

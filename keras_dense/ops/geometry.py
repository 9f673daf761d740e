"""Depth, points, normals and cameras.

A camera looks along z, x to the right, y down. Its 3 × 3 matrix of intrinsics maps a point to
pixels, `depth · (u, v, 1) = K · point`; the center of the pixel in row v, column u is `(u, v)`.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Tensor
from keras_dense.ops.targets import known_depth

_TINY = 1e-12

# Rows are the axes of a frame in the frame "opencv": the matrix converts normals from "opencv".
FRAMES = {
    "opencv": np.diag([1.0, 1.0, 1.0]),
    "dsine": np.diag([-1.0, -1.0, -1.0]),
    "opengl": np.diag([1.0, -1.0, -1.0]),
    "omnidata": np.diag([1.0, 1.0, -1.0]),
    "eigen": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
}


def normalize(vectors: ArrayLike, epsilon: float = 1e-6) -> Tensor:
    """Vectors at length 1; those shorter than `epsilon` are divided by it.

    Args:
        vectors: floats `(…, C)`.
        epsilon: float > 0. It bounds the gradient, by `1 / epsilon`.

    Returns:
        float32 `(…, C)`; zero vectors stay zero.

    >>> ops.convert_to_numpy(normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    vectors = ops.cast(vectors, "float32")
    squared = ops.sum(ops.square(vectors), axis=-1, keepdims=True)
    return vectors / ops.sqrt(ops.maximum(squared, epsilon**2))


def angle_between(a: ArrayLike, b: ArrayLike) -> Tensor:
    """The angle between vectors, `atan2(|a × b|, a · b)`: precise also where `acos` is not.

    Args:
        a, b: floats `(…, 3)`, of any length.

    Returns:
        float32 `(…, 1)`, radians from 0 to π; π / 2 if a vector is zero. The gradient is finite
        everywhere, and set to 0 at the angles 0 and π, where it does not exist.

    >>> angle = angle_between(np.array([[2.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 0.0]]))
    >>> round(float(angle[0, 0]), 4)
    1.5708
    """
    a, b = normalize(a), normalize(b)
    dot = ops.sum(a * b, axis=-1, keepdims=True)
    squared = ops.sum(ops.square(ops.cross(a, b, axis=-1)), axis=-1, keepdims=True)
    straight = squared <= _TINY**2
    sine = ops.where(straight, 0.0, ops.sqrt(ops.where(straight, 1.0, squared)))
    zero = ops.logical_and(straight, ops.abs(dot) <= _TINY)
    sine, dot = ops.where(zero, 1.0, sine), ops.where(zero, 0.0, dot)
    return ops.arctan2(sine, dot)


def convert_normals(normals: ArrayLike, source: str, target: str) -> Any:
    """Normals in the axes of another frame.

    | frame | axes | a wall straight ahead |
    |---|---|---|
    | `"opencv"` | x right, y down, z forward, towards the camera | (0, 0, -1) |
    | `"dsine"` | the same axes, away from the camera | (0, 0, 1) |
    | `"opengl"` | x right, y up, z to the viewer (Hypersim, PyTorch3D-like) | (0, 0, 1) |
    | `"omnidata"` | x right, y down, z to the viewer (2D-3D-S; left-handed) | (0, 0, 1) |
    | `"eigen"` | x right, y away, z up (Eigen and Fergus, 2015) | (0, -1, 0) |

    Args:
        normals: `(…, 3)`, a NumPy array or a tensor.
        source: str, their frame.
        target: str, the frame of the result.

    Returns:
        The same kind of array, `(…, 3)`; unknown (zero) ones stay zero.

    Raises:
        ValueError: for an unknown frame.

    >>> convert_normals(np.array([0.0, 0.6, -0.8]), "opencv", "opengl").tolist()
    [0.0, -0.6, 0.8]
    """
    for name, frame in (("source", source), ("target", target)):
        check_frame(name, frame)
    # The axes are orthogonal: the transpose is the inverse.
    matrix = FRAMES[source] @ FRAMES[target].T + 0.0
    if isinstance(normals, np.ndarray):
        return normals @ matrix.astype(normals.dtype)
    normals = ops.convert_to_tensor(normals)
    return ops.matmul(normals, ops.convert_to_tensor(matrix, normals.dtype))


def check_frame(name: str, frame: str) -> str:
    """The name of a frame, or an error that lists all frames.

    >>> check_frame("frame", "opengl")
    'opengl'
    """
    return _check.choice(frame, name, FRAMES)


def depth_to_points(depth: ArrayLike, intrinsics: ArrayLike) -> Tensor:
    """The points seen at the pixels of a depth map, `depth · K⁻¹ (u, v, 1)`.

    Args:
        depth: `(B, H, W, 1)` or `(B, H, W)`, meters along the optical axis; not finite or ≤ 0 is
            unknown.
        intrinsics: `(3, 3)`, or `(B, 3, 3)`, in pixels of this map.

    Returns:
        float32 `(B, H, W, 3)`, meters; (0, 0, 0) where unknown.

    Raises:
        ValueError: if a shape is wrong.

    >>> intrinsics = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
    >>> points = depth_to_points(np.full((1, 2, 2, 1), 4.0), intrinsics)
    >>> ops.convert_to_numpy(points)[0, 0].tolist()
    [[-1.0, -1.0, 4.0], [1.0, -1.0, 4.0]]
    """
    depth = _read_depth(depth)
    k = _read_intrinsics(intrinsics)
    known = known_depth(depth)
    z = ops.where(known, depth, 0.0)
    height, width = ops.shape(depth)[1:3]
    u = ops.reshape(ops.cast(ops.arange(width, dtype="int32"), "float32"), (1, 1, -1, 1))
    v = ops.reshape(ops.cast(ops.arange(height, dtype="int32"), "float32"), (1, -1, 1, 1))
    u, v = u - k[0][2], v - k[1][2]
    determinant = k[0][0] * k[1][1] - k[0][1] * k[1][0]
    x = (k[1][1] * u - k[0][1] * v) / determinant
    y = (k[0][0] * v - k[1][0] * u) / determinant
    return ops.concatenate([x * z, y * z, z], axis=-1)


def points_to_pixels(points: ArrayLike, intrinsics: ArrayLike) -> tuple[Tensor, Tensor]:
    """The pixels at which a camera sees points: the inverse of `depth_to_points`.

    Args:
        points: `(B, H, W, 3)`, meters.
        intrinsics: `(3, 3)`, or `(B, 3, 3)`.

    Returns:
        Pixels `(B, H, W, 2)`, columns u and rows v, and depth `(B, H, W, 1)`, both float32; (0, 0)
        and 0 for points that are not in front of the camera.

    Raises:
        ValueError: if a shape is wrong.

    >>> intrinsics = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5], [0.0, 0.0, 1.0]])
    >>> pixels, depth = points_to_pixels(np.array([1.0, -1.0, 4.0]).reshape(1, 1, 1, 3), intrinsics)
    >>> ops.convert_to_numpy(pixels).ravel().tolist(), float(depth[0, 0, 0, 0])
    ([1.0, 0.0], 4.0)
    """
    points = ops.cast(points, "float32")
    _check_map("points", points, 3)
    k = _read_intrinsics(intrinsics)
    x, y, z = points[..., 0:1], points[..., 1:2], points[..., 2:3]
    known = known_depth(z)
    z = ops.where(known, z, 1.0)
    u = (k[0][0] * x + k[0][1] * y) / z + k[0][2]
    v = (k[1][0] * x + k[1][1] * y) / z + k[1][2]
    pixels = ops.where(known, ops.concatenate([u, v], axis=-1), 0.0)
    return pixels, ops.where(known, z, 0.0)


def normals_from_depth(depth: ArrayLike, intrinsics: ArrayLike) -> Tensor:
    """Normals of the surface in a depth map, from differences of neighboring points.

    ```
    n = unit((X[v-1, u] - X[v+1, u]) × (X[v, u-1] - X[v, u+1])),   turned so that n · X < 0
    ```

    Exact on planes; across an edge between two surfaces it is the direction of neither.

    Args:
        depth: `(B, H, W, 1)` or `(B, H, W)`, meters; not finite or ≤ 0 is unknown.
        intrinsics: `(3, 3)`, or `(B, 3, 3)`, in pixels of this map.

    Returns:
        float32 `(B, H, W, 3)`, x right, y down, z forward, towards the camera; (0, 0, 0) at the
        border and wherever the pixel or one of its four neighbors is unknown.

    Raises:
        ValueError: if a shape is wrong.

    >>> wall = np.full((1, 3, 3, 1), 2.0)
    >>> normals = normals_from_depth(wall, np.array([[5.0, 0, 1], [0, 5, 1], [0, 0, 1]]))
    >>> (ops.convert_to_numpy(normals)[0, 1, 1] + 0.0).tolist()
    [0.0, 0.0, -1.0]
    """
    depth = _read_depth(depth)
    known = ops.cast(known_depth(depth), "float32")
    points = depth_to_points(depth, intrinsics)
    middle, up, down, left, right = _neighbors(points)
    seen = math.prod(_neighbors(known))
    # Divided by depth, so that lengths are in units of a pixel at any distance.
    scale = ops.where(seen > 0, middle[..., 2:3], 1.0)
    # The axis must be named: torch takes the first one of size 3 otherwise.
    normal = ops.cross((up - down) / scale, (left - right) / scale, axis=-1)
    facing = ops.where(ops.sum(normal * middle, axis=-1, keepdims=True) > 0, -1.0, 1.0)
    normal = seen * facing * normalize(normal, _TINY)
    return ops.pad(normal, ((0, 0), (1, 1), (1, 1), (0, 0)))


def crop_intrinsics(intrinsics: ArrayLike, top: float, left: float) -> Array:
    """The intrinsics of a crop; negative numbers are padding.

    Args:
        intrinsics: NumPy `(…, 3, 3)`.
        top, left: pixels removed there.

    Returns:
        A new array of the same dtype.

    >>> crop_intrinsics(np.array([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]]), top=1, left=-2).tolist()
    [[9.0, 0.0, 6.0], [0.0, 9.0, 2.0], [0.0, 0.0, 1.0]]
    """
    return warp_intrinsics(intrinsics, [[1, 0, -left], [0, 1, -top], [0, 0, 1]])


def resize_intrinsics(
    intrinsics: ArrayLike, size: Sequence[float], new_size: Sequence[float]
) -> Array:
    """The intrinsics of a resized image, with half-pixel centers.

    `f' = r f` and `c' = (c + 1/2) r - 1/2` for the ratio r of each axis: edges map to edges.

    Args:
        intrinsics: NumPy `(…, 3, 3)`.
        size: `(height, width)` before.
        new_size: `(height, width)` after.

    Returns:
        A new array of the same dtype.

    >>> resize_intrinsics(np.array([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]]), (7, 9), (14, 18)).tolist()
    [[18.0, 0.0, 8.5], [0.0, 18.0, 6.5], [0.0, 0.0, 1.0]]
    """
    down, across = (new / old for old, new in zip(size, new_size, strict=True))
    scale = [[across, 0, (across - 1) / 2], [0, down, (down - 1) / 2], [0, 0, 1]]
    return warp_intrinsics(intrinsics, scale)


def flip_intrinsics(
    intrinsics: ArrayLike, *, height: int | None = None, width: int | None = None
) -> Array:
    """The intrinsics of a mirrored image, for a scene that is mirrored with it.

    Args:
        intrinsics: NumPy `(…, 3, 3)`.
        height: int, of the image, if top and bottom are exchanged: `cy' = height - 1 - cy`.
        width: int, of the image, if left and right are exchanged: `cx' = width - 1 - cx`.

    Returns:
        A new array of the same dtype.

    >>> flip_intrinsics(np.array([[9.0, 0, 4], [0, 9, 3], [0, 0, 1]]), width=11).tolist()
    [[9.0, 0.0, 6.0], [0.0, 9.0, 3.0], [0.0, 0.0, 1.0]]
    """
    x, y = (1 if size is None else -1 for size in (width, height))
    mirror = [[x, 0, (width or 1) - 1], [0, y, (height or 1) - 1], [0, 0, 1]]
    return warp_intrinsics(intrinsics, mirror, np.diag([x, y, 1]))


def warp_intrinsics(
    intrinsics: ArrayLike, pixels: ArrayLike, points: ArrayLike | None = None
) -> Array:
    """The intrinsics after an affine transform of the image, `pixels · K · points⁻¹`.

    Args:
        intrinsics: NumPy `(…, 3, 3)`.
        pixels: `(3, 3)`, maps old pixels `(u, v, 1)` to new ones.
        points: `(3, 3)`, orthogonal, maps the points of the scene, or `None`.

    Returns:
        A new array of the same dtype.

    Raises:
        ValueError: if `intrinsics` are not 3 × 3 matrices.

    >>> warp_intrinsics(np.eye(3), np.diag([2, 2, 1])).tolist()
    [[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    """
    intrinsics = np.asarray(intrinsics)
    if intrinsics.shape[-2:] != (3, 3):
        raise ValueError(
            f"`intrinsics` must have shape (3, 3) or (B, 3, 3). Received: shape {intrinsics.shape}"
        )
    dtype = intrinsics.dtype if intrinsics.dtype.kind == "f" else np.float64
    warped = np.asarray(pixels, float) @ intrinsics
    if points is not None:
        warped = warped @ np.transpose(points)
    return (warped + 0.0).astype(dtype)


def _neighbors(x):
    """The inner pixels, and their neighbors above, below, to the left and to the right."""
    return (
        x[:, 1:-1, 1:-1],
        x[:, :-2, 1:-1],
        x[:, 2:, 1:-1],
        x[:, 1:-1, :-2],
        x[:, 1:-1, 2:],
    )


def _check_map(name, x, channels):
    if len(x.shape) != 4 or x.shape[-1] != channels:
        raise ValueError(
            f"`{name}` must have shape (B, H, W, {channels}). Received: shape {tuple(x.shape)}"
        )


def _read_depth(depth):
    depth = ops.cast(depth, "float32")
    if len(depth.shape) == 3:
        depth = ops.expand_dims(depth, -1)
    _check_map("depth", depth, 1)
    return depth


def _read_intrinsics(intrinsics):
    """Rows of entries, each `(1, 1, 1, 1)` or `(B, 1, 1, 1)`."""
    k = ops.cast(intrinsics, "float32")
    if len(k.shape) not in (2, 3) or tuple(k.shape[-2:]) != (3, 3):
        raise ValueError(
            f"`intrinsics` must have shape (3, 3) or (B, 3, 3). Received: shape {tuple(k.shape)}"
        )
    return [[ops.reshape(k[..., i, j], (-1, 1, 1, 1)) for j in range(3)] for i in range(2)]

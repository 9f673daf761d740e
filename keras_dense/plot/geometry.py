"""Legends of depth and normals, and views of point clouds."""

import math
from collections.abc import Sequence

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._types import Array, ArrayLike
from keras_dense.heads.drawing import as_meters, normal_colors
from keras_dense.heads.drawing import depth as draw_depth
from keras_dense.plot.arguments import rgb
from keras_dense.plot.text import INK, PAPER, text_width, write


def color_bar(
    low: float, high: float, *, width: int = 256, size: int = 14, unit: str = "m"
) -> Array:
    """Legend of the colors of `depth(meters, low=low, high=high)`.

    Args:
        low: float > 0, meters shown brightest.
        high: float > low, meters shown darkest. `depth_limits` returns both.
        width: int ≥ 1, pixels.
        size: int ≥ 1, of the text, in pixels.
        unit: str, after the last number.

    Returns:
        uint8 `(H, width, 3)`: the scale with numbers below it.

    Raises:
        ValueError: unless `0 < low < high`.

    Example:

    >>> color_bar(0.5, 10.0).shape
    (46, 256, 3)
    """
    low = _check.number(low, "low", above=0)
    high = _check.number(high, "high", above=low)
    width, size = _check.integer(width, "width", low=1), _check.integer(size, "size", low=1)
    margin = 7
    bar, inner = size + 2, width - 2 * margin
    drawing = np.full((bar + 2 * margin + size + 2, width, 3), PAPER, np.uint8)
    scale = draw_depth(np.geomspace(low, high, inner)[None], low=low, high=high)
    drawing[margin : margin + bar, margin : margin + inner] = scale
    ticks = _ticks(low, high)
    texts = [f"{value:g}" for value in ticks[:-1]] + [f"{ticks[-1]:g} {unit}"]
    free, shown = width, []
    for value, text in zip(reversed(ticks), reversed(texts), strict=True):
        x = margin + (inner - 1) * math.log(value / low) / math.log(high / low)
        half = text_width(text, size) / 2
        middle = min(max(x, half + 1), width - half - 1)
        if middle + half <= free:  # the last one, with the unit, always fits
            free = middle - half - size / 2
            shown.append((middle, text))
            drawing[margin + bar : margin + bar + 3, round(x)] = INK
    for middle, text in shown:
        drawing = write(drawing, text, (middle, margin + bar + 4), size, anchor="ma")
    return drawing


def _ticks(low, high):
    """Round numbers from low to high: 1, 2, 5 per decade, more if those are fewer than three."""
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), np.arange(10, 100) / 10):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [s * 10.0**d for d in decades for s in steps]
        ticks = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            return ticks
    return [low, high]


def normals_legend(size: int = 128) -> Array:
    """Legend of the colors of `normals`: a ball that shows the color of each direction.

    Args:
        size: int ≥ 1, pixels.

    Returns:
        uint8 `(size, size, 3)`, white around the ball.

    Raises:
        ValueError: if `size` is below 1.

    Example:

    >>> normals_legend(65)[32, 32].tolist()  # towards the camera
    [128, 128, 255]
    """
    size = _check.integer(size, "size", low=1)
    place = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = place[None, :], place[:, None]
    squared = x**2 + y**2
    ball = np.stack(np.broadcast_arrays(x, y, -np.sqrt(np.maximum(1 - squared, 0))), axis=-1)
    return np.where((squared < 1)[..., None], normal_colors(ball), np.uint8(PAPER))


def point_cloud(
    depth: ArrayLike,
    image: ArrayLike,
    intrinsics: ArrayLike,
    *,
    yaw: float = 25.0,
    pitch: float = 15.0,
    size: tuple[int, int] | None = None,
    background: Sequence[int] = PAPER,
) -> Array:
    """Points of a depth map in the colors of the image, seen from another viewpoint.

    The view turns about the middle of the points and is scaled so that they fill it. Near points
    hide far ones; the gaps, which the camera did not see, show the background.

    Args:
        depth: `(H, W)` or `(H, W, 1)`, meters. Depth that is not finite or <= 0 is left out.
        image: `(H, W, 3)`, 0 to 255.
        intrinsics: `(3, 3)`, in pixels of the depth map.
        yaw: float, degrees that the viewpoint moves to the right.
        pitch: float, degrees that the viewpoint moves up.
        size: `(height, width)` of the drawing; default: the size of the image.
        background: RGB.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: if shapes do not fit, or `size` is below 1.

    Example:

    >>> wall, gray = np.full((24, 32), 2.0), np.full((24, 32, 3), 90, "uint8")
    >>> point_cloud(wall, gray, [[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]).shape
    (24, 32, 3)
    """
    depth, image = as_meters(depth, "depth"), rgb(image)
    intrinsics = as_array(intrinsics, "intrinsics").astype(float)
    if intrinsics.shape != (3, 3):
        raise ValueError(f"`intrinsics` must have shape (3, 3). Received: {intrinsics.shape}")
    if depth.shape != image.shape[:2]:
        raise ValueError(
            "`depth` and `image` must have the same height and width. "
            f"Received: {depth.shape} and {image.shape[:2]}"
        )
    height, width = _check.pair(image.shape[:2] if size is None else size, "size")
    drawing = np.full((height, width, 3), background, np.uint8)
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        return drawing

    v, u = np.mgrid[: depth.shape[0], : depth.shape[1]]
    z = np.where(known, depth, 0)[..., None]
    points = z * (np.stack([u, v, np.ones_like(u)], 2) @ np.linalg.inv(intrinsics).T)
    apart = _spacing(points, known, z / np.sqrt(abs(np.linalg.det(intrinsics[:2, :2]))))[known]
    points, z, colors = points[known], z[known], image[known]
    low, high = np.percentile(points, [2, 98], axis=0)
    distance = 1.5 * np.median(z)
    points = (points - (low + high) / 2) @ _turn(yaw, pitch).T + (0, 0, distance)

    seen = points[:, 2] > 0.05 * distance
    points, colors, apart = points[seen], colors[seen], apart[seen]
    places = points[:, :2] / points[:, 2:]
    low, high = np.percentile(places, [1, 99], axis=0)
    focal = 0.94 * min(np.array([width, height]) / np.maximum(high - low, 1e-9))
    places = (places - (low + high) / 2) * focal + (width / 2, height / 2)
    # Squares that reach the next point, so that surfaces close.
    side = np.clip(np.ceil(1.1 * apart * focal / points[:, 2]), 1, 15).astype(int)
    corner = np.round(places - side[:, None] / 2).astype(int)
    order = np.argsort(-points[:, 2], kind="stable")  # near ones last
    corner, side, colors = corner[order], side[order], colors[order]
    rank = np.full(height * width, -1)
    for dy in range(side.max()):
        for dx in range(side.max()):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            drawn = (side > max(dx, dy)) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
            np.maximum.at(rank, (y * width + x)[drawn], np.flatnonzero(drawn))
    rank = rank.reshape(height, width)
    drawing[rank >= 0] = colors[rank[rank >= 0]]
    return drawing


def _spacing(points, known, pixel):
    """Distance to the next points, `(H, W)`.

    It is the width of a pixel, more on slanted surfaces, but not across an edge.
    """
    apart = pixel[..., 0].copy()
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        step = np.linalg.norm(points[there] - points[here], axis=2)
        surface = known[here] & known[there] & (step < 8 * pixel[here][..., 0])
        apart[here] = np.maximum(apart[here], np.where(surface, step, 0))
    return apart


def _turn(yaw, pitch):
    """Rotation of the points for a viewpoint to the right and above."""
    a, b = math.radians(yaw), math.radians(pitch)
    aside = [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]
    above = [[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]]
    return np.array(above) @ np.array(aside)

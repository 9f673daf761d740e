"""Space in pictures: what colors of depth and normals mean, and points seen from the side."""

import math

import numpy as np

from keras_dense._arrays import as_array
from keras_dense.heads.picture import depth as draw_depth
from keras_dense.plot.arguments import pixels, rgb
from keras_dense.plot.render import normals as draw_normals
from keras_dense.plot.text import INK, PAPER, text_width, write


def color_bar(low, high, width, size=14, unit="m"):
    """What the colors of `depth(meters, low, high)` mean, in meters.

    Args:
        low: float > 0, meters shown brightest.
        high: float > low, meters shown darkest (`depth_limits` tells both).
        width: int, pixels.
        size: int, of the text.
        unit: str, after the last number.

    Returns:
        uint8 `(H, width, 3)`: the scale, with numbers below.

    Raises:
        ValueError: unless `0 < low < high`.

    Example:

    >>> color_bar(0.5, 10.0, 256).shape
    (46, 256, 3)
    """
    if not 0 < low < high < math.inf:
        raise ValueError(f"color_bar: must have 0 < low < high. Received: low={low}, high={high}")
    width, size = pixels(width, "width", "color_bar"), pixels(size, "size", "color_bar")
    margin = 7
    bar, inner = size + 2, width - 2 * margin
    picture = np.full((bar + 2 * margin + size + 2, width, 3), PAPER, np.uint8)
    scale = draw_depth(np.geomspace(low, high, inner)[None], low, high)
    picture[margin : margin + bar, margin : margin + inner] = scale
    ticks = _ticks(low, high)
    texts = [f"{value:g}" for value in ticks[:-1]] + [f"{ticks[-1]:g} {unit}"]
    free, shown = width, []
    for value, text in zip(reversed(ticks), reversed(texts), strict=True):
        x = margin + (inner - 1) * math.log(value / low) / math.log(high / low)
        half = text_width(text, size) / 2
        middle = min(max(x, half + 1), width - half - 1)
        if middle + half <= free:  # the last one, with the unit, is always there
            free = middle - half - size / 2
            shown.append((middle, text))
            picture[margin + bar : margin + bar + 3, round(x)] = INK
    for middle, text in shown:
        picture = write(picture, text, (middle, margin + bar + 4), size, anchor="ma")
    return picture


def _ticks(low, high):
    """Round numbers from low to high: 1, 2, 5 a decade; more where those are fewer than three."""
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), np.arange(10, 100) / 10):
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [s * 10.0**d for d in decades for s in steps]
        ticks = [t for t in ticks if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)]
        if len(ticks) >= 3:
            return ticks
    return [low, high]


def normals_legend(size=128):
    """A ball in the colors of `normals`: which color is which direction.

    Args:
        size: int, pixels.

    Returns:
        uint8 `(size, size, 3)`, white around the ball.

    Raises:
        ValueError: if `size` is not positive.

    Example:

    >>> normals_legend(65)[32, 32].tolist()  # towards the camera
    [128, 128, 255]
    """
    size = pixels(size, "size", "normals_legend")
    place = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(place, place)
    squared = x**2 + y**2
    ball = np.stack([x, y, -np.sqrt(np.maximum(1 - squared, 0))], axis=-1)
    return np.where((squared < 1)[..., None], draw_normals(ball), np.uint8(PAPER))


def point_cloud(depth, image, intrinsics, *, yaw=25.0, pitch=15.0, size=None, background=PAPER):
    """The points of a depth map in the image's colors, seen from another place.

    The view turns about the middle of the points and is framed so that they fill it. Near points
    hide far ones; between them, where the camera saw nothing, is background.

    Args:
        depth: `(H, W)` or `(H, W, 1)`, meters; not finite or <= 0 is left out.
        image: `(H, W, 3)`, 0 to 255.
        intrinsics: `(3, 3)`, in pixels of the depth map.
        yaw: float, degrees: from how far to the right the points are seen.
        pitch: float, degrees: from how far above.
        size: `(height, width)` of the picture; that of the image unless given.
        background: RGB.

    Returns:
        uint8 `(height, width, 3)`.

    Raises:
        ValueError: if shapes do not fit.

    Example:

    >>> wall, gray = np.full((24, 32), 2.0), np.full((24, 32, 3), 90, "uint8")
    >>> point_cloud(wall, gray, [[30, 0, 15.5], [0, 30, 11.5], [0, 0, 1]]).shape
    (24, 32, 3)
    """
    depth = as_array(depth, "point_cloud: depth").astype(float)
    image = rgb(image, "point_cloud")
    if depth.ndim == 3 and depth.shape[2] == 1:
        depth = depth[..., 0]
    intrinsics = as_array(intrinsics, "point_cloud: intrinsics").astype(float)
    if depth.shape != image.shape[:2] or intrinsics.shape != (3, 3):
        raise ValueError(
            "point_cloud: depth and image must have one height and width, intrinsics shape (3, 3). "
            f"Received: depth {depth.shape}, image {image.shape}, intrinsics {intrinsics.shape}"
        )
    size = image.shape[:2] if size is None else size
    height, width = (pixels(n, "size", "point_cloud") for n in size)
    picture = np.full((height, width, 3), background, np.uint8)
    known = np.isfinite(depth) & (depth > 0)
    if not known.any():
        return picture

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
    order = np.argsort(-points[:, 2], kind="stable")  # near ones are painted last
    corner, side, colors = corner[order], side[order], colors[order]
    rank = np.full(height * width, -1)
    for dy in range(side.max()):
        for dx in range(side.max()):
            x, y = corner[:, 0] + dx, corner[:, 1] + dy
            drawn = (side > max(dx, dy)) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
            np.maximum.at(rank, (y * width + x)[drawn], np.flatnonzero(drawn))
    rank = rank.reshape(height, width)
    picture[rank >= 0] = colors[rank[rank >= 0]]
    return picture


def _spacing(points, known, pixel):
    """How far the next points are, `(H, W)`: a pixel's width, more where the surface is slanted,
    but not across an edge."""
    apart = pixel[..., 0].copy()
    for here, there in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        step = np.linalg.norm(points[there] - points[here], axis=2)
        surface = known[here] & known[there] & (step < 8 * pixel[here][..., 0])
        apart[here] = np.maximum(apart[here], np.where(surface, step, 0))
    return apart


def _turn(yaw, pitch):
    """What turns points so that they are seen from the right, and from above."""
    a, b = math.radians(yaw), math.radians(pitch)
    aside = [[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]]
    above = [[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]]
    return np.array(above) @ np.array(aside)

"""Convex solids, and the points where rays enter them.

A solid is the set of points inside a quadric and behind planes, in its own frame:

    x² + z² + w (y + s)² <= rho    and    n_i · p <= k_i

Its axis is y and its tip (y down!) is at -h. A ray satisfies each condition on an interval, and is
inside the solid on the intersection of these intervals.
"""

import dataclasses

import numpy as np

from keras_dense import _check
from keras_dense._types import Array

KINDS = ("sphere", "box", "cylinder", "cone", "pyramid")


@dataclasses.dataclass
class Solid:
    """A convex solid of one of `KINDS`, placed in the world.

    Attributes:
        kind: str.
        rotation: (3, 3), columns are the axes of the solid in the world.
        center: (3,), origin of its frame in the world.
        radius: float, radius of the smallest sphere around `center` that contains it.
        quadric: `(w, s, rho)` or `None`.
        normals: (P, 3), normals of the planes.
        offsets: (P,), offsets of the planes.
    """

    kind: str
    rotation: Array
    center: Array
    radius: float
    quadric: tuple | None
    normals: Array
    offsets: Array


def make_solid(
    kind: str,
    half_width: float,
    half_height: float,
    half_depth: float,
    rotation: Array,
    x: float,
    z: float,
) -> Solid:
    """Make a solid that touches the ground (y = 0) at `(x, z)` with any rotation."""
    r, h, d = half_width, half_height, half_depth
    ends = np.array([[0, 1, 0], [0, -1, 0]], float)
    quadric, normals, offsets = None, ends, np.array([h, h])
    axis = rotation[1, 1]
    rim = r * np.sqrt(max(0.0, 1 - axis * axis))
    if kind == "sphere":
        quadric, normals, offsets = (1.0, 0.0, r * r), np.zeros((0, 3)), np.zeros(0)
        lowest, radius = r, r
    elif kind == "cylinder":
        quadric = (0.0, 0.0, r * r)
        lowest, radius = abs(axis) * h + rim, np.hypot(r, h)
    elif kind == "cone":
        quadric = (-((r / (2 * h)) ** 2), h, 0.0)
        lowest, radius = max(axis * h + rim, -axis * h), np.hypot(r, h)
    elif kind == "box":
        normals = np.concatenate([np.eye(3), -np.eye(3)])
        offsets = np.array([r, h, d, r, h, d])
        lowest, radius = np.abs(rotation[1]) @ (r, h, d), np.sqrt(r * r + h * h + d * d)
    elif kind == "pyramid":
        a, b = r / (2 * h), d / (2 * h)
        sides = np.array([[1, -a, 0], [-1, -a, 0], [0, -b, 1], [0, -b, -1]])
        length = np.linalg.norm(sides, axis=1)
        normals = np.concatenate([ends[:1], sides / length[:, None]])
        offsets = np.array([h, *(np.array([a, a, b, b]) * h / length)])
        corners = np.array([[0, -h, 0], [r, h, d], [-r, h, d], [r, h, -d], [-r, h, -d]])
        lowest, radius = (corners @ rotation[1]).max(), np.sqrt(r * r + h * h + d * d)
    else:
        raise _check.fail("kind", f"one of {KINDS}", kind)
    center = np.array([x, -lowest, z])
    return Solid(kind, rotation, center, float(radius), quadric, normals, offsets)


def near(solid: Solid, origin: Array, direction: Array, squared_length: Array | float) -> Array:
    """Return a mask of the rays that meet the bounding sphere of a solid."""
    to = solid.center - origin
    along = np.einsum("...i,...i->...", direction, to)
    gap = np.einsum("...i,...i->...", to, to) - solid.radius**2
    return ((along > 0) | (gap < 0)) & (along * along >= squared_length * gap)


def enter(solid: Solid, origin: Array, direction: Array) -> tuple[Array, Array]:
    """Find the points where rays enter a solid from outside.

    Args:
        solid: a `Solid`.
        origin: (3,) or (N, 3).
        direction: (N, 3) or (3,).

    Returns:
        `(t, face)`: the parameters of the rays, `inf` if a ray misses or starts inside, and the
        surface that they cross (0.. = plane, -1 = quadric).
    """
    o = (origin - solid.center) @ solid.rotation
    d = direction @ solid.rotation
    count = len(origin) if origin.ndim == 2 else len(direction)
    first, last = np.full(count, -np.inf), np.full(count, np.inf)
    face: Array = np.full(count, -1, np.int8)
    if solid.quadric is not None:
        first, last = _inside_quadric(solid.quadric, o, d)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, (normal, offset) in enumerate(zip(solid.normals, solid.offsets, strict=True)):
            slope = d @ normal
            t = (offset - o @ normal) / slope
            into = (slope < 0) & (t > first)
            first = np.where(into, t, first)
            face[np.broadcast_to(into, count)] = i
            last = np.where((slope > 0) & (t < last), t, last)
    hit = (first < last) & (first > 1e-9)
    return np.where(hit, first, np.inf), face


def _inside_quadric(quadric: tuple, o: Array, d: Array) -> tuple[Array, Array]:
    """Return the interval of each ray inside a sphere, cylinder or the lower half of a cone."""
    w, s, rho = quadric
    ox, oy, oz = o[..., 0], o[..., 1] + s, o[..., 2]
    dx, dy, dz = d[..., 0], d[..., 1], d[..., 2]
    a = dx * dx + dz * dz + w * dy * dy
    b = ox * dx + oz * dz + w * oy * dy
    c = ox * ox + oz * oz + w * oy * oy - rho
    a = np.where(np.abs(a) < 1e-12, 1e-12, a)
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0))
    t0, t1 = (-b - root) / a, (-b + root) / a
    first, last = np.minimum(t0, t1), np.maximum(t0, t1)
    if w < 0:
        # A ray steeper than the cone is inside both halves: keep the interval of the lower one.
        steep = a < 0
        first, last = (
            np.where(steep, np.where(dy > 0, last, -np.inf), first),
            np.where(steep, np.where(dy > 0, np.inf, first), last),
        )
    return np.where(discriminant > 0, first, np.inf), np.where(discriminant > 0, last, -np.inf)


def surface(solid: Solid, points: Array, face: Array) -> tuple[Array, Array]:
    """Return outward unit normals in the world, and the points in the frame of the solid."""
    local = (points - solid.center) @ solid.rotation
    if solid.quadric is None:
        normal = solid.normals[face]
    else:
        w, s, _ = solid.quadric
        normal = local * (1, w, 1) + (0, w * s, 0)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        flat = face >= 0
        if flat.any():
            normal[flat] = solid.normals[face[flat]]
    return normal @ solid.rotation.T, local

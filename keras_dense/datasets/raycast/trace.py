"""Intersections of rays with a world, and their colors."""

import numpy as np

from keras_dense._types import Array
from keras_dense.datasets.raycast.shade import albedo
from keras_dense.datasets.raycast.solids import enter, near, surface
from keras_dense.datasets.raycast.world import World

SKY, GROUND, WALL, SOLID = -1, 0, 1, 3  # values of `thing`; walls are 1 and 2, solids 3 and up


def cast(world: World, direction: Array) -> tuple[Array, Array, Array]:
    """Find the first object on each ray from the camera.

    Args:
        world: a `World`.
        direction: (N, 3), in the world.

    Returns:
        `(t, thing, face)`: the parameter of the ray (inf = sky); -1 sky, 0 ground, 1 and 2 the
        walls, 3 and up the solids; the plane of the solid, -1 for its quadric.
    """
    count = len(direction)
    origin = world.camera
    thing: Array = np.full(count, SKY, np.int8)
    face: Array = np.full(count, -1, np.int8)
    with np.errstate(divide="ignore"):
        t = np.where(direction[:, 1] > 0, -origin[1] / direction[:, 1], np.inf)
        thing[t < np.inf] = GROUND
        for i, (*normal, offset) in enumerate(world.walls):
            slope = direction @ normal
            here = np.where(slope < 0, (offset - np.dot(origin, normal)) / slope, np.inf)
            # Behind a wall there is only sky, visible above it.
            behind = here < t
            seen = behind & (origin[1] + here * direction[:, 1] > -world.wall_height)
            t = np.where(behind, here, t)
            thing[behind] = SKY
            thing[seen] = WALL + i
    t[thing == SKY] = np.inf
    squared = np.einsum("ij,ij->i", direction, direction)
    for i, solid in enumerate(world.solids):
        rays = np.flatnonzero(near(solid, origin, direction, squared))
        if not len(rays):
            continue
        here, side = enter(solid, origin, direction[rays])
        nearer = here < t[rays]
        rays = rays[nearer]
        t[rays], thing[rays], face[rays] = here[nearer], SOLID + i, side[nearer]
    return t, thing, face


def describe(
    world: World, direction: Array, t: Array, thing: Array, face: Array
) -> tuple[Array, Array, Array]:
    """Return points, unit normals, and points in the frames of the objects, (N, 3) each.

    Normals face the camera. Rays to the sky have zeros.
    """
    known = thing != SKY
    points = np.zeros_like(direction)
    points[known] = world.camera + t[known, None] * direction[known]
    normals, local = np.zeros_like(points), points.copy()
    normals[thing == GROUND] = (0, -1, 0)
    for i, wall in enumerate(world.walls):
        normals[thing == WALL + i] = wall[:3]
    for i, solid in enumerate(world.solids):
        here = np.flatnonzero(thing == SOLID + i)
        if len(here):
            normals[here], local[here] = surface(solid, points[here], face[here])
    return points, normals, local


def sunlit(world: World, points: Array, normals: Array, thing: Array) -> tuple[Array, Array]:
    """Return which points the sun reaches, and about which part of the sky they see."""
    to_sun = world.light.to_sun
    lit = (thing != SKY) & (normals @ to_sun > 0)
    open_sky = np.ones(len(points))
    start = points + 1e-6 * normals
    for *normal, offset in world.walls:
        slope = np.dot(to_sun, normal)
        if slope < 0:
            t = (offset - start @ normal) / slope
            lit &= (t <= 0) | (start[:, 1] + t * to_sun[1] < -world.wall_height)
    for i, solid in enumerate(world.solids):
        own = thing == SOLID + i
        rays = np.flatnonzero(lit & near(solid, start, to_sun, 1.0) & ~own)
        if len(rays):
            t, _ = enter(solid, start[rays], to_sun)
            lit[rays[t < np.inf]] = False
        # A sphere of this size hides about this part of the sky.
        to = solid.center - points
        squared = np.einsum("ij,ij->i", to, to)
        facing = np.einsum("ij,ij->i", to, normals)
        size = 0.6 * solid.radius**2
        hidden = np.clip(facing, 0, None) * size / np.maximum(squared, size) ** 1.5
        open_sky *= np.where(own, 1, 1 - 0.75 * np.clip(hidden, 0, 1))
    # The lower part of objects on the ground sees less of it.
    low = np.clip(1 + points[:, 1] / 0.5, 0, 1) * (thing > GROUND)
    return lit, open_sky * (1 - 0.35 * low)


def paint(
    world: World, direction: Array, t: Array, thing: Array, face: Array, focal: float
) -> tuple[Array, Array, Array]:
    """Return the colors along rays, linear RGB (N, 3), the normals, and the mask of sunlight."""
    points, normals, local = describe(world, direction, t, thing, face)
    lit, open_sky = sunlit(world, points, normals, thing)
    length = np.linalg.norm(direction, axis=1)
    view = direction / length[:, None]
    color = np.empty_like(direction)
    sky = thing == SKY
    color[sky] = world.light.sky(view[sky])
    base = np.zeros_like(direction)
    gloss = np.zeros(len(direction))
    distance = np.where(sky, 0, t) * length
    flat = np.abs(np.einsum("ij,ij->i", view, normals))
    footprint = distance / focal / np.maximum(flat, 0.05)
    walls = len(world.walls)
    for part in np.unique(thing[~sky]):
        here = np.flatnonzero(thing == part)
        material = world.materials[part if part < SOLID else part - SOLID + 1 + walls]
        base[here] = albedo(material, local[here], footprint[here])
        gloss[here] = material.gloss
    known = np.flatnonzero(~sky)
    seen = world.light.shade(
        base[known], normals[known], view[known], lit[known], open_sky[known], gloss[known]
    )
    # Haze.
    clear = np.exp(-distance[known] / 90)[:, None]
    color[known] = clear * seen + (1 - clear) * world.light.horizon
    return color, normals, lit

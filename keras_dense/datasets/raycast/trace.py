"""What each ray meets, and what it looks like."""

import numpy as np

from keras_dense.datasets.raycast.shade import albedo
from keras_dense.datasets.raycast.solids import enter, near, surface

SKY, GROUND, WALL, SOLID = -1, 0, 1, 3  # of `thing`; walls are 1 and 2, solids 3 and up


def cast(world, direction):
    """The first thing on each ray from the camera.

    Args:
        direction: (N, 3), in the world.

    Returns:
        `(t, thing, face)`: the ray's parameter (inf = sky); -1 sky, 0 ground, 1 and 2 the walls,
        3 and up the solids; the solid's plane that is met.
    """
    count = len(direction)
    origin = world.camera
    thing, face = np.full(count, SKY, np.int8), np.full(count, -1, np.int8)
    with np.errstate(divide="ignore"):
        t = np.where(direction[:, 1] > 0, -origin[1] / direction[:, 1], np.inf)
        thing[t < np.inf] = GROUND
        for i, (*normal, offset) in enumerate(world.walls):
            slope = direction @ normal
            here = np.where(slope < 0, (offset - np.dot(origin, normal)) / slope, np.inf)
            # Behind a wall there is nothing but sky, above it.
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


def describe(world, direction, t, thing, face):
    """Points, unit normals towards the camera, and points in the things' frames, (N, 3) each.

    Rays to the sky have zeros.
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


def sunlit(world, points, normals, thing):
    """Which points the sun reaches, and how much of the sky they see (about)."""
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
        # A ball of its size hides about this part of the sky.
        to = solid.center - points
        squared = np.einsum("ij,ij->i", to, to)
        facing = np.einsum("ij,ij->i", to, normals)
        size = 0.6 * solid.radius**2
        hidden = np.clip(facing, 0, None) * size / np.maximum(squared, size) ** 1.5
        open_sky *= np.where(own, 1, 1 - 0.75 * np.clip(hidden, 0, 1))
    # The lower part of what stands on the ground sees less.
    low = np.clip(1 + points[:, 1] / 0.5, 0, 1) * (thing > GROUND)
    return lit, open_sky * (1 - 0.35 * low)


def paint(world, direction, t, thing, face, focal):
    """The colors along rays, linear RGB (N, 3); also the normals and what is lit."""
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
    # A little air between.
    clear = np.exp(-distance[known] / 90)[:, None]
    color[known] = clear * seen + (1 - clear) * world.light.horizon
    return color, normals, lit

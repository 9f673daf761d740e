"""Random worlds: ground, walls, solids and a sun."""

import dataclasses

import numpy as np

from keras_dense._types import Array
from keras_dense.datasets.raycast.shade import Light, Material, random_material
from keras_dense.datasets.raycast.solids import KINDS, Solid, make_solid

# Walls close the view, so no pixel is farther than this.
MAX_DEPTH = 25.0


@dataclasses.dataclass
class World:
    """Contents of a scene.

    Attributes:
        camera: (3,), position of the camera.
        rotation: (3, 3), columns are the axes of the camera in the world.
        solids: list of `Solid`.
        walls: (W, 4), planes `n · p = k` on the ground, with `n` level and towards the camera.
        wall_height: float, meters.
        materials: list of `Material`, for the ground, the walls and the solids, in this order.
        light: `Light`.
    """

    camera: Array
    rotation: Array
    solids: list[Solid]
    walls: Array
    wall_height: float
    materials: list[Material]
    light: Light


def _rotation(axis: int, angle: float) -> Array:
    """Return the rotation by `angle` about coordinate axis 0, 1 or 2."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i] = np.sin(angle)
    matrix[i, j] = -matrix[j, i]
    return matrix


def random_world(rng: np.random.Generator, objects: tuple[int, int], half_fov: float) -> World:
    """Draw a world.

    Args:
        rng: `numpy.random.Generator`.
        objects: pair of ints, the fewest and the most solids.
        half_fov: float, tangent of half the horizontal field of view.
    """
    camera = np.array([0.0, -rng.uniform(1.3, 2.6), 0.0])
    pitch, roll = rng.uniform(0.06, 0.30), rng.normal(0, 0.03)
    rotation = _rotation(0, -pitch) @ _rotation(2, roll)

    # One wall across, or two that meet in a corner; never seen at a very shallow angle.
    distance = rng.uniform(7, 11)
    yaws = [rng.uniform(-0.35, 0.35)] if rng.random() < 0.5 else [-0.7, 0.7]
    yaws = np.array(yaws) + rng.uniform(-0.1, 0.1)
    walls = np.stack([np.sin(yaws), 0 * yaws, -np.cos(yaws), 0 * yaws - distance], axis=1)
    if len(walls) == 2:
        walls[:, 3] *= np.cos(0.7)

    wanted = int(rng.integers(objects[0], objects[1] + 1))
    solids = _place_solids(rng, wanted, distance, walls, half_fov)
    materials = [random_material(rng, scale=s, vivid=0.45) for s in [1.0] + [1.5] * len(walls)]
    materials += [random_material(rng, scale=0.5, gloss=True) for _ in solids]
    return World(
        camera=camera,
        rotation=rotation,
        solids=solids,
        walls=walls,
        wall_height=rng.uniform(1.8, 4.2),
        materials=materials,
        light=Light.random(rng),
    )


def _place_solids(
    rng: np.random.Generator, wanted: int, distance: float, walls: Array, half_fov: float
) -> list[Solid]:
    """Place up to `wanted` solids that do not touch each other or the walls."""
    solids: list[Solid] = []
    for _ in range(12 * wanted):
        if len(solids) == wanted:
            break
        # About uniform over the visible ground, whose width grows with z.
        z = np.sqrt(rng.uniform(3.0**2, (distance - 0.8) ** 2))
        x = rng.uniform(-0.9, 0.9) * z * half_fov
        kind = KINDS[rng.integers(len(KINDS))]
        r, d = rng.uniform(0.3, 0.8, 2)
        h = rng.uniform(0.3, 0.9)
        if kind == "cone" or kind == "pyramid":
            h = rng.uniform(0.45, 1.0)
        turn = _rotation(1, rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.35:
            turn = turn @ _rotation(2, rng.choice([np.pi / 2, rng.uniform(-np.pi, np.pi)]))
        solid = make_solid(kind, r, h, d, turn, x, z)
        clear = walls[:, :3] @ solid.center - walls[:, 3]
        gaps = [
            np.hypot(*(s.center - solid.center)[[0, 2]]) - 0.85 * (s.radius + solid.radius)
            for s in solids
        ]
        if min(clear) > solid.radius and min(gaps, default=1) > 0:
            solids.append(solid)
    return solids

"""A random yard: ground, walls, solids that stand about, and a sun."""

import dataclasses

import numpy as np

from keras_dense.datasets.raycast.shade import Light, random_material
from keras_dense.datasets.raycast.solids import KINDS, make_solid

# No pixel is farther than this: walls close the view.
MAX_DEPTH = 25.0


@dataclasses.dataclass
class World:
    """What there is.

    Attributes:
        camera: (3,), its position; `rotation`: (3, 3), columns are its axes in the world.
        solids: list of `Solid`.
        walls: (W, 4): `n · p = k` with `n` level and towards the camera; they stand on the ground.
        wall_height: float.
        materials: those of the ground, of the walls, of the solids, in this order.
        light: `Light`.
    """

    camera: np.ndarray
    rotation: np.ndarray
    solids: list
    walls: np.ndarray
    wall_height: float
    materials: list
    light: Light


def _turn(axis, angle):
    """Rotation by `angle` about coordinate axis 0, 1 or 2."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[j, i] = np.sin(angle)
    matrix[i, j] = -matrix[j, i]
    return matrix


def random_world(rng, objects, half_fov):
    """Draw a world.

    Args:
        rng: `numpy.random.Generator`.
        objects: `(fewest, most)` solids.
        half_fov: float, the tangent of half the horizontal field of view.
    """
    camera = np.array([0.0, -rng.uniform(1.3, 2.6), 0.0])
    pitch, roll = rng.uniform(0.06, 0.30), rng.normal(0, 0.03)
    rotation = _turn(0, -pitch) @ _turn(2, roll)

    # One wall across, or two that meet in a corner; never seen at a very flat angle.
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


def _place_solids(rng, wanted, distance, walls, half_fov):
    solids = []
    for _ in range(12 * wanted):
        if len(solids) == wanted:
            break
        # Uniform over the ground that is seen, nearly: width grows with z.
        z = np.sqrt(rng.uniform(3.0**2, (distance - 0.8) ** 2))
        x = rng.uniform(-0.9, 0.9) * z * half_fov
        kind = KINDS[rng.integers(len(KINDS))]
        r, d = rng.uniform(0.3, 0.8, 2)
        h = rng.uniform(0.3, 0.9)
        if kind == "cone" or kind == "pyramid":
            h = rng.uniform(0.45, 1.0)
        turn = _turn(1, rng.uniform(0, 2 * np.pi))
        if rng.random() < 0.35:
            turn = turn @ _turn(2, rng.choice([np.pi / 2, rng.uniform(-np.pi, np.pi)]))
        solid = make_solid(kind, r, h, d, turn, x, z)
        clear = walls[:, :3] @ solid.center - walls[:, 3]
        gaps = [
            np.hypot(*(s.center - solid.center)[[0, 2]]) - 0.85 * (s.radius + solid.radius)
            for s in solids
        ]
        if min(clear) > solid.radius and min(gaps, default=1) > 0:
            solids.append(solid)
    return solids

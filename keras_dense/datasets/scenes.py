"""Rendered scenes of solids: images, labels, exact depth and normals, without a download."""

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Sample, Size
from keras_dense.datasets.raycast.shade import develop
from keras_dense.datasets.raycast.trace import SKY, cast, paint
from keras_dense.datasets.raycast.world import MAX_DEPTH, World, random_world
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.samples import Samples

CLASSES = {
    "sky": (135, 190, 235),
    "ground": (150, 150, 140),
    "wall": (165, 110, 80),
    "sphere": (230, 60, 60),
    "box": (250, 190, 40),
    "cylinder": (70, 170, 80),
    "cone": (60, 90, 220),
    "pyramid": (190, 70, 200),
}
SPLITS = ("train", "val", "test")

# Tangent of half the horizontal field of view, which is 62 degrees.
HALF_FOV = 0.6


class Scenes(Samples):
    """Map-style data set of rendered scenes; see `scenes`."""

    name = "scenes"
    ignore_class = VOID
    max_depth = MAX_DEPTH

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        split: str,
        seed: int,
        objects: tuple[int, int],
        antialias: bool,
    ) -> None:
        self.count = count
        self.size = size
        self.split = split
        self.seed = seed
        self.objects = objects
        self.antialias = antialias
        self.class_names = list(CLASSES)
        self.num_classes = len(CLASSES)
        self.palette = np.array(list(CLASSES.values()), np.uint8)
        height, width = size
        focal = width / 2 / HALF_FOV
        self.intrinsics = np.array(
            [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
        )

    def __len__(self) -> int:
        return self.count

    def __repr__(self) -> str:
        height, width = self.size
        return f"<scenes, split={self.split!r}: {self.count} of {height} x {width}>"

    def describe(self, index: int) -> str:
        """Return a description of a sample, for messages."""
        return f"scenes, split={self.split!r}, seed={self.seed}"

    def world(self, index: int) -> World:
        """Return the `World` of sample `index`."""
        if not -self.count <= index < self.count:
            raise IndexError(f"scenes: sample {index} of {self.count}")
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index % self.count))
        return random_world(rng, self.objects, HALF_FOV)

    def _rays(self, world: World, x: Array, y: Array) -> Array:
        """Return world directions through image points, with z = 1 in the frame of the camera."""
        focal, cx, cy = self.intrinsics[0, 0], self.intrinsics[0, 2], self.intrinsics[1, 2]
        inside = np.stack([(x - cx) / focal, (y - cy) / focal, np.ones_like(x)], axis=-1)
        return inside @ world.rotation.T

    def __getitem__(self, index: int) -> Sample:
        world = self.world(index)
        focal = self.intrinsics[0, 0]
        height, width = self.size
        y, x = (a.ravel().astype(float) for a in np.mgrid[:height, :width])
        direction = self._rays(world, x, y)
        t, thing, face = cast(world, direction)
        color, normals, lit = paint(world, direction, t, thing, face, focal)
        if self.antialias:
            edge = _edges(np.stack([thing, face, lit]).reshape(3, height, width))
            for part, (dx, dy) in enumerate(((-0.25, -0.125), (0.25, 0.125), (-0.125, 0.25))):
                rays = self._rays(world, x[edge] + dx, y[edge] + dy)
                hits = cast(world, rays)
                more, _, _ = paint(world, rays, hits[0], hits[1], hits[2], focal)
                color[edge] += (more - color[edge]) / (part + 2)
        kinds = [solid.kind for solid in world.solids]
        names = ["sky", "ground", "wall", "wall", *kinds]  # in the order of `thing`, from SKY
        classes = np.array([self.class_names.index(name) for name in names], np.uint8)
        depth = np.where(thing == SKY, 0, t).astype(np.float32)
        return {
            "image": develop(color).reshape(height, width, 3),
            "segmentation": classes[thing - SKY].reshape(height, width),
            "depth": depth.reshape(height, width, 1),
            "normals": (normals @ world.rotation).astype(np.float32).reshape(height, width, 3),
            "intrinsics": self.intrinsics.astype(np.float32),
        }


def _edges(parts: Array) -> Array:
    """Return indices of the pixels that differ from a direct neighbor."""
    edge = np.zeros(parts.shape[1:], bool)
    across = (parts[:, :, 1:] != parts[:, :, :-1]).any(0)
    down = (parts[:, 1:] != parts[:, :-1]).any(0)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return np.flatnonzero(edge)


def scenes(
    count: int = 1000,
    size: Size = (128, 128),
    split: str = "train",
    *,
    seed: int = 0,
    objects: tuple[int, int] = (3, 8),
    antialias: bool = True,
) -> Scenes:
    """Render scenes: image, labels, metric depth and unit normals, exact at each pixel center.

    Solids of five kinds stand, lie or lean in a walled yard under a sun: 8 classes (sky, ground,
    wall, sphere, box, cylinder, cone, pyramid). Colors and patterns are random and independent of
    the class, so only shape and shading distinguish the classes.

    The camera is a pinhole with square pixels and a horizontal field of view of 62 degrees, the
    same in all scenes: `ds.intrinsics` is its 3 x 3 matrix, with the center of the pixel in row v,
    column u at `(u, v)`. A pixel shows the point `depth * inv(intrinsics) @ (u, v, 1)`. Nothing is
    farther than `ds.max_depth` meters; the sky has depth 0 and normals 0, which mean unknown.

    Sample `i` depends only on `(seed, split, i)` and the arguments: it is the same in any order and
    on any machine, and splits never share a scene.

    Args:
        count: int >= 1, number of scenes.
        size: int or pair of ints `(height, width)`.
        split: `"train"`, `"val"` or `"test"`.
        seed: int >= 0.
        objects: pair of ints `(fewest, most)`, number of solids in a scene; there are fewer if they
            do not fit.
        antialias: bool, whether to smooth edges in the image (never those of labels, depth and
            normals).

    Returns:
        A data set of samples `{"image": uint8 (H, W, 3), "segmentation": uint8 (H, W),
        "depth": float32 (H, W, 1), "normals": float32 (H, W, 3), "intrinsics": float32 (3, 3)}`.

    Raises:
        ValueError: if an argument is out of range.

    Example:

    >>> ds = scenes(count=2, size=(24, 32), split="val")
    >>> sample = ds[1]
    >>> list(sample), sample["normals"].shape
    (['image', 'segmentation', 'depth', 'normals', 'intrinsics'], (24, 32, 3))
    """
    count, seed = _check.integer(count, "count", low=1), _check.integer(seed, "seed", low=0)
    _check.choice(split, "split", SPLITS)
    try:
        fewest, most = (_check.integer(number, "objects", low=0) for number in objects)
        good = fewest <= most <= 100
    except (TypeError, ValueError):
        good = False
    if not good:
        raise _check.fail("objects", "(fewest, most) with 0 <= fewest <= most <= 100", objects)
    antialias = _check.flag(antialias, "antialias")
    return Scenes(count, _check.pair(size, "size"), split, seed, (fewest, most), antialias)

"""A world of solids, drawn exactly: pictures, labels, depth and normals without a download."""

import numpy as np

from keras_dense import _check
from keras_dense.datasets.raycast.shade import develop
from keras_dense.datasets.raycast.trace import SKY, cast, paint
from keras_dense.datasets.raycast.world import MAX_DEPTH, random_world
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.transforms.arguments import size_2d

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

# Half the horizontal field of view, as a tangent: 62 degrees.
HALF_FOV = 0.6


class Scenes:
    """A map-style dataset of drawn scenes; `scenes` makes it, and says all about it."""

    name = "scenes"
    ignore_class = VOID
    max_depth = MAX_DEPTH

    def __init__(self, count, size, split, seed, objects, antialias):
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

    def __len__(self):
        return self.count

    def __repr__(self):
        height, width = self.size
        return f"<scenes, split={self.split!r}: {self.count} of {height} x {width}>"

    def describe(self, index):
        """What sample `index` is, for messages."""
        return f"scenes, split={self.split!r}, seed={self.seed}"

    def world(self, index):
        """The `World` that sample `index` shows."""
        if not -self.count <= index < self.count:
            raise IndexError(f"scenes: sample {index} of {self.count}")
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), index % self.count))
        return random_world(rng, self.objects, HALF_FOV)

    def _rays(self, world, x, y):
        """World directions through image points, z = 1 in the camera's frame."""
        focal, cx, cy = self.intrinsics[0, 0], self.intrinsics[0, 2], self.intrinsics[1, 2]
        inside = np.stack([(x - cx) / focal, (y - cy) / focal, np.ones_like(x)], axis=-1)
        return inside @ world.rotation.T

    def __getitem__(self, index):
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
                more = paint(world, rays, *cast(world, rays), focal)[0]
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


def _edges(parts):
    """Indices of the pixels whose right or lower neighbor shows something else, and of those."""
    edge = np.zeros(parts.shape[1:], bool)
    across = (parts[:, :, 1:] != parts[:, :, :-1]).any(0)
    down = (parts[:, 1:] != parts[:, :-1]).any(0)
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return np.flatnonzero(edge)


def scenes(count=1000, size=(128, 128), split="train", seed=0, *, objects=(3, 8), antialias=True):
    """Drawn scenes: image, labels, metric depth and unit normals, exact at each pixel's center.

    Solids of five kinds, standing, lying or tilted, in a walled yard under a sun: 8 classes (sky,
    ground, wall, sphere, box, cylinder, cone, pyramid). Colors and patterns are drawn without
    regard to the class: what a thing is shows in its shape and shading alone.

    The camera is a pinhole with square pixels and a horizontal field of view of 62 degrees, the
    same in all scenes: `ds.intrinsics` is its 3 x 3 matrix, with the center of the pixel in row v,
    column u at `(u, v)`. A pixel shows the point `depth * inv(intrinsics) @ (u, v, 1)`. Nothing is
    farther than `ds.max_depth` meters; the sky has depth 0 and normals 0, which mean unknown.

    Sample `i` depends on `(seed, split, i)` and the arguments alone: it is the same in any order
    and on any machine, and splits never share a scene.

    Args:
        count: int, how many scenes.
        size: int or `(height, width)`.
        split: `"train"`, `"val"` or `"test"`.
        seed: int >= 0.
        objects: `(fewest, most)` solids in a scene; there may be fewer where they find no room.
        antialias: bool: smooth edges in the image (labels, depth and normals never are).

    Returns:
        A dataset of samples `{"image": uint8 (H, W, 3), "segmentation": uint8 (H, W),
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
    if split not in SPLITS:
        raise ValueError(f"scenes: split must be one of {SPLITS}. Received: split={split!r}")
    try:
        fewest, most = (_check.integer(number, "objects", low=0) for number in objects)
        good = fewest <= most <= 100
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(
            "scenes: objects must be (fewest, most) with 0 <= fewest <= most <= 100. "
            f"Received: objects={objects!r}"
        )
    size = size_2d("scenes", "size", size)
    return Scenes(count, size, split, seed, (fewest, most), bool(antialias))

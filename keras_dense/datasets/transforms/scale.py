"""Other sizes."""

import math

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.sample import check_sample, follow, planes
from keras_dense.datasets.transforms.arguments import is_number, size_2d
from keras_dense.ops.geometry import resize_intrinsics


def nearest(size, new_size):
    """Where half-pixel nearest neighbor reads each of `new_size` cells from among `size`."""
    return np.minimum((np.arange(new_size) + 0.5) * size / new_size, size - 1).astype(int)


def resize_sample(sample, height, width):
    """The image by antialiased bilinear interpolation, all else by nearest neighbor.

    Nearest, so that no class, depth or direction appears that was not there, and none is mixed
    with an unknown one.
    """
    old_height, old_width = sample["image"].shape[:2]
    if (height, width) == (old_height, old_width):
        return sample
    rows, columns = nearest(old_height, height), nearest(old_width, width)
    out = dict(sample)
    for key in planes(sample):
        if key != "image":
            out[key] = sample[key].take(rows, axis=0).take(columns, axis=1)
    image = require("PIL.Image", extra="examples")
    pixels = image.fromarray(np.ascontiguousarray(sample["image"]))
    out["image"] = np.asarray(pixels.resize((width, height), image.Resampling.BILINEAR))
    return follow(out, resize_intrinsics, (old_height, old_width), (height, width))


class Resize:
    """Bring every sample to one size; depth stays what it is.

    All images of a set seen smaller are a camera of another resolution: what the network learns
    for that camera are still meters; `"intrinsics"` become those of that camera. (`RandomScale`
    divides depth: there, one camera is kept.)

    Args:
        size: int or `(height, width)`.
        keep_aspect: if `True`, `size` is what the image must fit into; its shape is kept.

    Raises:
        ValueError: if `size` is not made of positive integers.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.zeros((40, 80, 3), "uint8")}
    >>> Resize(20, keep_aspect=True)(sample)["image"].shape
    (10, 20, 3)
    """

    def __init__(self, size, keep_aspect=False):
        self.size = size_2d("Resize", "size", size)
        self.keep_aspect = bool(keep_aspect)

    def __call__(self, sample, rng=None):
        sample = check_sample(sample, "Resize")
        height, width = self.size
        if self.keep_aspect:
            old_height, old_width = sample["image"].shape[:2]
            ratio = min(height / old_height, width / old_width)
            height = max(1, round(old_height * ratio))
            width = max(1, round(old_width * ratio))
        return resize_sample(sample, height, width)


class RandomScale:
    """Zoom by a random factor `s`; depth is divided by it.

    With one camera, what appears `s` times as large is `s` times as near. Normals stay. The factor
    is drawn log-uniformly: as often above `1 / a` as below `a`.

    `"intrinsics"` become those of the picture's new size, as with `Resize`. So the points of the
    sample are those of a scene that is smaller by `s` as a whole: shapes and angles are what they
    were, and depth and normals go together. (With the old focal length only its relief would be
    flattened by `s`, against the normals.) A network that is told the focal length, and has to
    give meters for it, wants `Resize` and crops instead: a zoom tells it of toys.

    Args:
        low: float, the smallest factor.
        high: float, the largest.

    Raises:
        ValueError: unless `0 < low <= high`.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.zeros((4, 6, 3), "uint8"), "depth": np.full((4, 6, 1), 3.0)}
    >>> zoomed = RandomScale(2, 2)(sample, np.random.default_rng(0))
    >>> zoomed["image"].shape, float(zoomed["depth"].max())
    ((8, 12, 3), 1.5)
    """

    def __init__(self, low=0.5, high=2.0):
        if not (is_number(low) and is_number(high)) or not 0 < low <= high < math.inf:
            raise ValueError(
                f"RandomScale: must have 0 < low <= high. Received: low={low!r}, high={high!r}"
            )
        self.low, self.high = float(low), float(high)

    def __call__(self, sample, rng):
        sample = check_sample(sample, "RandomScale")
        factor = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        height, width = sample["image"].shape[:2]
        new_height, new_width = max(1, round(height * factor)), max(1, round(width * factor))
        out = resize_sample(sample, new_height, new_width)
        if "depth" in out:
            # The factor that the rounded size really has.
            zoom = math.sqrt(new_height / height * new_width / width)
            depth = sample["depth"].dtype.type(zoom)
            out = {**out, "depth": out["depth"] / depth}
        return out

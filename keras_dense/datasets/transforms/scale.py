"""Changes of size."""

import math

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, Sample, Size
from keras_dense.datasets.sample import change_intrinsics, check_sample, pixel_keys
from keras_dense.ops.geometry import resize_intrinsics


def nearest(size: int, new_size: int) -> Array:
    """Indices that half-pixel nearest neighbor reads to turn `size` cells into `new_size`."""
    return np.minimum((np.arange(new_size) + 0.5) * size / new_size, size - 1).astype(int)


def resize_sample(sample: Sample, height: int, width: int) -> Sample:
    """Resize the image by antialiased bilinear interpolation, all else by nearest neighbor.

    Nearest neighbor creates no new class, depth or direction, and mixes none with unknown pixels.
    """
    old_height, old_width = sample["image"].shape[:2]
    if (height, width) == (old_height, old_width):
        return sample
    rows, columns = nearest(old_height, height), nearest(old_width, width)
    out = dict(sample)
    for key in pixel_keys(sample):
        if key != "image":
            out[key] = sample[key].take(rows, axis=0).take(columns, axis=1)
    image = require("PIL.Image", extra="examples")
    pixels = image.fromarray(np.ascontiguousarray(sample["image"]))
    out["image"] = np.asarray(pixels.resize((width, height), image.Resampling.BILINEAR))
    return change_intrinsics(out, resize_intrinsics, (old_height, old_width), (height, width))


class Resize:
    """Resize every sample to one size; depth does not change.

    Resizing all images of a data set is the same as using a camera of another resolution: the
    network still learns meters, and `"intrinsics"` become those of that camera. (`RandomScale`
    divides depth, since it assumes a single camera.)

    Args:
        size: int or pair of ints `(height, width)`.
        keep_aspect: bool, whether to keep the aspect ratio; the image then fits into `size`.

    Raises:
        ValueError: if `size` is not made of positive integers.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.zeros((40, 80, 3), "uint8")}
    >>> Resize(20, keep_aspect=True)(sample)["image"].shape
    (10, 20, 3)
    """

    def __init__(self, size: Size, *, keep_aspect: bool = False) -> None:
        self.size = _check.pair(size, "size")
        self.keep_aspect = _check.flag(keep_aspect, "keep_aspect")

    def __call__(self, sample: Sample, rng: np.random.Generator | None = None) -> Sample:
        sample = check_sample(sample, "Resize")
        height, width = self.size
        if self.keep_aspect:
            old_height, old_width = sample["image"].shape[:2]
            ratio = min(height / old_height, width / old_width)
            height = max(1, round(old_height * ratio))
            width = max(1, round(old_width * ratio))
        return resize_sample(sample, height, width)


class RandomScale:
    """Zoom by a random factor `s`; depth is divided by `s`.

    With the same camera, an object that appears `s` times as large is `s` times as near. Normals
    do not change. The factor is drawn log-uniformly: as often above `1 / a` as below `a`.

    `"intrinsics"` become those of the new image size, as with `Resize`. So the points of the sample
    belong to a scene that is smaller by `s` as a whole: shapes and angles are the same, and depth
    agrees with the normals. (With the old focal length, only the relief would be flattened by `s`,
    and disagree with the normals.) For a network that gets the focal length and must predict
    meters for it, use `Resize` and crops instead: a zoom shows it scenes of the wrong scale.

    Args:
        low: float > 0, the smallest factor.
        high: float >= `low`, the largest factor.

    Raises:
        ValueError: unless `0 < low <= high`.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.zeros((4, 6, 3), "uint8"), "depth": np.full((4, 6, 1), 3.0)}
    >>> zoomed = RandomScale(2, 2)(sample, np.random.default_rng(0))
    >>> zoomed["image"].shape, float(zoomed["depth"].max())
    ((8, 12, 3), 1.5)
    """

    def __init__(self, low: float = 0.5, high: float = 2.0) -> None:
        self.low = _check.number(low, "low", above=0)
        self.high = _check.number(high, "high")
        if self.high < self.low:
            raise _check.fail("high", f"a number >= low={low!r}", high)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "RandomScale")
        factor = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        height, width = sample["image"].shape[:2]
        new_height, new_width = max(1, round(height * factor)), max(1, round(width * factor))
        out = resize_sample(sample, new_height, new_width)
        if "depth" in out:
            # The factor after rounding the size.
            zoom = math.sqrt(new_height / height * new_width / width)
            depth = sample["depth"].dtype.type(zoom)
            out = {**out, "depth": out["depth"] / depth}
        return out

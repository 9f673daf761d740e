"""Turned pictures."""

import math

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.sample import MEAN_COLOR, check_sample, fill_value, follow, planes
from keras_dense.datasets.transforms.arguments import color as checked_color
from keras_dense.datasets.transforms.arguments import is_number
from keras_dense.ops.geometry import warp_intrinsics


class RandomRotation:
    """Turn a sample about its middle; normals turn with it, the corners become void.

    The size stays. The image is read bilinearly, everything else by nearest neighbor. It is the
    camera rolled: depth (along the axis) is unchanged and `(x, y)` of a normal turns by the same
    angle. `"intrinsics"` are what makes this exact: the principal point turns about the middle,
    and pixels that are not square become skewed ones.

    Args:
        degrees: float: angles are drawn uniformly from `[-degrees, degrees]`; or a pair
            `(low, high)`. Positive turns the picture counter-clockwise.
        color: RGB of the image where there is none; labels are 255, depth and normals 0 there.

    Raises:
        ValueError: if `degrees` or `color` is malformed.

    Example:

    >>> import numpy as np
    >>> labels = np.array([[1, 2], [3, 4]], "uint8")
    >>> sample = {"image": np.zeros((2, 2, 3), "uint8"), "segmentation": labels}
    >>> turned = RandomRotation((90, 90))(sample, np.random.default_rng(0))
    >>> turned["segmentation"].tolist()
    [[2, 4], [1, 3]]
    """

    def __init__(self, degrees=10.0, color=MEAN_COLOR):
        pair = (-degrees, degrees) if is_number(degrees) else degrees
        try:
            low, high = pair
            good = is_number(low) and is_number(high) and -math.inf < low <= high < math.inf
        except (TypeError, ValueError):
            good = False
        if not good:
            raise ValueError(
                "RandomRotation: degrees must be a number >= 0 or a pair (low, high). "
                f"Received: degrees={degrees!r}"
            )
        self.low, self.high = float(low), float(high)
        self.color = checked_color("RandomRotation", "color", color)

    def __call__(self, sample, rng):
        sample = check_sample(sample, "RandomRotation")
        angle = math.radians(rng.uniform(self.low, self.high))
        if angle == 0:
            return sample
        cos, sin = math.cos(angle), math.sin(angle)
        height, width = sample["image"].shape[:2]
        # Where an output point, seen from the middle, comes from (y down, edges at 0 and size).
        dx, dy = width / 2, height / 2
        matrix = (cos, -sin, dx - cos * dx + sin * dy, sin, cos, dy - sin * dx - cos * dy)

        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        columns = np.floor(matrix[0] * x + matrix[1] * y + matrix[2] + 1e-9).astype(int)
        rows = np.floor(matrix[3] * x + matrix[4] * y + matrix[5] + 1e-9).astype(int)
        outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
        out = dict(sample)
        for key in planes(sample):
            if key == "image":
                continue
            out[key] = sample[key][rows, columns]
            out[key][outside] = fill_value(key)
        if "normals" in out:
            turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]], out["normals"].dtype)
            out["normals"] = out["normals"] @ turn.T

        image = require("PIL.Image", extra="examples")
        pixels = image.fromarray(np.ascontiguousarray(sample["image"])).transform(
            (width, height),
            image.Transform.AFFINE,
            matrix,
            image.Resampling.BILINEAR,
            fillcolor=self.color,
        )
        out["image"] = np.asarray(pixels)
        # Where an old pixel goes: `matrix` the other way, with pixels' centers at whole numbers.
        x, y = dx - 0.5, dy - 0.5
        moved = [
            [cos, sin, x - cos * x - sin * y],
            [-sin, cos, y + sin * x - cos * y],
            [0, 0, 1],
        ]
        rolled = [[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]
        return follow(out, warp_intrinsics, moved, rolled)

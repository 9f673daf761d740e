"""Random rotation."""

import math
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Sample
from keras_dense.datasets.sample import (
    MEAN_COLOR,
    change_intrinsics,
    check_sample,
    fill_value,
    less_sure,
    pixel_keys,
)
from keras_dense.datasets.transforms.arguments import Color
from keras_dense.datasets.transforms.arguments import color as checked_color
from keras_dense.ops.geometry import warp_intrinsics


class RandomRotation:
    """Rotate a sample about its center; the corners become void, and normals rotate with it.

    The size stays. The image is interpolated bilinearly, everything else by nearest neighbor. This
    is exactly a roll of the camera: depth (along the axis) is unchanged, `(x, y)` of a normal
    rotate by the same angle, and `"intrinsics"` are adapted: the principal point rotates about the
    center, and non-square pixels become skewed.

    Args:
        degrees: float >= 0: angles are drawn uniformly from `[-degrees, degrees]`; or a pair
            `(low, high)`. Positive angles rotate counter-clockwise.
        color: three ints from 0 to 255, RGB of the image outside the original; labels are 255,
            depth and normals 0 there.

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

    def __init__(
        self, degrees: float | tuple[float, float] = 10.0, *, color: Color = MEAN_COLOR
    ) -> None:
        given: Any = degrees
        pair = (-given, given) if _check.is_number(given) else given
        try:
            low, high = (_check.number(value, "degrees") for value in pair)
        except (TypeError, ValueError):
            low, high = 1.0, 0.0
        if low > high:
            raise _check.fail("degrees", "a number >= 0 or a pair (low, high)", degrees)
        self.low, self.high = low, high
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "RandomRotation")
        angle = math.radians(rng.uniform(self.low, self.high))
        if angle == 0:
            return sample
        cos, sin = math.cos(angle), math.sin(angle)
        height, width = sample["image"].shape[:2]
        # Maps an output point to its source (y down, edges at 0 and size).
        dx, dy = width / 2, height / 2
        matrix = (cos, -sin, dx - cos * dx + sin * dy, sin, cos, dy - sin * dx - cos * dy)

        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        columns = np.floor(matrix[0] * x + matrix[1] * y + matrix[2] + 1e-9).astype(int)
        rows = np.floor(matrix[3] * x + matrix[4] * y + matrix[5] + 1e-9).astype(int)
        outside = (columns < 0) | (columns >= width) | (rows < 0) | (rows >= height)
        rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
        out = dict(less_sure(sample))
        for key in pixel_keys(sample):
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
        # Maps an old pixel to its new place: the inverse of `matrix`, pixel centers at integers.
        x, y = dx - 0.5, dy - 0.5
        moved = [
            [cos, sin, x - cos * x - sin * y],
            [-sin, cos, y + sin * x - cos * y],
            [0, 0, 1],
        ]
        rolled = [[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]
        return change_intrinsics(out, warp_intrinsics, moved, rolled)

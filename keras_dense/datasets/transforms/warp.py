"""Warps: affine and elastic, with normals that turn as the image does."""

import math

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Sample
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
from keras_dense.datasets.transforms.gaussian import smoothed
from keras_dense.ops.geometry import warp_intrinsics


def warp_sample(
    sample: Sample, rows: Array, columns: Array, turn: Array | float, color: Color = MEAN_COLOR
) -> Sample:
    """Read every pixel of a sample at another place.

    The image is interpolated bilinearly, everything else by nearest neighbor; pixels from outside
    are unknown. Intrinsics stay as they are.

    Args:
        sample: a sample.
        rows, columns: floats `(H, W)`, places in the source, whose pixels have whole numbers.
        turn: float or `(H, W)`, the angle in radians by which the source is turned against the
            result; normals turn back by it.
        color: RGB of the image outside the source.

    >>> source = {"image": np.zeros((1, 3, 3), "uint8"), "segmentation": np.array([[4, 5, 6]])}
    >>> columns = np.array([[1.0, 2.0, 3.0]])
    >>> warp_sample(source, np.zeros((1, 3)), columns, 0.0)["segmentation"].tolist()
    [[5, 6, 255]]
    """
    height, width = sample["image"].shape[:2]
    near_rows, near_columns = (np.floor(c + 0.5 + 1e-9).astype(int) for c in (rows, columns))
    outside = (near_columns < 0) | (near_columns >= width) | (near_rows < 0) | (near_rows >= height)
    near_rows, near_columns = near_rows.clip(0, height - 1), near_columns.clip(0, width - 1)
    out = dict(less_sure(sample))
    for key in pixel_keys(sample):
        if key != "image":
            out[key] = sample[key][near_rows, near_columns]
            out[key][outside] = fill_value(key)
    out["image"] = _bilinear(sample["image"], rows, columns)
    out["image"][outside] = color
    if "normals" in out:
        cos, sin = np.cos(turn), np.sin(turn)
        x, y, z = np.moveaxis(out["normals"], -1, 0)
        turned = np.stack([cos * x + sin * y, cos * y - sin * x, z], axis=-1)
        out["normals"] = turned.astype(out["normals"].dtype)
    return out


def _bilinear(image: Array, rows: Array, columns: Array) -> Array:
    height, width = image.shape[:2]
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    y, x = (rows - top)[..., None], (columns - left)[..., None]
    upper = image[top, left] * (1 - x) + image[top, right] * x
    lower = image[bottom, left] * (1 - x) + image[bottom, right] * x
    return np.rint(upper * (1 - y) + lower * y).astype(image.dtype)


class RandomAffine:
    """Rotate, shear, stretch and shift a sample about its center.

    The size stays. The image is interpolated bilinearly, everything else by nearest neighbor; what
    comes from outside is unknown. The part of the map that is a rotation is a roll of the camera:
    normals turn by it. The rest is a camera with other, skewed pixels: `"intrinsics"` become its
    own, and depth stays. (A zoom is `RandomScale`, which divides depth.)

    Args:
        degrees: float >= 0: angles of rotation are drawn from `[-degrees, degrees]`.
        shear: float >= 0 and below 45, the same for angles by which the vertical axis leans.
        stretch: float >= 1: height is divided by a factor drawn log-uniformly from
            `[1 / stretch, stretch]`, and width multiplied by it.
        shift: float from 0 to 1: shifts in each direction are drawn from `[-shift, shift]` of the
            side.
        color: three ints from 0 to 255, RGB of the image outside the original.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> labels = np.array([[1, 2], [3, 4]], "uint8")
    >>> sample = {"image": np.zeros((2, 2, 3), "uint8"), "segmentation": labels}
    >>> still = RandomAffine(degrees=0, shear=0, stretch=1, shift=0)
    >>> still(sample, np.random.default_rng(0))["segmentation"].tolist()
    [[1, 2], [3, 4]]
    """

    def __init__(
        self,
        *,
        degrees: float = 10.0,
        shear: float = 5.0,
        stretch: float = 1.1,
        shift: float = 0.05,
        color: Color = MEAN_COLOR,
    ) -> None:
        self.degrees = _check.number(degrees, "degrees", 0)
        self.shear = _check.number(shear, "shear", 0, below=45)
        self.stretch = _check.number(stretch, "stretch", 1)
        self.shift = _check.number(shift, "shift", 0, 1)
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "RandomAffine")
        height, width = sample["image"].shape[:2]
        matrix = self._matrix(rng.uniform(-1, 1, 5), height, width)
        if np.array_equal(matrix, np.eye(3)):
            return sample
        return affine_sample(sample, matrix, self.color)

    def _matrix(self, draws: Array, height: int, width: int) -> Array:
        """Map from the places of pixels, as (x, y, 1), to their new ones."""
        angle, lean = math.radians(self.degrees * draws[0]), math.radians(self.shear * draws[1])
        factor = self.stretch ** draws[2]
        cos, sin = math.cos(angle), math.sin(angle)
        turned = np.array([[cos, sin], [-sin, cos]])  # counter-clockwise, y down
        linear = turned @ [[1, math.tan(lean)], [0, 1]] @ np.diag([factor, 1 / factor])
        center = np.array([(width - 1) / 2, (height - 1) / 2])
        shift = self.shift * draws[3:] * [width, height]
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, center + shift - linear @ center
        return matrix


def affine_sample(sample: Sample, matrix: Array, color: Color = MEAN_COLOR) -> Sample:
    """Move the pixels of a sample by an affine map.

    Args:
        sample: a sample.
        matrix: `(3, 3)`, from places `(x, y, 1)` to new ones, that does not mirror.
        color: RGB of the image outside the original.

    >>> sample = {"image": np.zeros((1, 2, 3), "uint8"), "segmentation": np.array([[3, 4]])}
    >>> right = np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1.0]])
    >>> affine_sample(sample, right)["segmentation"].tolist()
    [[255, 3]]
    """
    height, width = sample["image"].shape[:2]
    back = np.linalg.inv(matrix)
    x, y = np.arange(width), np.arange(height)[:, None]
    columns = back[0, 0] * x + back[0, 1] * y + back[0, 2]
    rows = back[1, 0] * x + back[1, 1] * y + back[1, 2]
    turn = rotation_of(*back[:2, :2].ravel())
    out = warp_sample(sample, rows, columns, turn, color)
    cos, sin = math.cos(turn), math.sin(turn)
    roll = [[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]
    return change_intrinsics(out, warp_intrinsics, matrix.tolist(), roll)


def rotation_of(xx: Array, xy: Array, yx: Array, yy: Array) -> Array:
    """Return the angle of the rotation that is nearest to the matrix `[[xx, xy], [yx, yy]]`.

    The rotation of its polar decomposition.

    >>> float(rotation_of(0.0, -2.0, 2.0, 0.0)) / np.pi
    0.5
    """
    return np.arctan2(np.subtract(yx, xy), np.add(xx, yy))


class RandomElastic:
    """Displace pixels by a smooth random field, as if the image were printed on rubber.

    Image and annotations as in `RandomAffine`; normals turn by the rotation of the field at each
    pixel, depth stays. No camera sees such an image: `"intrinsics"` are left out.

    Args:
        strength: float >= 0, standard deviation of the displacement, in pixels.
        sigma: float > 0, smoothness of the field, in pixels. Fields stay without folds if
            `strength` is below about half of it.
        probability: float from 0 to 1, share of the samples that are changed.
        color: three ints from 0 to 255, RGB of the image outside the original.

    Raises:
        ValueError: if a number is out of range.

    Reference: Simard, Steinkraus and Platt, "Best Practices for Convolutional Neural Networks
        Applied to Visual Document Analysis", ICDAR 2003, section 2.

    Example:

    >>> labels = np.arange(64, dtype="uint8").reshape(8, 8)
    >>> sample = {"image": np.zeros((8, 8, 3), "uint8"), "segmentation": labels}
    >>> moved = RandomElastic(2.0, 4.0)(sample, np.random.default_rng(0))["segmentation"]
    >>> bool((moved != labels).any())
    True
    """

    def __init__(
        self,
        strength: float = 3.0,
        sigma: float = 12.0,
        *,
        probability: float = 1.0,
        color: Color = MEAN_COLOR,
    ) -> None:
        self.strength = _check.number(strength, "strength", 0)
        self.sigma = _check.number(sigma, "sigma", above=0)
        self.probability = _check.number(probability, "probability", 0, 1)
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "RandomElastic")
        size = sample["image"].shape[:2]
        chance, noise = rng.random(), rng.standard_normal((*size, 2))
        if chance >= self.probability or self.strength == 0:
            return sample
        field: Array = smoothed(noise, self.sigma).astype(float)
        field *= self.strength / max(float(field.std()), 1e-12)
        y, x = np.indices(size)
        columns, rows = x + field[..., 0], y + field[..., 1]
        (xy, xx), (yy, yx) = (_gradient(places) for places in (columns, rows))
        out = warp_sample(sample, rows, columns, rotation_of(xx, xy, yx, yy), self.color)
        out.pop("intrinsics", None)
        return out


def _gradient(values: Array) -> tuple[Array, Array]:
    """Return the derivatives along rows and columns; 0 and 1-pixel sides have none."""
    found = [
        np.gradient(values, axis=axis) if values.shape[axis] > 1 else np.zeros_like(values)
        for axis in (0, 1)
    ]
    return found[0], found[1]

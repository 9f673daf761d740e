"""Boxes that are cut out of a sample."""

import numpy as np

from keras_dense import _check
from keras_dense._types import Sample
from keras_dense.datasets.sample import (
    MEAN_COLOR,
    check_sample,
    fill_value,
    less_sure,
    pixel_keys,
)
from keras_dense.datasets.transforms.arguments import Color
from keras_dense.datasets.transforms.arguments import color as checked_color


class CutOut:
    """Cut boxes out of a sample: their pixels get one color, and are unknown to all heads.

    Args:
        boxes: int >= 1, number of boxes; they may overlap.
        area: pair of floats above 0 and at most 1, the share of the image that a box covers is
            drawn uniformly between them. Its aspect ratio is drawn from 1/2 to 2; boxes do not
            leave the image.
        probability: float from 0 to 1, share of the samples that are changed.
        color: three ints from 0 to 255, RGB of the boxes; labels are 255, depth and normals 0.

    Raises:
        ValueError: if a number is out of range.

    Reference: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with
        Cutout", arXiv 1708.04552.

    Example:

    >>> labels = np.zeros((10, 10), "uint8")
    >>> sample = {"image": np.zeros((10, 10, 3), "uint8"), "segmentation": labels}
    >>> cut = CutOut(area=(0.16, 0.16))(sample, np.random.default_rng(0))
    >>> int((cut["segmentation"] == 255).sum())
    15
    """

    def __init__(
        self,
        *,
        boxes: int = 1,
        area: tuple[float, float] = (0.02, 0.2),
        probability: float = 1.0,
        color: Color = MEAN_COLOR,
    ) -> None:
        self.boxes = _check.integer(boxes, "boxes", low=1)
        self.area = shares(area, "area")
        self.probability = _check.number(probability, "probability", 0, 1)
        self.color = checked_color(color, "color")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "CutOut")
        chance, draws = rng.random(), rng.random((self.boxes, 4))
        if chance >= self.probability:
            return sample
        size = sample["image"].shape[:2]
        hidden = np.zeros(size, bool)
        for draw in draws:
            hidden[box(size, self.area, draw)] = True
        out = dict(less_sure(sample))
        for key in pixel_keys(sample):
            out[key] = sample[key].copy()
            out[key][hidden] = fill_value(key, self.color)
        return out


def shares(value: tuple[float, float], name: str) -> tuple[float, float]:
    """Return a pair of shares above 0 and at most 1, in order.

    >>> shares([0.1, 1], "area")
    (0.1, 1.0)
    """
    try:
        low, high = (_check.number(v, name, above=0, high=1) for v in value)
    except (TypeError, ValueError):
        low, high = 1.0, 0.0
    if low > high:
        raise _check.fail(name, "a pair (low, high) of shares above 0 and at most 1", value)
    return low, high


def box(size: tuple[int, int], area: tuple[float, float], draw: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a random box.

    Args:
        size: `(height, width)` of the image.
        area: pair of shares of the image.
        draw: four numbers from 0 to below 1: of area, aspect ratio and place.

    >>> box((10, 20), (0.5, 0.5), np.array([0.0, 0.5, 0.0, 0.999]))
    (slice(0, 7, None), slice(6, 20, None))
    """
    share = area[0] + draw[0] * (area[1] - area[0])
    stretch = 2 ** (draw[1] - 0.5)
    height = min(max(1, round(size[0] * np.sqrt(share) * stretch)), size[0])
    width = min(max(1, round(size[1] * np.sqrt(share) / stretch)), size[1])
    top = int(draw[2] * (size[0] - height + 1))
    left = int(draw[3] * (size[1] - width + 1))
    return slice(top, top + height), slice(left, left + width)

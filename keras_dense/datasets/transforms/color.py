"""Random changes of color."""

from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Sample
from keras_dense.datasets.sample import check_sample


class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in random order.

    The first three are Pillow's `ImageEnhance` with a factor drawn from `[1 - a, 1 + a]`; hue is
    shifted by an angle drawn from `[-a, a]` of a full circle. Only the image changes.

    Args:
        brightness: float from 0 to 1, strength; 0 leaves it unchanged.
        contrast: float from 0 to 1, strength.
        saturation: float from 0 to 1, strength.
        hue: float from 0 to 0.5, strength.

    Raises:
        ValueError: if a strength is out of its range.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.full((2, 2, 3), 100, "uint8")}
    >>> jitter = ColorJitter(brightness=0.5, contrast=0, saturation=0, hue=0)
    >>> int(jitter(sample, np.random.default_rng(0))["image"][0, 0, 0])
    113
    """

    def __init__(
        self,
        *,
        brightness: float = 0.3,
        contrast: float = 0.3,
        saturation: float = 0.3,
        hue: float = 0.03,
    ) -> None:
        self.brightness = _check.number(brightness, "brightness", 0, 1)
        self.contrast = _check.number(contrast, "contrast", 0, 1)
        self.saturation = _check.number(saturation, "saturation", 0, 1)
        self.hue = _check.number(hue, "hue", 0, 0.5)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, "ColorJitter")
        image = require("PIL.Image", extra="examples")
        enhance = require("PIL.ImageEnhance", extra="examples")
        steps = [
            (self.brightness, enhance.Brightness),
            (self.contrast, enhance.Contrast),
            (self.saturation, enhance.Color),
            (self.hue, None),
        ]
        draws = rng.uniform(-1, 1, 4)
        pixels = image.fromarray(np.ascontiguousarray(sample["image"]))
        for i in rng.permutation(4):
            strength, enhancer = steps[i]
            if strength == 0:
                continue
            if enhancer is not None:
                pixels = enhancer(pixels).enhance(1 + strength * draws[i])
            else:
                pixels = _shift_hue(pixels, round(256 * strength * draws[i]))
        return {**sample, "image": np.asarray(pixels)}


def _shift_hue(pixels: Any, steps: int) -> Any:
    """Shift the hue of a Pillow image by `steps`, of which 256 are a full circle."""
    if steps == 0:
        return pixels
    hue, saturation, value = pixels.convert("HSV").split()
    hue = hue.point([(i + steps) % 256 for i in range(256)])
    merged = require("PIL.Image", extra="examples").merge("HSV", (hue, saturation, value))
    return merged.convert("RGB")

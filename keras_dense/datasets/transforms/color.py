"""Other light."""

import numpy as np

from keras_dense._optional import require
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.transforms.arguments import fraction


class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, in random order.

    The first three are Pillow's `ImageEnhance` with a factor drawn from `[1 - a, 1 + a]`; hue is
    turned by an angle drawn from `[-a, a]` of a full circle. Only the image changes.

    Args:
        brightness: strength from 0 (leave it) to 1.
        contrast: strength from 0 to 1.
        saturation: strength from 0 to 1.
        hue: strength from 0 to 0.5.

    Raises:
        ValueError: if a strength is out of its range.

    Example:

    >>> import numpy as np
    >>> sample = {"image": np.full((2, 2, 3), 100, "uint8")}
    >>> jittered = ColorJitter(0.5, 0, 0, 0)(sample, np.random.default_rng(0))
    >>> int(jittered["image"][0, 0, 0])
    113
    """

    def __init__(self, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03):
        self.brightness = fraction("ColorJitter", "brightness", brightness)
        self.contrast = fraction("ColorJitter", "contrast", contrast)
        self.saturation = fraction("ColorJitter", "saturation", saturation)
        self.hue = fraction("ColorJitter", "hue", hue)
        if self.hue > 0.5:
            raise ValueError(f"ColorJitter: hue must be a number from 0 to 0.5. Received: {hue=}")

    def __call__(self, sample, rng):
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
                pixels = _turn_hue(pixels, round(256 * strength * draws[i]))
        return {**sample, "image": np.asarray(pixels)}


def _turn_hue(pixels, steps):
    """Turn hue by `steps` of 256 to the circle (wherever there is color at all)."""
    if steps == 0:
        return pixels
    hue, saturation, value = pixels.convert("HSV").split()
    hue = hue.point([(i + steps) % 256 for i in range(256)])
    merged = require("PIL.Image", extra="examples").merge("HSV", (hue, saturation, value))
    return merged.convert("RGB")

"""Changes of the image alone, as cameras and files make them: blur, noise, gray, gamma, JPEG."""

import io

import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, Sample
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.transforms.gaussian import smoothed


def span(value: float | tuple[float, float], name: str, low: float) -> tuple[float, float]:
    """Return a pair `(low, high)` of numbers, of which one may stand for both.

    >>> span(2, "sigma", 0), span((0.5, 1), "sigma", 0)
    ((2.0, 2.0), (0.5, 1.0))
    """
    pair = (value, value) if _check.is_number(value) else value
    try:
        first, last = (_check.number(v, name, low) for v in pair)  # type: ignore[union-attr]
    except (TypeError, ValueError):
        first, last = 1.0, 0.0
    if first > last:
        raise _check.fail(name, f"a number >= {low}, or a pair (low, high)", value)
    return first, last


class Photometric:
    """Base of changes of the image alone, made with a probability.

    Subclasses implement `change(image, number, rng)`, with `number` drawn from `span`.

    Args:
        span: pair of floats; a number is drawn uniformly between them.
        probability: float from 0 to 1.
    """

    def __init__(self, span: tuple[float, float], probability: float) -> None:
        self.span = span
        self.probability = _check.number(probability, "probability", 0, 1)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample = check_sample(sample, type(self).__name__)
        # Always the same draws, so that later ones do not depend on chance.
        chance, place = rng.random(2)
        if chance >= self.probability:
            return sample
        number = self.span[0] + place * (self.span[1] - self.span[0])
        return {**sample, "image": self.change(sample["image"], number, rng)}

    def change(self, image: Array, number: float, rng: np.random.Generator) -> Array:
        """Return a changed image, uint8 `(H, W, 3)`."""
        raise TypeError(f"{type(self).__name__} must implement change(image, number, rng)")


class Blur(Photometric):
    """Blur the image by a Gaussian.

    Args:
        sigma: float >= 0, standard deviation in pixels; or a pair `(low, high)`, between which it
            is drawn uniformly.
        probability: float from 0 to 1, share of the samples that are changed.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> sample = {"image": np.zeros((1, 5, 3), "uint8")}
    >>> sample["image"][0, 2] = 200
    >>> Blur(0.5)(sample, np.random.default_rng(0))["image"][0, :, 0].tolist()
    [0, 21, 157, 21, 0]
    """

    def __init__(
        self, sigma: float | tuple[float, float] = (0.1, 2.0), *, probability: float = 1.0
    ) -> None:
        super().__init__(span(sigma, "sigma", 0), probability)

    def change(self, image: Array, number: float, rng: np.random.Generator) -> Array:
        """Return the blurred image."""
        return _bytes(smoothed(image, number)) if number else image


class Noise(Photometric):
    """Add normal noise to each channel of each pixel.

    Args:
        sigma: float >= 0, standard deviation of the noise, for colors from 0 to 255; or a pair
            `(low, high)`.
        probability: float from 0 to 1, share of the samples that are changed.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> sample = {"image": np.full((50, 50, 3), 100, "uint8")}
    >>> float(Noise(10)(sample, np.random.default_rng(0))["image"].std().round())
    10.0
    """

    def __init__(
        self, sigma: float | tuple[float, float] = (0.0, 12.0), *, probability: float = 1.0
    ) -> None:
        super().__init__(span(sigma, "sigma", 0), probability)

    def change(self, image: Array, number: float, rng: np.random.Generator) -> Array:
        """Return the image with noise."""
        return _bytes(image + number * rng.standard_normal(image.shape, np.float32))


class Gray(Photometric):
    """Turn the image gray: `0.299 R + 0.587 G + 0.114 B` in all channels.

    Args:
        probability: float from 0 to 1, share of the samples that are changed.

    Raises:
        ValueError: if the probability is out of range.

    Example:

    >>> sample = {"image": np.array([[[255, 0, 0]]], "uint8")}
    >>> Gray()(sample, np.random.default_rng(0))["image"].tolist()
    [[[76, 76, 76]]]
    """

    def __init__(self, *, probability: float = 1.0) -> None:
        super().__init__((0, 0), probability)

    def change(self, image: Array, number: float, rng: np.random.Generator) -> Array:
        """Return the gray image."""
        gray = _bytes(image @ np.array([0.299, 0.587, 0.114], np.float32))
        return np.repeat(gray[..., None], 3, axis=-1)


class Gamma(Photometric):
    """Change the brightness of middle tones: `255 (x / 255) ** gamma`.

    Args:
        gamma: float > 0; or a pair `(low, high)`. Above 1, images become darker.
        probability: float from 0 to 1, share of the samples that are changed.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> sample = {"image": np.array([[[0, 51, 255]]], "uint8")}
    >>> Gamma(2)(sample, np.random.default_rng(0))["image"].tolist()
    [[[0, 10, 255]]]
    """

    def __init__(
        self, gamma: float | tuple[float, float] = (0.7, 1.4), *, probability: float = 1.0
    ) -> None:
        low, high = span(gamma, "gamma", 0)
        if low == 0:
            raise _check.fail("gamma", "a number > 0, or a pair (low, high)", gamma)
        super().__init__((low, high), probability)

    def change(self, image: Array, number: float, rng: np.random.Generator) -> Array:
        """Return the image with other middle tones."""
        return _bytes(255 * (np.arange(256) / 255) ** number)[image]


class Jpeg(Photometric):
    """Compress the image as JPEG and read it back.

    Args:
        quality: float from 1 to 100, or a pair `(low, high)`; rounded when it is drawn.
        probability: float from 0 to 1, share of the samples that are changed.

    Raises:
        ValueError: if a number is out of range.

    Example:

    >>> noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype("uint8")
    >>> worse = Jpeg(10)({"image": noise}, np.random.default_rng(0))["image"]
    >>> worse.shape, bool((worse != noise).any())
    ((16, 16, 3), True)
    """

    def __init__(
        self, quality: float | tuple[float, float] = (30, 95), *, probability: float = 1.0
    ) -> None:
        low, high = span(quality, "quality", 1)
        if high > 100:
            raise _check.fail("quality", "a number from 1 to 100, or a pair (low, high)", quality)
        super().__init__((low, high), probability)

    def change(self, image: Array, number: float, rng: np.random.Generator) -> Array:
        """Return the image after compression."""
        pillow = require("PIL.Image", extra="examples")
        file = io.BytesIO()
        pillow.fromarray(np.ascontiguousarray(image)).save(file, "JPEG", quality=round(number))
        return np.array(pillow.open(file))


def _bytes(values: Array) -> Array:
    return np.rint(values).clip(0, 255).astype(np.uint8)

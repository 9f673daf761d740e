"""Base of heads whose target is the image itself."""

import numpy as np

from keras_dense._types import Array, Sample
from keras_dense.heads.annotation import annotation, rgb_image
from keras_dense.heads.drawing import hatch_unknown
from keras_dense.heads.head import Head


class ImageTarget(Head):
    """Base of heads that predict colors, and whose results are RGB images 0–255.

    >>> image = np.zeros((1, 2, 3), "uint8")
    >>> head = ImageTarget.__new__(ImageTarget)
    >>> head.target = "image"
    >>> head.encode({"image": image}) is image
    True
    """

    def encode(self, sample: Sample) -> Array:
        """The target of a sample: its image, as it is.

        Raises:
            KeyError: if the sample has no image.
            TypeError, ValueError: if it is no RGB image from 0 to 255.
        """
        return rgb_image(annotation(sample, self.target), self.target)

    def unknown(self, size: tuple[int, int]) -> Array:
        """Target of `(height, width)` without a known pixel: NaN."""
        return np.full((*size, 3), np.nan, "float32")

    def example(
        self, size: tuple[int, int], rng: np.random.Generator, known: bool = True
    ) -> Sample:
        """Sample of random colors, or of unknown pixels."""
        colors = rng.uniform(0, 255, (*size, 3)).astype("float32")
        return {self.target: colors if known else self.unknown(size)}

    def draw(self, result: Array) -> Array:
        """The RGB image `(H, W, 3)` itself, uint8; unknown pixels are hatched."""
        image = np.asarray(result)
        known = np.isfinite(image).all(-1)
        shown = np.where(known[..., None], image, 0)
        return hatch_unknown(np.round(shown).clip(0, 255).astype("uint8"), known)

"""Colorization: the colors of an image from its lightness."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.heads.drawing import error_colors
from keras_dense.heads.head import Stored
from keras_dense.heads.image_target import ImageTarget
from keras_dense.layers import AnnealedMean, Recolor
from keras_dense.losses import AbSmoothL1, ColorCrossEntropy
from keras_dense.metrics import ColorErrors
from keras_dense.ops.ab_bins import AB_SCALE, ab_bins
from keras_dense.ops.color import to_lab

_WORST = 60.0  # distance in (a, b) that is drawn brightest


@keras.saving.register_keras_serializable("keras_dense")
class Colorization(ImageTarget):
    """The color of every pixel, from the lightness of the image alone.

    A model with such a head converts its images to gray first, for all of its heads. The target is
    the RGB image itself, 0–255, at full size (float pixels that are not finite are unknown).
    Predictions are float32 at a quarter of the size: logits over color bins,
    `(B, ceil(H / 4), ceil(W / 4), 313)`, or (a, b) / 110 with two channels. Pixels that transforms
    have added around an image count like any other color, unless samples have a `"weight"`.

    Args:
        grid: int, spacing of the bins, see `kd.ops.ab_bins`: 10 means 313 bins.
        temperature: float > 0, which color is taken from a distribution: 1 is the mean, which is
            pale; near 0 it is the most likely one, which jumps from pixel to pixel.
        prior: share of each bin among the colors of the data (`kd.training.estimate_ab_prior`), so
            that rare ones count more; `None`: all pixels count the same.
        prior_mix: float from 0 to 1, share of a uniform prior that is mixed in; with 1 the prior
            has no effect.
        regression: bool, whether to predict (a, b) itself instead of a distribution: smooth and
            pale.
        loss: a Keras loss; default: `kd.losses.ColorCrossEntropy`, or `AbSmoothL1` for a
            regression.
        weight: float >= 0, weight of this head's loss among several heads.
        target: str, key of a sample that holds the RGB image.
        stride: int >= 1, the prediction has 1/stride of the image's height and width.

    Raises:
        ValueError: for a grid, temperature, prior, prior_mix or stride out of range.

    Reference: Zhang et al., "Colorful Image Colorization", ECCV 2016.

    >>> Colorization().channels, Colorization(regression=True).channels
    (313, 2)
    """

    lightness_only = True
    needs_image = True
    suffix = ".png"

    def __init__(
        self,
        grid: int = 10,
        *,
        temperature: float = 0.38,
        prior: ArrayLike | None = None,
        prior_mix: float = 0.5,
        regression: bool = False,
        loss: keras.losses.Loss | None = None,
        weight: float = 1.0,
        target: str = "image",
        stride: int = 4,
    ) -> None:
        self.temperature = AnnealedMean(grid, temperature=temperature).temperature
        self.regression = _check.flag(regression, "regression")
        self.stride = _check.integer(stride, "stride", low=1)
        if self.regression and prior is not None:
            raise ValueError("`prior` is for bins; with regression=True there are none.")
        balanced = ColorCrossEntropy(grid, prior=prior, prior_mix=prior_mix, stride=self.stride)
        self.grid = int(grid)
        self.prior, self.prior_mix = balanced.prior, balanced.prior_mix
        self.channels = 2 if self.regression else len(ab_bins(self.grid))
        super().__init__(loss=loss, weight=weight, target=target)

    def default_loss(self) -> keras.losses.Loss:
        """Cross entropy over bins, rare colors counting more with a prior; or smooth L1."""
        if self.regression:
            return AbSmoothL1(stride=self.stride)
        return ColorCrossEntropy(
            self.grid, prior=self.prior, prior_mix=self.prior_mix, stride=self.stride
        )

    def metrics(self) -> list:
        """Fresh metrics: the area under the curve of errors in (a, b), and PSNR."""
        auc = ColorErrors(
            score="auc", grid=self.grid, temperature=self.temperature, stride=self.stride
        )
        return [auc, auc.also("psnr")]

    def decode(self, prediction: Tensor, image: Tensor | None = None) -> Tensor:
        """The image in the predicted colors: RGB, uint8 `(B, H, W, 3)`.

        Args:
            prediction: what the model gives.
            image: RGB 0–255 `(B, H, W, 3)`, whose lightness is kept; gray ones will do.
        """
        if image is None:
            raise ValueError("`image` must be the images, whose lightness is kept. Received: None")
        if self.regression:
            ab = prediction * AB_SCALE
        else:
            ab = AnnealedMean(self.grid, temperature=self.temperature)(prediction)
        return Recolor(self.stride)(ab, image)

    def to_mean(self, prediction: Tensor) -> Tensor:
        """Distributions or (a, b), for averages over several views of an image."""
        prediction = ops.cast(prediction, "float32")
        return prediction if self.regression else ops.softmax(prediction)

    def from_mean(self, mean: Tensor) -> Tensor:
        """Prediction from such a mean: its logarithm, or (a, b)."""
        return mean if self.regression else ops.log(ops.maximum(mean, keras.config.epsilon()))

    def outputs(self, prediction: Tensor, image: Tensor) -> dict[str, Tensor]:
        """`color`, the image in the predicted colors: RGB, uint8."""
        return {"color": self.decode(prediction, image)}

    def about(self) -> dict[str, dict]:
        """Unit and range."""
        return {"color": {"unit": "RGB, 0–255"}}

    def stored(self, result: Array) -> Stored:
        """The image itself."""
        return Stored(result, facts=self.about()["color"])

    def overlay(self, result: Array, image: Array) -> Array:
        """The result alone, which has the image's lightness in it."""
        return self.draw(result)

    def error(self, truth: Array, prediction: Array, image: Array | None = None) -> Array:
        """Distance of the colors in (a, b): black is right, light yellow is 60 or more.

        Args:
            truth, prediction: RGB 0–255 `(H, W, 3)`.
            image: unused.

        Returns:
            uint8 `(H, W, 3)`; unknown pixels are hatched.
        """
        truth, prediction = np.asarray(truth, "float64"), np.asarray(prediction, "float64")
        known = np.isfinite(truth).all(-1)
        truth = np.where(known[..., None], truth, 0.0)
        ab, other = to_lab(truth)[..., 1:], to_lab(prediction)[..., 1:]
        return error_colors(np.linalg.norm(ab - other, axis=-1) / _WORST, known)

    def legend(self) -> list[tuple[str, tuple]]:
        """No entries: colors need no legend."""
        return []

    def get_config(self) -> Config:
        return {
            "grid": self.grid,
            "temperature": self.temperature,
            "prior": self.prior,
            "prior_mix": self.prior_mix,
            "regression": self.regression,
            "stride": self.stride,
            **super().get_config(),
        }

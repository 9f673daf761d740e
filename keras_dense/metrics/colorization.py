"""Scores of predicted colors."""

import math

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.metrics.shared import SharedMetric
from keras_dense.ops.ab_bins import AB_SCALE, ab_bins, annealed_mean, check_prior, nearest_bins
from keras_dense.ops.color import full_size, recolor, rgb_to_lab
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.similarity import structural_similarity
from keras_dense.ops.targets import known_colors, nan_where, read_map

SCORES = ("auc", "auc_rebalanced", "accuracy", "rmse_ab", "psnr", "ssim")
_LARGEST = 150.0  # the last threshold of the curve
_LEAST = 1e-10  # mean squared error below which PSNR stays at 100 dB


@keras.saving.register_keras_serializable("keras_dense")
class ColorErrors(SharedMetric):
    """Errors of predicted colors, over a whole data set.

    Predictions are the outputs of a model with `kd.heads.Colorization`: they are converted to
    colors (a, b) as there, upsampled to the image, and, for PSNR and SSIM, combined with the
    image's own lightness. d is the distance of two colors in the plane (a, b).

    - `"auc"`: area under the share of pixels with d ≤ t, for t from 0 to 150, as a share of 150:
      the mean of max(0, 1 − d / 150).
    - `"auc_rebalanced"`: the same, with pixels weighted by 1 / prior of the bin of their true
    color.
    - `"accuracy"`: share of pixels with d ≤ `threshold`.
    - `"rmse_ab"`: root of the mean squared error over pixels, a and b.
    - `"psnr"`: mean over images of the PSNR of each, on clipped sRGB, in dB; 100 at most.
    - `"ssim"`: mean over images of the structural similarity of each, on clipped sRGB, over the
      11×11 windows without unknown pixels.

    Args:
        score: result of `result()`, one of the above.
        grid, temperature: of the bins, see `kd.heads.Colorization`.
        stride: int >= 1, ratio of the sizes of image and prediction.
        prior: the share of each bin, for `"auc_rebalanced"`, where bins with a share of 0 do not
            count. `None`: the shares in the measured data, so that all bins that occur count alike.
        threshold: float >= 0, for `"accuracy"`.
        name: name of the metric; by default the name of the score.

    Call arguments:
        y_true: RGB images 0–255 `(B, H, W, 3)`; a float pixel that is not finite is unknown.
        y_pred: logits over bins, or (a, b) / 110 where there are two channels,
            `(B, ceil(H / stride), ceil(W / stride), C)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    The result is NaN while nothing was counted, and once a prediction at a known pixel was NaN, or
    its weight negative or not finite.

    Raises:
        ValueError: for an unknown score, or a prior for another number of bins.

    Reference: Zhang et al., "Colorful Image Colorization", ECCV 2016, section 3.1 (AuC).

    >>> metric = ColorErrors("auc")
    >>> metric.update_state(np.full((1, 8, 8, 3), 99), np.full((1, 2, 2, 2), 0.5))
    >>> round(float(metric.result()), 4)  # (55, 55) instead of (0, 0): 1 - 77.8 / 150
    0.4815
    """

    def __init__(
        self,
        score: str = "auc",
        *,
        grid: int = 10,
        temperature: float = 0.38,
        stride: int = 4,
        prior: ArrayLike | None = None,
        threshold: float = 10.0,
        name: str | None = None,
    ):
        _check.choice(score, "score", SCORES)
        super().__init__(name or score, "down" if score == "rmse_ab" else "up")
        self.score = score
        self.grid = _check.integer(grid, "grid", 1)
        self.bins = len(ab_bins(grid))
        self.temperature = _check.number(temperature, "temperature", 1e-6)
        self.stride = _check.integer(stride, "stride", 1)
        share = check_prior(prior, grid)
        self.prior = None if share is None else np.asarray(prior, "float64").tolist()
        self._share = share
        self.threshold = _check.number(threshold, "threshold", 0)
        self._last.wanted = {score}
        shape = (2, self.bins) if score == "auc_rebalanced" else (2,)
        self._sums = self.add_variable(shape, "zeros", dtype="float32", name="sums")

    def also(self, score: str) -> SharedMetric:
        """A metric for another score of the same measurements."""
        other = super().also(score)
        self._last.wanted.add(score)
        return other

    def measure(
        self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None
    ) -> dict[str, Tensor]:
        """Numerator and denominator of each requested score."""
        y_pred = ops.cast(y_pred, "float32")
        if y_pred.shape[-1] not in (2, self.bins):
            raise ValueError(
                f"`y_pred` must have {self.bins} channels (logits over the bins of "
                f"grid={self.grid}) or 2, (a, b) / 110. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        y_true, weight, wrong = read_map(
            ops.convert_to_tensor(y_true), y_pred, sample_weight, 3, known_colors, self.stride
        )
        image = ops.where(weight > 0, y_true, 0.0)
        truth = rgb_to_lab(image)[..., 1:]
        if y_pred.shape[-1] == 2:
            ab = y_pred * AB_SCALE
        else:
            ab = annealed_mean(y_pred, self.grid, temperature=self.temperature)
        ab = full_size(ab, image, self.stride)
        wanted = self._last.wanted
        measured = self._of_pixels(ab, truth, weight[..., 0], wanted)
        if wanted & {"psnr", "ssim"}:
            measured |= _of_images(recolor(image, ab) / 255.0, image / 255.0, weight, wanted)
        if wrong is not None:
            measured = {k: nan_where(v, ops.any(wrong)) for k, v in measured.items()}
        return measured

    def _of_pixels(self, ab, truth, weight, wanted):
        squared = ops.sum(ops.square(ab - truth), axis=-1)
        squared = ops.where(weight > 0, squared, 0.0)  # NaN times 0 is not 0
        distance = ops.sqrt(squared)
        near = ops.maximum(0.0, 1.0 - distance / _LARGEST)
        hit = ops.cast(distance <= self.threshold, "float32")
        hit = nan_where(hit, ops.isnan(distance))
        values = {"auc": near, "accuracy": hit, "rmse_ab": squared / 2.0}
        total = ops.sum(weight)
        measured = {k: ops.stack([ops.sum(weight * v), total]) for k, v in values.items()}
        if "auc_rebalanced" in wanted:
            number = ops.reshape(nearest_bins(truth, self.grid, 1)[0], (-1,))
            measured["auc_rebalanced"] = ops.stack(
                [
                    ops.segment_sum(ops.reshape(v, (-1,)), number, num_segments=self.bins)
                    for v in (weight * near, weight)
                ]
            )
        return measured

    def add(self, measured: dict[str, Tensor]) -> None:
        self._sums.assign_add(measured[self.score])

    def result(self) -> Tensor:
        """The chosen score, a float32 scalar."""
        total, weight = self._sums[0], self._sums[1]
        if self.score == "auc_rebalanced":
            if self._share is None:
                balance = safe_divide(1.0, weight)
            else:
                rare = np.maximum(self._share, 1e-12)
                balance = ops.convert_to_tensor(
                    np.where(self._share > 0, 1.0 / rare, 0.0), "float32"
                )
            total, weight = ops.sum(total * balance), ops.sum(weight * balance)
        value = ops.where(weight > 0, safe_divide(total, weight), float("nan"))
        return ops.sqrt(value) if self.score == "rmse_ab" else value

    def get_config(self) -> Config:
        return {
            "score": self.score,
            "grid": self.grid,
            "temperature": self.temperature,
            "stride": self.stride,
            "prior": self.prior,
            "threshold": self.threshold,
            "name": self.name,
        }


def _of_images(colored, image, weight, wanted):
    """PSNR and SSIM, each summed over images, and the number of images."""
    measured = {}
    if "psnr" in wanted:
        error = ops.mean(ops.square(colored - image), axis=-1, keepdims=True)
        error = ops.where(weight > 0, error, 0.0)
        pixels = ops.sum(weight, axis=(1, 2, 3))
        error = safe_divide(ops.sum(weight * error, axis=(1, 2, 3)), pixels)
        value = -10.0 / math.log(10) * ops.log(ops.maximum(error, _LEAST))
        measured["psnr"] = _sum_of_images(value, pixels)
    if "ssim" in wanted:
        value, whole = structural_similarity(colored, image, known=weight > 0)
        windows = ops.sum(ops.cast(whole, "float32"), axis=(1, 2, 3))
        value = safe_divide(ops.sum(ops.where(whole, value, 0.0), axis=(1, 2, 3)), windows)
        measured["ssim"] = _sum_of_images(value, windows)
    return measured


def _sum_of_images(value, pixels):
    counts = ops.cast(pixels > 0, "float32")
    return ops.stack([ops.sum(value * counts), ops.sum(counts)])

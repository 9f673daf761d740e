"""Losses of color: the target is the RGB image itself, the prediction lies in the plane (a, b).

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016.
"""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, MapLoss
from keras_dense.ops.ab_bins import AB_SCALE, ab_bins, check_prior, soft_encode
from keras_dense.ops.color import rgb_to_lab
from keras_dense.ops.image import sum_blocks
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.targets import known_colors

SUBSAMPLES = ("mean", "nearest")


def rebalancing(prior: Array, prior_mix: float = 0.5) -> Array:
    """The weight of a pixel of each bin, so that rare colors count.

        w = 1 / ((1 - prior_mix) prior + prior_mix / bins),  scaled so that sum(prior · w) = 1

    The uniform share goes over all bins, including those with a prior of 0 (the authors' code
    leaves them out and then has infinite weights).

    Args:
        prior: the share of each bin, summing to 1.
        prior_mix: float from 0 to 1, how much of a uniform prior is mixed in; 1 weights all bins
            alike.

    Returns:
        float64 array, a weight for each bin.

    Reference: Zhang et al., ECCV 2016, equation 4.

    >>> rebalancing(np.array([0.75, 0.25])).round(4).tolist()
    [0.8571, 1.4286]
    """
    weight = 1.0 / np.maximum((1.0 - prior_mix) * prior + prior_mix / len(prior), 1e-12)
    return weight / (prior * weight).sum()


def subsampled(
    ab: Tensor, weight: Tensor, stride: int, subsample: str = "mean"
) -> tuple[Tensor, Tensor]:
    """Colors and weights at a fraction of the size, see `ColorLoss`.

    Args:
        ab: `(B, H, W, 2)`.
        weight: `(B, H, W, 1)`, 0 where unknown.
        stride: int >= 1.
        subsample: "mean" or "nearest".

    Returns:
        `(B, h, w, 2)`, `(B, h, w, 1)`.

    >>> ab, weight = np.ones((1, 8, 5, 2)), np.ones((1, 8, 5, 1))
    >>> ops.convert_to_numpy(subsampled(ab, weight, 4)[1])[0, 0, :, 0].tolist()
    [1.0, 0.25]
    """
    if subsample == "nearest":
        return ab[:, ::stride, ::stride], weight[:, ::stride, ::stride]
    total = sum_blocks(weight, stride)
    return safe_divide(sum_blocks(ab * weight, stride), total), total / stride**2


class ColorLoss(MapLoss):
    """Base of losses whose target is an RGB image 0–255 and whose prediction may be smaller.

    Args:
        stride: int >= 1; predictions are `(B, ceil(H / stride), ceil(W / stride), C)`.
        subsample: the true color of a pixel of the prediction. "mean": the mean (a, b) of the
            known pixels in its block, whose place half-pixel upsampling keeps; its weight is the
            share of known pixels. "nearest": the block's top left pixel, as published.
        gray_threshold: float >= 0; images in which no |a| or |b| exceeds it cost nothing, as they
            are no examples of color (5 in the authors' code). `None`: all images count.
        reduction, name: see `WeightedLoss`.

    A pixel is unknown where a float target is not finite. Subclasses implement
    `pixel(ab, y_pred)`, `(B, h, w)`.
    """

    channels = 3

    def __init__(
        self,
        *,
        stride: int = 4,
        subsample: str = "mean",
        gray_threshold: float | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str | None = None,
    ):
        super().__init__(reduction=reduction, name=name)
        self.stride = _check.integer(stride, "stride", 1)
        self.subsample = _check.choice(subsample, "subsample", SUBSAMPLES)
        self.gray_threshold = gray_threshold
        if gray_threshold is not None:
            self.gray_threshold = _check.number(gray_threshold, "gray_threshold", 0)

    def known(self, y_true: Tensor) -> Tensor:
        return known_colors(y_true)

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs:
        ab, weight = subsampled(rgb_to_lab(y_true)[..., 1:], weight, self.stride, self.subsample)
        if self.gray_threshold is not None:
            chroma = ops.max(ops.abs(ab) * ops.sign(weight), axis=(1, 2, 3), keepdims=True)
            weight = weight * ops.cast(chroma > self.gray_threshold, "float32")
        # Where nothing is known, no prediction counts: NaN times 0 is not 0.
        cost = self.pixel(ab, ops.where(weight > 0, y_pred, 0.0))
        weight = weight[..., 0]
        return Costs(weight * cost, weight)

    def pixel(self, ab: Tensor, y_pred: Tensor) -> Tensor:
        """The cost of each pixel: `(B, h, w, 2)`, `(B, h, w, C)` → `(B, h, w)`."""
        raise TypeError(f"{type(self).__name__} must implement pixel(ab, y_pred)")

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "stride": self.stride,
            "subsample": self.subsample,
            "gray_threshold": self.gray_threshold,
        }


@keras.saving.register_keras_serializable("keras_dense")
class ColorCrossEntropy(ColorLoss):
    """Cross-entropy over bins of color, rebalanced so that rare colors count.

    ```
    loss = sum_n w[n] v[n] * l[n] / sum_n w[n]
    l[n] = -sum_k z[n, k] * log(softmax(logits[n])[k])
    ```

    with `z` the soft encoding of the pixel's color (`kd.ops.soft_encode`), `v` the rebalancing
    weight of its nearest bin (the mean of `v` over the prior is 1; without a prior, `v` is 1) and
    `w` the sample weight, 0 where unknown. A target over all bins is never built.

    Args:
        grid: int from 1 to 55, distance of the bins, see `kd.ops.ab_bins`: 10 means 313 bins.
        prior: the share of each bin among the colors of the data
            (`kd.training.estimate_ab_prior`); `None`: all pixels count the same.
        prior_mix: float from 0 to 1, how much of a uniform prior is mixed in (the paper's λ); more
            than 0 if a bin has no share.
        neighbors: int >= 1, bins that share a color: 5 in the paper, 10 in its code.
        sigma: float >= 0.001, standard deviation of the Gaussian of these shares.
        stride, subsample, gray_threshold: see `ColorLoss`: predictions are at a quarter of the
            size; "mean" or "nearest"; images without color.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel of the prediction, `(B, h, w)`.
        name: name of the loss.

    Call arguments:
        y_true: RGB images 0–255 `(B, H, W, 3)`; a float pixel that is not finite is unknown.
        y_pred: logits `(B, ceil(H / stride), ceil(W / stride), bins)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Raises:
        ValueError: for a prior of another number of bins, or with `prior_mix=0` and an empty bin.

    Reference: Zhang et al., ECCV 2016, equations 2 to 4.

    >>> loss = ColorCrossEntropy()
    >>> round(float(loss(np.full((1, 8, 8, 3), 99), np.zeros((1, 2, 2, 313)))), 4)  # log(313)
    5.7462
    """

    def __init__(
        self,
        grid: int = 10,
        *,
        prior: ArrayLike | None = None,
        prior_mix: float = 0.5,
        neighbors: int = 5,
        sigma: float = 5.0,
        stride: int = 4,
        subsample: str = "mean",
        gray_threshold: float | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "color_cross_entropy",
    ):
        super().__init__(
            stride=stride,
            subsample=subsample,
            gray_threshold=gray_threshold,
            reduction=reduction,
            name=name,
        )
        self.grid = _check.integer(grid, "grid", 1)
        self.bins = len(ab_bins(grid))
        self.prior_mix = _check.number(prior_mix, "prior_mix", 0, 1)
        self.neighbors = _check.integer(neighbors, "neighbors", 1)
        self.sigma = _check.number(sigma, "sigma", 1e-3)
        share = check_prior(prior, grid)
        if share is not None and self.prior_mix == 0 and not share.all():
            empty = f"{(share == 0).sum()} of {self.bins} bins have no share"
            raise _check.fail("prior_mix", f"a number > 0, as {empty}", prior_mix)
        self.prior = None if share is None else np.asarray(prior, "float64").tolist()
        self._balance = None if share is None else rebalancing(share, self.prior_mix)

    def pixel(self, ab: Tensor, y_pred: Tensor) -> Tensor:
        if y_pred.shape[-1] != self.bins:
            raise ValueError(
                f"`y_pred` must have a logit for each of the {self.bins} bins of grid={self.grid}. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        index, share = soft_encode(ab, self.grid, neighbors=self.neighbors, sigma=self.sigma)
        logits = ops.take_along_axis(y_pred, index, axis=-1)
        # The shares sum to 1.
        cost = ops.logsumexp(y_pred, axis=-1) - ops.sum(share * logits, axis=-1)
        if self._balance is None:
            return cost
        balance = ops.convert_to_tensor(self._balance, "float32")
        return cost * ops.take(balance, index[..., 0], axis=0)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "grid": self.grid,
            "prior": self.prior,
            "prior_mix": self.prior_mix,
            "neighbors": self.neighbors,
            "sigma": self.sigma,
        }


@keras.saving.register_keras_serializable("keras_dense")
class AbSmoothL1(ColorLoss):
    """Smooth L1 of (a, b) / 110, summed over a and b and averaged over known pixels.

    ```
    l = e² / (2 beta)   where e < beta,   e - beta / 2   elsewhere;   e = |y - (a, b) / 110|
    ```

    Args:
        beta: float >= 0.001, where the square ends, in units of a and b.
        stride, subsample, gray_threshold: see `ColorLoss`: predictions are at a quarter of the
            size; "mean" or "nearest"; images without color.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel of the prediction, `(B, h, w)`.
        name: name of the loss.

    Call arguments:
        y_true: RGB images 0–255 `(B, H, W, 3)`; a float pixel that is not finite is unknown.
        y_pred: (a, b) / 110, `(B, ceil(H / stride), ceil(W / stride), 2)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Reference: Girshick, "Fast R-CNN", ICCV 2015, equation 3.

    >>> round(float(AbSmoothL1()(np.full((1, 4, 4, 3), 99), np.full((1, 1, 1, 2), 0.5))), 3)
    0.991
    """

    def __init__(
        self,
        *,
        beta: float = 1.0,
        stride: int = 4,
        subsample: str = "mean",
        gray_threshold: float | None = None,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "ab_smooth_l1",
    ):
        super().__init__(
            stride=stride,
            subsample=subsample,
            gray_threshold=gray_threshold,
            reduction=reduction,
            name=name,
        )
        self.beta = _check.number(beta, "beta", 1e-3)

    def pixel(self, ab: Tensor, y_pred: Tensor) -> Tensor:
        if y_pred.shape[-1] != 2:
            raise ValueError(
                "`y_pred` must have two channels, (a, b) / 110. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        error, beta = ops.abs(y_pred - ab / AB_SCALE), self.beta / AB_SCALE
        square = ops.minimum(error, beta)
        return ops.sum(square**2 / (2 * beta) + (error - square), axis=-1)

    def get_config(self) -> Config:
        return {**super().get_config(), "beta": self.beta}

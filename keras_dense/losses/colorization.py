"""Losses of color: the target is the RGB image itself, the prediction lies in the plane (a, b).

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016.
"""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense.losses.contract import check_number
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, MapLoss, safe_divide
from keras_dense.ops.ab_bins import ab_bins, soft_encode
from keras_dense.ops.color import rgb_to_lab
from keras_dense.ops.image import sum_blocks

SUBSAMPLES = ("mean", "nearest")
AB_SCALE = 110.0  # predictions of a regression are (a, b) / 110


def check_prior(prior, grid):
    """A share for each bin as float64, summing to 1, or `None`; an error for what is none.

    >>> check_prior(None, 10) is None, float(check_prior(np.full(313, 2.0), 10).sum().round(6))
    (True, 1.0)
    """
    count = len(ab_bins(grid))
    if prior is None:
        return None
    prior = np.asarray(prior, "float64")
    if prior.shape != (count,):
        raise ValueError(
            f"`prior` must have a share for each of the {count} bins of grid={grid} (see "
            f"kd.training.estimate_ab_prior). Received: prior of shape {prior.shape}"
        )
    if not np.isfinite(prior).all() or (prior < 0).any() or not prior.any():
        raise ValueError(
            "`prior` must be finite and not negative, and not 0 everywhere. "
            f"Received: {prior.min()} to {prior.max()}"
        )
    return prior / prior.sum()


def rebalancing(prior, lam=0.5):
    """What a pixel of each bin weighs, so that rare colors count.

        w = 1 / ((1 - lam) prior + lam / bins),  scaled so that sum(prior · w) = 1

    The uniform share goes over all bins, those with a prior of 0 too (the authors' code leaves
    them out and then has infinite weights).

    Args:
        prior: the share of each bin, summing to 1.
        lam: 0 to 1; 1 weights all bins alike.

    Returns:
        float64 array of as many weights.

    Reference: Zhang et al., ECCV 2016, equation 4.

    >>> rebalancing(np.array([0.75, 0.25])).round(4).tolist()
    [0.8571, 1.4286]
    """
    weight = 1.0 / np.maximum((1.0 - lam) * prior + lam / len(prior), 1e-12)
    return weight / (prior * weight).sum()


def subsampled(ab, weight, stride, subsample="mean"):
    """Colors and weights at a fraction of the size, see `ColorLoss`.

    Args:
        ab: `(B, H, W, 2)`.
        weight: `(B, H, W, 1)`, 0 where unknown.
        stride: int ≥ 1.
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
        stride: int ≥ 1; predictions are `(B, ceil(H / stride), ceil(W / stride), C)`.
        subsample: how a pixel of the prediction gets its color: "mean": the mean (a, b) of the
            known pixels in its block, which is where half-pixel upsampling puts it back;
            "nearest": the block's top left pixel, as published. It weighs as many pixels as are
            known (mean), or 1 (nearest).
        gray_threshold: if given, images in which no |a| or |b| exceeds it cost nothing (5 in the
            authors' code): they are no examples of color.

    A pixel is unknown where a float target is not finite. Subclasses implement
    `price(ab, y_pred)`, `(B, h, w)`.
    """

    channels = 3

    def __init__(
        self,
        stride=4,
        subsample="mean",
        gray_threshold=None,
        name=None,
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(name, reduction)
        if subsample not in SUBSAMPLES:
            raise ValueError(
                f"`subsample` must be one of {SUBSAMPLES}. Received: subsample={subsample!r}"
            )
        self.stride = _check.integer(stride, "stride", 1)
        self.subsample = subsample
        self.gray_threshold = gray_threshold
        if gray_threshold is not None:
            self.gray_threshold = check_number("gray_threshold", gray_threshold, 0.0)

    def known(self, y_true):
        return ops.all(ops.isfinite(y_true), axis=-1, keepdims=True)

    def compute(self, y_true, y_pred, weight):
        ab, weight = subsampled(rgb_to_lab(y_true)[..., 1:], weight, self.stride, self.subsample)
        if self.gray_threshold is not None:
            chroma = ops.max(ops.abs(ab) * ops.sign(weight), axis=(1, 2, 3), keepdims=True)
            weight = weight * ops.cast(chroma > self.gray_threshold, "float32")
        # Where nothing is known, nothing that is predicted counts: NaN times 0 is not 0.
        price = self.price(ab, ops.where(weight > 0, y_pred, 0.0))
        weight = weight[..., 0]
        return Costs(weight * price, weight)

    def price(self, ab, y_pred):
        """What each pixel costs: `(B, h, w, 2)`, `(B, h, w, C)` → `(B, h, w)`."""
        raise TypeError(f"{type(self).__name__} must implement price(ab, y_pred)")

    def get_config(self):
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
    weight of its nearest bin (its mean over the prior is 1; 1 without a prior) and `w` the sample
    weight, 0 where unknown. No target over all bins is ever built.

    Args:
        grid: of the bins, see `kd.ops.ab_bins`: 10 means 313.
        prior: the share of each bin among the colors of the data
            (`kd.training.estimate_ab_prior`); `None`: all pixels count the same.
        lam: 0 to 1, how much of a uniform prior is mixed in; above 0 where a bin has no share.
        neighbors: int ≥ 1, bins that share a color: 5 in the paper, 10 in its code.
        sigma: number > 0, width of the Gaussian of these shares.
        stride, subsample, gray_threshold: see `ColorLoss`: predictions are at a quarter of the
            size; "mean" or "nearest"; images without color.
        name: name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel of the prediction, `(B, h, w)`.

    Call arguments:
        y_true: RGB images 0–255 `(B, H, W, 3)`; a float pixel that is not finite is unknown.
        y_pred: logits `(B, ceil(H / stride), ceil(W / stride), bins)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Raises:
        ValueError: for a prior of another number of bins, or with `lam=0` and an empty bin.

    Reference: Zhang et al., ECCV 2016, equations 2 to 4.

    >>> loss = ColorCrossEntropy()
    >>> round(float(loss(np.full((1, 8, 8, 3), 99), np.zeros((1, 2, 2, 313)))), 4)  # log(313)
    5.7462
    """

    def __init__(
        self,
        grid=10,
        prior=None,
        lam=0.5,
        neighbors=5,
        sigma=5.0,
        stride=4,
        subsample="mean",
        gray_threshold=None,
        name="color_cross_entropy",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(stride, subsample, gray_threshold, name, reduction)
        self.grid = _check.integer(grid, "grid", 1)
        self.bins = len(ab_bins(grid))
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.neighbors = _check.integer(neighbors, "neighbors", 1)
        self.sigma = check_number("sigma", sigma, 1e-3)
        share = check_prior(prior, grid)
        if share is not None and self.lam == 0 and not share.all():
            raise ValueError(
                f"`lam` must be above 0 where bins have no share: {(share == 0).sum()} of "
                f"{self.bins} do not. Received: lam={lam!r}"
            )
        self.prior = None if share is None else np.asarray(prior, "float64").tolist()
        self._balance = None if share is None else rebalancing(share, self.lam)

    def price(self, ab, y_pred):
        if y_pred.shape[-1] != self.bins:
            raise ValueError(
                f"y_pred must have a logit for each of the {self.bins} bins of grid={self.grid}. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        index, share = soft_encode(ab, self.grid, self.neighbors, self.sigma)
        logits = ops.take_along_axis(y_pred, index, axis=-1)
        # The shares sum to 1.
        price = ops.logsumexp(y_pred, axis=-1) - ops.sum(share * logits, axis=-1)
        if self._balance is None:
            return price
        balance = ops.convert_to_tensor(self._balance, "float32")
        return price * ops.take(balance, index[..., 0], axis=0)

    def get_config(self):
        return {
            **super().get_config(),
            "grid": self.grid,
            "prior": self.prior,
            "lam": self.lam,
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
        beta: number > 0: where the square ends, in units of a and b.
        stride, subsample, gray_threshold: see `ColorLoss`: predictions are at a quarter of the
            size; "mean" or "nearest"; images without color.
        name: name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel of the prediction, `(B, h, w)`.

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
        beta=1.0,
        stride=4,
        subsample="mean",
        gray_threshold=None,
        name="ab_smooth_l1",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        super().__init__(stride, subsample, gray_threshold, name, reduction)
        self.beta = check_number("beta", beta, 1e-3)

    def price(self, ab, y_pred):
        if y_pred.shape[-1] != 2:
            raise ValueError(
                "y_pred must have two channels, (a, b) / 110. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        error, beta = ops.abs(y_pred - ab / AB_SCALE), self.beta / AB_SCALE
        square = ops.minimum(error, beta)
        return ops.sum(square**2 / (2 * beta) + (error - square), axis=-1)

    def get_config(self):
        return {**super().get_config(), "beta": self.beta}

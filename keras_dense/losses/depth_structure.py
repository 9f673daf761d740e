"""Losses of depth that compare neighboring pixels: gradients, alignment, SSIM, smoothness."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Config, Tensor
from keras_dense.losses.depth import (
    DepthLoss,
    check_depth,
    image_costs,
    inverse_depth,
    log_depth,
    neighbors,
    steps,
)
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, MapLoss, pixel_costs
from keras_dense.ops.masked import image_median, image_sums, safe_divide
from keras_dense.ops.targets import known_colors

ONE_BY_ONE = "Call it with one image at a time for a loss of each."
ALIGNMENTS = ("least_squares", "median")


def gradient_matching(difference: Tensor, weight: Tensor, scales: int = 4) -> Tensor:
    """The sum over scales of the mean absolute slopes of a difference `(B, H, W, 1)`.

    Scale s takes every 2ˢ-th pixel. A slope counts where both pixels are known; the sum is divided
    by the sum of the weights of all pixels of the batch.

    >>> ramp = ops.reshape(ops.arange(4, dtype="float32"), (1, 1, 4, 1))
    >>> float(gradient_matching(ramp, ops.ones_like(ramp), scales=2))  # 3 / 4 + 2 / 2
    1.75
    """
    loss = 0.0
    for scale in range(scales):
        stride = 2**scale
        d, w = difference[:, ::stride, ::stride], weight[:, ::stride, ::stride]
        for axis in (1, 2):
            step, pair = steps(d, w, axis)
            loss = loss + safe_divide(ops.sum(pair * ops.absolute(step)), ops.sum(w))
    return loss


@keras.saving.register_keras_serializable("keras_dense")
class GradientMatching(DepthLoss):
    """Differences of the slopes of log depth at several scales, for edges like those in the truth.

    ```
    d = log y_pred - log y_true
    loss = sum_s (1 / n_s) sum |∂x d| + |∂y d|      over every 2ˢ-th pixel, s = 0 … scales - 1
    ```

    ∂ is the difference to the next known pixel, n_s the number of known pixels. A common factor
    does not change the loss: add it to another loss with `Sum`. Li and Snavely, "MegaDepth", CVPR
    2018, eq. 3.

    Args:
        scales: int >= 1, how many scales.
        log: bool; logarithms are compared, or meters.
        reduction: a mean (`"sum_over_batch_size"`, `"mean"` or `"mean_with_sample_weight"`, which
            are the same): there is no loss of each pixel to sum or return.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> meters = np.array([[[1.0, 2.0, 3.0]]])
    >>> round(float(GradientMatching()(meters, 2 * meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        *,
        scales: int = 4,
        log: bool = True,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "gradient_matching",
    ):
        super().__init__(reduction=reduction, name=name, whole=ONE_BY_ONE)
        self.scales = _check.integer(scales, "scales", 1)
        self.log = _check.flag(log, "log")

    def score(self, y_true, y_pred, weight):
        difference = log_depth(y_pred) - ops.log(y_true) if self.log else y_pred - y_true
        return gradient_matching(difference, weight, self.scales)

    def get_config(self) -> Config:
        return {**super().get_config(), "scales": self.scales, "log": self.log}


def fit_line(x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The scale and shift, each `(B, 1, 1, 1)`, that fit x to y in each image.

    Least squares over maps `(B, H, W, 1)`; the scale is 0 where x is constant.
    """
    n = image_sums(weight)
    mean_x, mean_y = (safe_divide(image_sums(weight * v), n) for v in (x, y))
    centered = x - mean_x
    squares = image_sums(weight * ops.square(centered))
    # Rounding leaves differences of 1e-7 in a constant map.
    squares = ops.where(squares > 1e-10 * n * ops.square(mean_x), squares, 0.0)
    scale = safe_divide(image_sums(weight * centered * (y - mean_y)), squares)
    return scale, mean_y - scale * mean_x


def align_by_median(x: Tensor, weight: Tensor) -> Tensor:
    """`(x - median) / mean |x - median|` of each image."""
    offset = x - image_median(x, weight > 0)
    scale = safe_divide(image_sums(weight * ops.absolute(offset)), image_sums(weight))
    return safe_divide(offset, scale)


@keras.saving.register_keras_serializable("keras_dense")
class ScaleAndShiftInvariant(DepthLoss):
    """Absolute differences after the best scale and shift of each image.

    ```
    "least_squares":  s, b = argmin sum (s y_pred + b - y_true)²;   d = s y_pred + b - y_true
    "median":         a(y) = (y - median y) / mean |y - median y|;  d = a(y_pred) - a(y_true)
    loss = mean |d| + gradient_weight * gradient_matching(d, scales)
    ```

    over the known pixels of an image, and the mean over images with a known pixel. For training on
    data of unknown scale (pass both maps as inverse depths then, as in the paper). Ranftl et al.,
    "Towards Robust Monocular Depth Estimation", PAMI 2022, eq. 2 to 6 and 11 (there with a factor
    of 1/2, and for medians without the 20 % largest differences).

    Args:
        alignment: `"least_squares"` or `"median"`.
        gradient_weight: float >= 0, weight of the slopes of d, 0.5 in the paper.
        scales: int >= 1, of the slopes, see `GradientMatching`.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `gradient_weight=0`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> meters = np.array([[[1.0, 2.0, 5.0]]])
    >>> round(float(ScaleAndShiftInvariant()(meters, 3 * meters[..., None] + 1)), 6)
    0.0
    """

    def __init__(
        self,
        alignment: str = "least_squares",
        *,
        gradient_weight: float = 0.0,
        scales: int = 4,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "scale_and_shift_invariant",
    ):
        whole = "With gradient_weight=0 there is a loss of each image." if gradient_weight else None
        super().__init__(reduction=reduction, name=name, whole=whole)
        self.alignment = _check.choice(alignment, "alignment", ALIGNMENTS)
        self.gradient_weight = _check.number(gradient_weight, "gradient_weight", 0)
        self.scales = _check.integer(scales, "scales", 1)

    def score(self, y_true, y_pred, weight):
        if self.alignment == "median":
            difference = align_by_median(y_pred, weight) - align_by_median(y_true, weight)
        else:
            scale, shift = fit_line(y_pred, y_true, weight)
            difference = scale * y_pred + shift - y_true
        each = safe_divide(image_sums(weight * ops.absolute(difference)), image_sums(weight))
        costs = image_costs(each, weight)
        if not self.gradient_weight:
            return costs
        slopes = gradient_matching(difference, weight, self.scales)
        mean = safe_divide(ops.sum(costs.total), ops.sum(costs.weight))
        return mean + self.gradient_weight * slopes

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "alignment": self.alignment,
            "gradient_weight": self.gradient_weight,
            "scales": self.scales,
        }


def masked_ssim(
    x: Tensor, y: Tensor, known: Tensor, data_range: float, window: int = 11, sigma: float = 1.5
) -> Tensor:
    """Structural similarity at every pixel, over the known pixels around it.

    Means, variances and covariance are over the known pixels of a Gaussian window; pixels beyond
    the border are unknown. Constants k1 = 0.01, k2 = 0.03.

    Args:
        x, y: `(B, H, W, 1)`, finite everywhere.
        known: `(B, H, W, 1)` of 0 and 1, float32.
        data_range: float, the range of the values.
        window: odd int, size of the window.
        sigma: float, standard deviation of the Gaussian.

    Returns:
        `(B, H, W, 1)`, at most 1; 0 where no pixel of the window is known.

    Reference: Wang et al., "Image quality assessment: from error visibility to structural
    similarity", TIP 2004, eq. 13.

    >>> x = ops.reshape(ops.arange(16, dtype="float32"), (1, 4, 4, 1))
    >>> round(float(ops.min(masked_ssim(x, x, ops.ones_like(x), 15.0))), 6)
    1.0
    """
    offsets: Array = np.arange(window) - window // 2
    kernel = np.exp(-0.5 * np.square(offsets / sigma))
    kernel = ops.convert_to_tensor(kernel / kernel.sum(), "float32")
    batch = ops.shape(x)[0]
    # (Co)variances do not change with a common shift, but lose fewer digits around 0.
    center = safe_divide(image_sums(known * y), image_sums(known))
    x, y = known * (x - center), known * (y - center)
    stacked = ops.concatenate([known, x, y, x * x, y * y, x * y], axis=0)
    for shape in ((-1, 1, 1, 1), (1, -1, 1, 1)):
        stacked = ops.conv(
            stacked, ops.reshape(kernel, shape), padding="same", data_format="channels_last"
        )
    share, *sums = (stacked[i * batch : (i + 1) * batch] for i in range(6))
    mean_x, mean_y, xx, yy, xy = (safe_divide(s, share) for s in sums)
    variances = ops.maximum(xx - ops.square(mean_x), 0) + ops.maximum(yy - ops.square(mean_y), 0)
    covariance = xy - mean_x * mean_y
    mean_x, mean_y = mean_x + center, mean_y + center
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (ops.square(mean_x) + ops.square(mean_y) + c1)
    similarity = luminance * (2 * covariance + c2) / (variances + c2)
    return ops.where(share > 0, similarity, 0.0)


@keras.saving.register_keras_serializable("keras_dense")
class DepthSSIM(DepthLoss):
    """Structural dissimilarity of depth maps, over known pixels alone.

    ```
    loss = mean of clip((1 - SSIM) / 2, 0, 1)
    ```

    over known pixels, see `masked_ssim`. Meant as a term of a `Sum`. Alhashim and
    Wonka, "High Quality Monocular Depth Estimation via Transfer Learning", 2018, eq. 4, compare
    reciprocal depths (`reciprocal=True, data_range=10.0` for 0.1 to 10 m).

    Args:
        data_range: float >= 1e-6, range of the values in meters, or in reciprocal meters.
        reciprocal: bool; 1 / depth is compared.
        window: odd int, size of the Gaussian window.
        sigma: float >= 0.001, standard deviation of the Gaussian, in pixels.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> meters = np.arange(1.0, 17.0).reshape(1, 4, 4)
    >>> round(float(DepthSSIM()(meters, meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        *,
        data_range: float = 10.0,
        reciprocal: bool = False,
        window: int = 11,
        sigma: float = 1.5,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "depth_ssim",
    ):
        super().__init__(reduction=reduction, name=name)
        self.data_range = _check.number(data_range, "data_range", 1e-6)
        self.reciprocal = _check.flag(reciprocal, "reciprocal")
        self.window = _check.integer(window, "window", 1)
        if not self.window % 2:
            raise _check.fail("window", "odd", window)
        self.sigma = _check.number(sigma, "sigma", 1e-3)

    def score(self, y_true, y_pred, weight):
        if self.reciprocal:
            y_true, y_pred = 1.0 / y_true, inverse_depth(y_pred)
        known = ops.cast(weight > 0, "float32")
        ssim = masked_ssim(y_true, y_pred, known, self.data_range, self.window, self.sigma)
        cost = ops.clip((1.0 - ssim) / 2.0, 0.0, 1.0)
        return pixel_costs(cost, weight)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "data_range": self.data_range,
            "reciprocal": self.reciprocal,
            "window": self.window,
            "sigma": self.sigma,
        }


def edge_aware_smoothness(
    depth: ArrayLike, image: ArrayLike, *, weight: ArrayLike | None = None
) -> Tensor:
    """Roughness of a depth map where the image is smooth.

    ```
    D = depth / its mean over the image;  I = image / 255
    cost = mean |∂x D| exp(-mean_c |∂x I|) + mean |∂y D| exp(-mean_c |∂y I|)
    ```

    Godard et al., "Digging Into Self-Supervised Monocular Depth Estimation", ICCV 2019, eq. 3
    (there of disparities). It needs no true depth. As the image is not a target of depth, call it
    where both are available, for example in a layer:
    `self.add_loss(0.001 * edge_aware_smoothness(depth, image))`.

    Args:
        depth: `(B, H, W, 1)`, positive.
        image: `(B, H, W, C)`, 0–255.
        weight: `(B, H, W, 1)`, 0 where a pixel does not count; `None`: all count.

    Returns:
        Scalar, float32.

    >>> import numpy as np
    >>> image, depth = np.zeros((1, 1, 3, 3)), np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> float(edge_aware_smoothness(depth, image))
    0.5
    """
    depth, image = ops.cast(depth, "float32"), ops.cast(image, "float32") / 255.0
    weight = ops.ones_like(depth) if weight is None else ops.cast(weight, "float32")
    mean = safe_divide(image_sums(weight * depth), image_sums(weight))
    depth = safe_divide(depth, ops.absolute(mean))
    cost = 0.0
    for axis in (1, 2):
        step, pair = steps(depth, weight, axis)
        before, after = neighbors(image, axis)
        edge = ops.mean(ops.absolute(after - before), axis=-1, keepdims=True)
        smooth = pair * ops.absolute(step) * ops.exp(-edge)
        cost = cost + safe_divide(ops.sum(smooth), ops.sum(pair))
    return cost


@keras.saving.register_keras_serializable("keras_dense")
class EdgeAwareSmoothness(MapLoss):
    """Roughness of depth away from edges of the image: a loss whose target is the image.

    See `edge_aware_smoothness` for the formula. `y_true` is the image `(B, H, W, 3)`, 0–255 (a
    pixel that holds NaN does not count), `y_pred` the depth `(B, H, W, 1)`.

    Args:
        reduction: a mean (`"sum_over_batch_size"`, `"mean"` or `"mean_with_sample_weight"`, which
            are the same): there is no loss of each pixel to sum or return.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> image, depth = np.zeros((1, 1, 3, 3)), np.array([1.0, 2.0, 3.0]).reshape(1, 1, 3, 1)
    >>> float(EdgeAwareSmoothness()(image, depth))
    0.5
    """

    channels = 3
    filler = 0.0

    def __init__(
        self,
        *,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "edge_aware_smoothness",
    ):
        super().__init__(reduction=reduction, name=name, whole=ONE_BY_ONE)

    def known(self, y_true):
        return known_colors(y_true)

    def compute(self, y_true, y_pred, weight):
        check_depth(y_pred)
        return edge_aware_smoothness(y_pred, y_true, weight=weight)

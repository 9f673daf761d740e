"""Losses of depth, pixel by pixel: scale-invariant log, berHu, absolute differences."""

import keras
from keras import ops

from keras_dense.losses.contract import check_flag, check_number
from keras_dense.losses.weighted import (
    SUM_OVER_BATCH_SIZE,
    Costs,
    MapLoss,
    pixel_costs,
    safe_divide,
)

_SMALLEST = 1e-3  # meters: below, logarithm and reciprocal go on as their tangents


def log_depth(depth):
    """`log(depth)`, and below 1 mm its tangent there.

    So a prediction that is not positive has a finite value, and a gradient that leads it back.

    >>> [round(float(v), 3) for v in log_depth(ops.convert_to_tensor([1.0, 0.0]))]
    [0.0, -7.908]
    """
    above = ops.maximum(depth, _SMALLEST)
    return ops.log(above) + ops.minimum(depth - _SMALLEST, 0.0) / _SMALLEST


def inverse_depth(depth):
    """`1 / depth`, and below 1 mm its tangent there, as of `log_depth`.

    >>> [round(float(v), 3) for v in inverse_depth(ops.convert_to_tensor([2.0, 0.0]))]
    [0.5, 2000.0]
    """
    above = ops.maximum(depth, _SMALLEST)
    return 1.0 / above - ops.minimum(depth - _SMALLEST, 0.0) / _SMALLEST**2


def safe_sqrt(x):
    """`sqrt(x)`, and 0 with zero gradient where x is 0 (or a rounding error away from it).

    >>> float(safe_sqrt(ops.convert_to_tensor(-1e-20)))
    0.0
    """
    some = x > 1e-12
    return ops.where(some, ops.sqrt(ops.where(some, x, 1.0)), 0.0)


def image_sums(x):
    """Sums over the pixels of each image: `(B, H, W, C)` → `(B, 1, 1, C)`."""
    return ops.sum(x, axis=(1, 2), keepdims=True)


def image_costs(values, weight):
    """`Costs` `(B,)` of the images that have a known pixel, of `values` `(B, 1, 1, 1)`."""
    seen = ops.cast(image_sums(weight) > 0, "float32")
    return Costs((seen * values)[:, 0, 0, 0], seen[:, 0, 0, 0])


def neighbors(x, axis):
    """A map without its last row or column, and the map of what comes after each of its pixels.

    >>> before, after = neighbors(ops.reshape(ops.arange(3), (1, 1, 3, 1)), axis=2)
    >>> ops.convert_to_numpy(before).ravel().tolist(), ops.convert_to_numpy(after).ravel().tolist()
    ([0, 1], [1, 2])
    """
    return (x[:, :-1], x[:, 1:]) if axis == 1 else (x[:, :, :-1], x[:, :, 1:])


def steps(x, weight, axis):
    """Forward differences of a map, and the weights of the pairs: 0 unless both are known."""
    before, after = neighbors(x, axis)
    first, second = neighbors(weight, axis)
    return after - before, first * second


class DepthLoss(MapLoss):
    """Base of losses of depth in meters; what is not finite or not positive is unknown.

    Subclasses implement `score(y_true, y_pred, weight)`. All are float32 `(B, H, W, 1)`; where
    `weight` is 0 both maps are 1, so their difference is 0.
    """

    def known(self, y_true):
        return ops.logical_and(y_true > 0, y_true < float("inf"))

    def compute(self, y_true, y_pred, weight):
        if y_pred.shape[-1] != 1:
            raise ValueError(
                f"y_pred must be depth of shape (B, H, W, 1). Received: shape {tuple(y_pred.shape)}"
            )
        return self.score(y_true, y_pred, weight)

    def score(self, y_true, y_pred, weight):
        """The loss: `Costs`, or one number."""
        raise TypeError(f"{type(self).__name__} must implement score(y_true, y_pred, weight)")


@keras.saving.register_keras_serializable("keras_dense")
class ScaleInvariantLog(DepthLoss):
    """Scale-invariant error of log depth (SILog).

    ```
    d = log(y_pred) - log(y_true)
    loss = scale * sqrt(mean d² - lam (mean d)²)            without the root: root=False
           + gradient_weight * (mean (∂x d)² + mean (∂y d)²)
    ```

    over known pixels, ∂ the difference to the next pixel, over pairs that are both known.
    With lam=1 the scale of a scene costs nothing, with lam=0 it costs as every other error.

    | published as | arguments |
    |---|---|
    | Eigen et al., NIPS 2014, eq. 4 | `root=False, reduction_over="image"` |
    | Eigen and Fergus, ICCV 2015, eq. 1 | the same and `gradient_weight=1.0` |
    | BTS (Lee et al., 2019, eq. 4) | `lam=0.85, scale=10.0` |
    | AdaBins (Bhat et al., CVPR 2021, eq. 4), its code | `lam=0.85, scale=10.0, ddof=1` |

    Args:
        lam: How much of the squared mean is taken off, in [0, 1].
        scale: Factor.
        root: Whether the root is taken. Its gradient is 0 where the prediction is perfect.
        reduction_over: `"batch"`: the means are over all pixels of the batch; `"image"`: the mean
            over images of what each costs.
        gradient_weight: Weight of the squared first differences of d.
        ddof: As in NumPy: the variance of d is divided by n - ddof (n: the sum of weights).
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the mean; so are `"mean"` and
            `"mean_with_sample_weight"`); with `reduction_over="image"`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.

    Example:

    >>> import numpy as np
    >>> meters = np.array([[[1.0, 2.0, 0.0]]])  # the last pixel is unknown
    >>> round(float(ScaleInvariantLog(lam=1.0)(meters, 3 * meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        lam=0.5,
        scale=1.0,
        root=True,
        reduction_over="batch",
        gradient_weight=0.0,
        ddof=0,
        name="scale_invariant_log",
        reduction=SUM_OVER_BATCH_SIZE,
    ):
        whole = None
        if reduction_over == "batch":
            whole = "Use reduction_over='image': then there is a loss of each image."
        super().__init__(name, reduction, whole)
        if reduction_over not in ("batch", "image"):
            raise ValueError(
                "`reduction_over` must be 'batch' or 'image'. "
                f"Received: reduction_over={reduction_over!r}"
            )
        if ddof not in (0, 1):
            raise ValueError(f"`ddof` must be 0 or 1. Received: ddof={ddof!r}")
        self.lam = check_number("lam", lam, 0.0, 1.0)
        self.scale = check_number("scale", scale, 0.0)
        self.root = check_flag("root", root)
        self.reduction_over = reduction_over
        self.gradient_weight = check_number("gradient_weight", gradient_weight, 0.0)
        self.ddof = int(ddof)

    def score(self, y_true, y_pred, weight):
        d = log_depth(y_pred) - ops.log(y_true)
        per_image = self.reduction_over == "image"
        axis = (1, 2, 3) if per_image else None

        def total(x):
            return ops.sum(x, axis=axis, keepdims=True)

        n = total(weight)
        mean = safe_divide(total(weight * d), n)
        squares = total(weight * ops.square(d - mean))
        variance = safe_divide(squares, ops.maximum(n - self.ddof, 0.0))
        # mean d² - lam (mean d)² without the difference of two large numbers.
        value = variance + (1.0 - self.lam) * ops.square(mean)
        value = self.scale * (safe_sqrt(value) if self.root else value)
        if self.gradient_weight:
            for step, pair in (steps(d, weight, axis) for axis in (1, 2)):
                slope = safe_divide(total(pair * ops.square(step)), total(pair))
                value = value + self.gradient_weight * slope
        return image_costs(value, weight) if per_image else ops.sum(value)

    def get_config(self):
        return {
            **super().get_config(),
            "lam": self.lam,
            "scale": self.scale,
            "root": self.root,
            "reduction_over": self.reduction_over,
            "gradient_weight": self.gradient_weight,
            "ddof": self.ddof,
        }


def berhu(error, limit):
    """`|e|`, and `(e² + c²) / (2 c)` beyond the limit c.

    >>> float(berhu(ops.convert_to_tensor(3.0), ops.convert_to_tensor(1.0)))
    5.0
    """
    size = ops.absolute(error)
    beyond = size > limit
    divisor = 2.0 * ops.where(limit > 0, limit, 1.0)
    square = (ops.square(ops.where(beyond, error, 0.0)) + ops.square(limit)) / divisor
    return ops.where(beyond, square, size)


@keras.saving.register_keras_serializable("keras_dense")
class BerHu(DepthLoss):
    """Reverse Huber loss: small errors count as they are, large ones squared.

    ```
    e = y_pred - y_true,  c = threshold * max |e| over the known pixels of the batch
    loss = mean of |e| where |e| <= c, else (e² + c²) / (2 c)
    ```

    No gradient goes through c. Laina et al., "Deeper Depth Prediction with Fully Convolutional
    Residual Networks", 3DV 2016, eq. 1.

    Args:
        threshold: Share of the largest error of the batch, in [0, 1]; 1 is the mean of |e|.
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Example:

    >>> import numpy as np
    >>> loss = BerHu(threshold=0.5)(np.array([[[1.0, 1.0]]]), np.array([[[[1.5], [3.0]]]]))
    >>> float(loss)  # c = 1: (0.5 + (4 + 1) / 2) / 2
    1.5
    """

    def __init__(self, threshold=0.2, name="berhu", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)
        self.threshold = check_number("threshold", threshold, 0.0, 1.0)

    def score(self, y_true, y_pred, weight):
        # Of two ones where nothing is known.
        error = y_pred - y_true
        limit = self.threshold * ops.stop_gradient(ops.max(ops.absolute(error)))
        return pixel_costs(berhu(error, limit), weight)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("keras_dense")
class DepthL1(DepthLoss):
    """Mean absolute error of depth, in meters, or of its logarithm.

    ```
    loss = mean |y_pred - y_true|,  or  mean |log y_pred - log y_true|
    ```

    over known pixels.

    Args:
        log: Whether logarithms are compared (near and far count alike).
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Example:

    >>> import numpy as np
    >>> float(DepthL1()(np.array([[[1.0, np.nan]]]), np.array([[[[1.5], [9.0]]]])))
    0.5
    """

    def __init__(self, log=False, name="depth_l1", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)
        self.log = check_flag("log", log)

    def score(self, y_true, y_pred, weight):
        difference = log_depth(y_pred) - ops.log(y_true) if self.log else y_pred - y_true
        return pixel_costs(ops.absolute(difference), weight)

    def get_config(self):
        return {**super().get_config(), "log": self.log}

"""Losses of depth, pixel by pixel: scale-invariant log, berHu, absolute differences."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.weighted import (
    SUM_OVER_BATCH_SIZE,
    Costs,
    MapLoss,
    pixel_costs,
)
from keras_dense.ops.masked import image_sums, safe_divide
from keras_dense.ops.replicas import sums_of_whole_batch
from keras_dense.ops.targets import known_depth

_SMALLEST = 1e-3  # meters; below, logarithm and reciprocal continue as their tangents


def log_depth(depth: Tensor) -> Tensor:
    """`log(depth)`, and below 1 mm its tangent there.

    So a prediction that is not positive has a finite value, and a gradient that increases it.

    >>> [round(float(v), 3) for v in log_depth(ops.convert_to_tensor([1.0, 0.0]))]
    [0.0, -7.908]
    """
    above = ops.maximum(depth, _SMALLEST)
    return ops.log(above) + ops.minimum(depth - _SMALLEST, 0.0) / _SMALLEST


def inverse_depth(depth: Tensor) -> Tensor:
    """`1 / depth`, and below 1 mm its tangent there, as in `log_depth`.

    >>> [round(float(v), 3) for v in inverse_depth(ops.convert_to_tensor([2.0, 0.0]))]
    [0.5, 2000.0]
    """
    above = ops.maximum(depth, _SMALLEST)
    return 1.0 / above - ops.minimum(depth - _SMALLEST, 0.0) / _SMALLEST**2


def safe_sqrt(x: Tensor) -> Tensor:
    """`sqrt(x)`, and 0 with zero gradient where x is 0 within rounding errors.

    >>> float(safe_sqrt(ops.convert_to_tensor(-1e-20)))
    0.0
    """
    some = x > 1e-12
    return ops.where(some, ops.sqrt(ops.where(some, x, 1.0)), 0.0)


def image_costs(values: Tensor, weight: Tensor) -> Costs:
    """`Costs` `(B,)` from values `(B, 1, 1, 1)`; 0 for images without a known pixel."""
    seen = ops.cast(image_sums(weight) > 0, "float32")
    return Costs((seen * values)[:, 0, 0, 0], seen[:, 0, 0, 0])


def neighbors(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """A map without its last row or column, and the map of the next pixels along an axis.

    >>> before, after = neighbors(ops.reshape(ops.arange(3), (1, 1, 3, 1)), axis=2)
    >>> ops.convert_to_numpy(before).ravel().tolist(), ops.convert_to_numpy(after).ravel().tolist()
    ([0, 1], [1, 2])
    """
    return (x[:, :-1], x[:, 1:]) if axis == 1 else (x[:, :, :-1], x[:, :, 1:])


def steps(x: Tensor, weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Forward differences of a map, and the weights of the pairs: 0 unless both are known."""
    before, after = neighbors(x, axis)
    first, second = neighbors(weight, axis)
    return after - before, first * second


def check_depth(y_pred: Tensor) -> None:
    """Raise a ValueError unless a prediction has one channel."""
    if y_pred.shape[-1] != 1:
        raise ValueError(
            "`y_pred` must be depth of shape (B, H, W, 1). "
            f"Received: y_pred of shape {tuple(y_pred.shape)}"
        )


class DepthLoss(MapLoss):
    """Base of losses of depth in meters; values that are not finite or not positive are unknown.

    Subclasses implement `score(y_true, y_pred, weight)`. All three are float32 `(B, H, W, 1)`;
    where `weight` is 0 both maps are 1, so their difference is 0.
    """

    def known(self, y_true):
        return known_depth(y_true)

    def compute(self, y_true, y_pred, weight):
        check_depth(y_pred)
        return self.score(y_true, y_pred, weight)

    def score(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs | Tensor:
        """The loss: `Costs`, or one number."""
        raise TypeError(f"{type(self).__name__} must implement score(y_true, y_pred, weight)")


@keras.saving.register_keras_serializable("keras_dense")
class ScaleInvariantLog(DepthLoss):
    """Scale-invariant error of log depth (SILog).

    ```
    d = log(y_pred) - log(y_true)
    loss = scale * sqrt(mean d² - variance_focus (mean d)²)         without the root: root=False
           + gradient_weight * (mean (∂x d)² + mean (∂y d)²)
    ```

    over known pixels; ∂ is the difference to the next pixel, over pairs that are both known. With
    `variance_focus=1` an error in the scale of a scene costs nothing, with 0 as much as any other
    error.

    | published as | arguments |
    |---|---|
    | Eigen et al., NIPS 2014, eq. 4 | `root=False, reduction_over="image"` |
    | Eigen and Fergus, ICCV 2015, eq. 1 | the same and `gradient_weight=1.0` |
    | BTS (Lee et al., 2019, eq. 4) | `variance_focus=0.85, scale=10.0` |
    | AdaBins (Bhat et al., CVPR 2021, eq. 4; code) | `variance_focus=0.85, scale=10.0, ddof=1` |

    Args:
        variance_focus: float from 0 to 1, how much of the squared mean is subtracted (the
            papers' λ).
        scale: float >= 0, factor.
        root: bool; the root is taken. Its gradient is 0 where the prediction is perfect.
        reduction_over: `"batch"`: the means are over all pixels of the batch; `"image"`: the loss
            is the mean over images of the loss of each.
        gradient_weight: float >= 0, weight of the squared first differences of d.
        ddof: 0 or 1, as in NumPy: the variance of d is divided by n - ddof (n: the sum of weights).
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `reduction_over="image"`, also `"sum"`
            over images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> meters = np.array([[[1.0, 2.0, 0.0]]])  # the last pixel is unknown
    >>> round(float(ScaleInvariantLog(variance_focus=1.0)(meters, 3 * meters[..., None])), 6)
    0.0
    """

    def __init__(
        self,
        *,
        variance_focus: float = 0.5,
        scale: float = 1.0,
        root: bool = True,
        reduction_over: str = "batch",
        gradient_weight: float = 0.0,
        ddof: int = 0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "scale_invariant_log",
    ):
        whole = None
        if reduction_over == "batch":
            whole = "Use reduction_over='image': then there is a loss of each image."
        super().__init__(reduction=reduction, name=name, whole=whole)
        self.variance_focus = _check.number(variance_focus, "variance_focus", 0, 1)
        self.scale = _check.number(scale, "scale", 0)
        self.root = _check.flag(root, "root")
        self.reduction_over = _check.choice(reduction_over, "reduction_over", ("batch", "image"))
        self.gradient_weight = _check.number(gradient_weight, "gradient_weight", 0)
        self.ddof = _check.integer(ddof, "ddof", 0, 1)

    def score(self, y_true, y_pred, weight):
        d = log_depth(y_pred) - ops.log(y_true)
        per_image = self.reduction_over == "image"
        axis = (1, 2, 3) if per_image else None

        def total(x):
            value = ops.sum(x, axis=axis, keepdims=True)
            return value if per_image else sums_of_whole_batch(value)

        n = total(weight)
        mean = safe_divide(total(weight * d), n)
        # The sum of d - mean is 0, so no gradient passes through this mean.
        squares = total(weight * ops.square(d - ops.stop_gradient(mean)))
        variance = safe_divide(squares, ops.maximum(n - self.ddof, 0.0))
        # mean d² - variance_focus (mean d)² without the difference of two large numbers.
        value = variance + (1.0 - self.variance_focus) * ops.square(mean)
        value = self.scale * (safe_sqrt(value) if self.root else value)
        if self.gradient_weight:
            for step, pair in (steps(d, weight, axis) for axis in (1, 2)):
                slope = safe_divide(total(pair * ops.square(step)), total(pair))
                value = value + self.gradient_weight * slope
        return image_costs(value, weight) if per_image else ops.sum(value)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "variance_focus": self.variance_focus,
            "scale": self.scale,
            "root": self.root,
            "reduction_over": self.reduction_over,
            "gradient_weight": self.gradient_weight,
            "ddof": self.ddof,
        }


def berhu(error: Tensor, limit: Tensor) -> Tensor:
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
    """Reverse Huber loss: absolute value of small errors, square of large ones.

    ```
    e = y_pred - y_true,  c = threshold * max |e| over the known pixels of the batch
    loss = mean of |e| where |e| <= c, else (e² + c²) / (2 c)
    ```

    There is no gradient through c. Laina et al., "Deeper Depth Prediction with Fully Convolutional
    Residual Networks", 3DV 2016, eq. 1.

    Args:
        threshold: float from 0 to 1, share of the largest error of the batch; 1 is the mean of |e|.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> loss = BerHu(threshold=0.5)(np.array([[[1.0, 1.0]]]), np.array([[[[1.5], [3.0]]]]))
    >>> float(loss)  # c = 1: (0.5 + (4 + 1) / 2) / 2
    1.5
    """

    def __init__(
        self,
        *,
        threshold: float = 0.2,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "berhu",
    ):
        super().__init__(reduction=reduction, name=name)
        self.threshold = _check.number(threshold, "threshold", 0, 1)

    def score(self, y_true, y_pred, weight):
        # 0 where nothing is known, since both maps are 1 there.
        error = y_pred - y_true
        limit = self.threshold * ops.stop_gradient(ops.max(ops.absolute(error)))
        return pixel_costs(berhu(error, limit), weight)

    def get_config(self) -> Config:
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("keras_dense")
class DepthL1(DepthLoss):
    """Mean absolute error of depth, in meters, or of its logarithm.

    ```
    loss = mean |y_pred - y_true|,  or  mean |log y_pred - log y_true|
    ```

    over known pixels.

    Args:
        log: bool; logarithms are compared, so near and far count alike.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Example:

    >>> import numpy as np
    >>> float(DepthL1()(np.array([[[1.0, np.nan]]]), np.array([[[[1.5], [9.0]]]])))
    0.5
    """

    def __init__(
        self,
        *,
        log: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "depth_l1",
    ):
        super().__init__(reduction=reduction, name=name)
        self.log = _check.flag(log, "log")

    def score(self, y_true, y_pred, weight):
        difference = log_depth(y_pred) - ops.log(y_true) if self.log else y_pred - y_true
        return pixel_costs(ops.absolute(difference), weight)

    def get_config(self) -> Config:
        return {**super().get_config(), "log": self.log}

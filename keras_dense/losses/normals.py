"""Losses of surface normals."""

import math

import keras
from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, MapLoss, pixel_costs
from keras_dense.ops.geometry import angle_between, normalize
from keras_dense.ops.targets import known_normals

MIN_CONCENTRATION = 0.01


class _NormalsLoss(MapLoss):
    """The weighted mean over known pixels of `pixel(truth, prediction)`, both of length 1."""

    channels = 3

    def known(self, y_true: Tensor) -> Tensor:
        return known_normals(y_true)

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs:
        if y_pred.shape[-1] not in (3, 4):
            raise ValueError(
                f"`y_pred` must have 3 channels for {type(self).__name__}, or 4 with a "
                "concentration, which is not used. "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        cost = self.pixel(normalize(y_true), normalize(y_pred[..., :3]))
        return pixel_costs(cost, weight)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsCosine(_NormalsLoss):
    """One minus the cosine of the angle between true and predicted normals.

    ```
    loss = mean 1 - n · m
    ```

    Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common
    Multi-Scale Convolutional Architecture", ICCV 2015, section 4.2 (there without the 1).

    Call arguments (common to all losses of normals):
        y_true: `(B, H, W, 3)`; a norm below 1/2 (or NaN) is unknown, others are normalized to 1.
        y_pred: `(B, H, W, 3)`, in the same frame, of any length: only its direction counts. A
            fourth channel, as from `kd.heads.Normals(concentration=True)`, is not used.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Args:
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: when called, for a prediction with other channels or of another size.

    Example:

    >>> import numpy as np
    >>> truth = np.array([[[[0, 0, -1], [0, 0, -1], [0, 0, 0]]]])  # the last is unknown
    >>> prediction = np.array([[[[0, 0, -2.0], [0, 0.6, -0.8], [1, 0, 0]]]])
    >>> round(float(NormalsCosine()(truth, prediction)), 4)  # (0 + 0.2) / 2
    0.1
    """

    def __init__(
        self, *, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "normals_cosine"
    ):
        super().__init__(reduction=reduction, name=name)

    def pixel(self, truth: Tensor, prediction: Tensor) -> Tensor:
        return 1.0 - ops.sum(truth * prediction, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsAngular(_NormalsLoss):
    """The angle between true and predicted normals, in radians.

    ```
    loss = mean acos(n · m) = mean atan2(|n × m|, n · m)
    ```

    computed in the second form, which is exact at small angles and has a finite gradient (0 at the
    angles 0 and π, where there is none). Bae, Budvytis and Cipolla, "Estimating and Exploiting the
    Aleatoric Uncertainty in Surface Normal Estimation", ICCV 2021, section 3. Call arguments: see
    `NormalsCosine`.

    Args:
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: when called, for a prediction with other channels or of another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 1.0, -1.0]]]])
    >>> round(float(NormalsAngular()(truth, prediction)), 4)  # 45 degrees
    0.7854
    """

    def __init__(
        self, *, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "normals_angular"
    ):
        super().__init__(reduction=reduction, name=name)

    def pixel(self, truth: Tensor, prediction: Tensor) -> Tensor:
        return angle_between(truth, prediction)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsL1(_NormalsLoss):
    """The absolute differences of unit normals, summed over x, y and z.

    ```
    loss = mean |n_x - m_x| + |n_y - m_y| + |n_z - m_z|
    ```

    Bae, Budvytis and Cipolla, ICCV 2021, section 3. (Others average over the channels: a third.)
    Call arguments: see `NormalsCosine`.

    Args:
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: when called, for a prediction with other channels or of another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0.6, -0.8]]]])
    >>> round(float(NormalsL1()(truth, prediction)), 4)
    0.8
    """

    def __init__(self, *, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "normals_l1"):
        super().__init__(reduction=reduction, name=name)

    def pixel(self, truth: Tensor, prediction: Tensor) -> Tensor:
        return ops.sum(ops.abs(truth - prediction), axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsL2(_NormalsLoss):
    """The squared distance between unit normals, twice `NormalsCosine`.

    ```
    loss = mean |n - m|² = mean 2 - 2 n · m
    ```

    Bae, Budvytis and Cipolla, ICCV 2021, section 3. Call arguments: see `NormalsCosine`.

    Args:
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: when called, for a prediction with other channels or of another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0.6, -0.8]]]])
    >>> round(float(NormalsL2()(truth, prediction)), 4)
    0.4
    """

    def __init__(self, *, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "normals_l2"):
        super().__init__(reduction=reduction, name=name)

    def pixel(self, truth: Tensor, prediction: Tensor) -> Tensor:
        return ops.sum(ops.square(truth - prediction), axis=-1, keepdims=True)


class _ConcentrationLoss(_NormalsLoss):
    """The weighted mean of `likelihood(truth, prediction, kappa)` over known pixels."""

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs:
        if y_pred.shape[-1] != 4:
            raise ValueError(
                f"`y_pred` must have 4 channels for {type(self).__name__}, normal and "
                "concentration (kd.heads.Normals(concentration=True)). "
                f"Received: y_pred of shape {tuple(y_pred.shape)}"
            )
        y_pred = ops.cast(y_pred, "float32")
        kappa = ops.maximum(y_pred[..., 3:], MIN_CONCENTRATION)
        cost = self.likelihood(normalize(y_true), normalize(y_pred[..., :3]), kappa)
        return pixel_costs(cost, weight)


@keras.saving.register_keras_serializable("keras_dense")
class VonMisesFisher(_ConcentrationLoss):
    """Negative log likelihood of the true normal, for a predicted von Mises-Fisher distribution.

    ```
    loss = mean -ln κ - κ (n · m - 1) + ln(1 - exp(-2 κ))
    ```

    without the constant ln 2π, so it may be negative. κ is large where the prediction is certain;
    `kd.heads.Normals(concentration=True)` computes it from a score y as `κ = elu(y) + 1 + 0.01`.
    Bae, Budvytis and Cipolla, "Estimating and Exploiting the Aleatoric Uncertainty in Surface
    Normal Estimation", ICCV 2021, section 3.

    Call arguments:
        y_true: `(B, H, W, 3)`; a norm below 1/2 (or NaN) is unknown, others are normalized to 1.
        y_pred: `(B, H, W, 4)`: a normal of any length, and κ; values below 0.01 count as 0.01.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Args:
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: when called, for a prediction with other channels or of another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0, -1, 2.0]]]])
    >>> round(float(VonMisesFisher()(truth, prediction)), 4)  # -ln 2 + ln(1 - exp(-4))
    -0.7116
    """

    def __init__(
        self, *, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "von_mises_fisher"
    ):
        super().__init__(reduction=reduction, name=name)

    def likelihood(self, truth: Tensor, prediction: Tensor, kappa: Tensor) -> Tensor:
        # κ (1 - n · m) = κ |n - m|² / 2, which keeps its digits where κ is large.
        distance = 0.5 * ops.sum(ops.square(truth - prediction), axis=-1, keepdims=True)
        return kappa * distance - ops.log(kappa) + ops.log(-ops.expm1(-2.0 * kappa))


@keras.saving.register_keras_serializable("keras_dense")
class AngularVonMisesFisher(_ConcentrationLoss):
    """Negative log likelihood for a predicted angular von Mises-Fisher distribution.

    ```
    loss = mean -ln(κ² + 1) + κ acos(n · m) + ln(1 + exp(-κ π))
    ```

    The likelihood falls with the angle itself, not with its square, so the best estimate minimizes
    the mean angle. The constant ln 2π is left out, so the loss may be negative. The expected angle
    between truth and prediction is `expected_angle(κ)`. Bae, Budvytis and Cipolla, "Estimating and
    Exploiting the Aleatoric Uncertainty in Surface Normal Estimation", ICCV 2021, section 3. Call
    arguments: see `VonMisesFisher`.

    Args:
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel, `(B, H, W)`.
        name: name of the loss.

    Raises:
        ValueError: when called, for a prediction with other channels or of another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0, -1, 2.0]]]])
    >>> round(float(AngularVonMisesFisher()(truth, prediction)), 4)  # -ln 5 + ln(1 + exp(-2 pi))
    -1.6076
    """

    def __init__(
        self, *, reduction: str | None = SUM_OVER_BATCH_SIZE, name: str = "angular_von_mises_fisher"
    ):
        super().__init__(reduction=reduction, name=name)

    def likelihood(self, truth: Tensor, prediction: Tensor, kappa: Tensor) -> Tensor:
        angle = angle_between(truth, prediction)
        return kappa * angle - ops.log1p(ops.square(kappa)) + ops.log1p(ops.exp(-math.pi * kappa))


def expected_angle(kappa: ArrayLike) -> Tensor:
    """The expected angular error for a predicted concentration of `AngularVonMisesFisher`.

    `2 κ / (κ² + 1) + π exp(-κ π) / (1 + exp(-κ π))`. Bae, Budvytis and Cipolla, ICCV 2021,
    section 3.

    Args:
        kappa: floats >= 0 of any shape.

    Returns:
        Radians, float32 of the same shape; π / 2 for κ = 0, that is, for any direction.

    >>> [round(float(expected_angle(kappa)), 4) for kappa in (0.0, 10.0)]
    [1.5708, 0.198]
    """
    kappa = ops.cast(kappa, "float32")
    rest = ops.exp(-math.pi * kappa)
    return 2.0 * kappa / (ops.square(kappa) + 1.0) + math.pi * rest / (1.0 + rest)

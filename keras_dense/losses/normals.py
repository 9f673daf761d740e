"""Losses of surface normals: how far a direction is from the true one."""

import math

import keras
from keras import ops

from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, MapLoss, pixel_costs
from keras_dense.ops.geometry import angle_between, normalize

MIN_CONCENTRATION = 0.01


class _NormalsLoss(MapLoss):
    """The weighted mean over known pixels of `pixel(truth, prediction)`, both of length 1."""

    channels = 3

    def known(self, y_true):
        return known_normals(y_true)

    def compute(self, y_true, y_pred, weight):
        if y_pred.shape[-1] not in (3, 4):
            raise ValueError(
                f"{type(self).__name__} takes predictions of 3 channels, or 4 with a "
                f"concentration, which it leaves out. Received: shape {tuple(y_pred.shape)}"
            )
        cost = self.pixel(normalize(y_true), normalize(y_pred[..., :3]))
        return pixel_costs(cost, weight)


def known_normals(y_true):
    """Where normals `(…, 3)` are known: those at least half as long as they should be.

    >>> ops.convert_to_numpy(known_normals(ops.convert_to_tensor([[0.0, 0, -1], [0, 0, 0]])))[:, 0]
    array([ True, False])
    """
    return ops.sum(ops.square(y_true), axis=-1, keepdims=True) >= 0.25


@keras.saving.register_keras_serializable("keras_dense")
class NormalsCosine(_NormalsLoss):
    """One minus the cosine of the angle between true and predicted normals.

    ```
    loss = mean 1 - n · m
    ```

    Eigen and Fergus, "Predicting Depth, Surface Normals and Semantic Labels with a Common
    Multi-Scale Convolutional Architecture", ICCV 2015, section 4.2 (there without the 1).

    Call arguments, of all losses of normals:
        y_true: `(B, H, W, 3)`; a norm below 1/2 (or NaN) is unknown, others are brought to 1.
        y_pred: `(B, H, W, 3)`, in the same frame, of any length: only its direction counts. A
            fourth channel, as of `kd.heads.Normals(concentration=True)`, is left out.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Args:
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Raises:
        ValueError: When called, for a prediction that has other channels or another size.

    Example:

    >>> import numpy as np
    >>> truth = np.array([[[[0, 0, -1], [0, 0, -1], [0, 0, 0]]]])  # the last is unknown
    >>> prediction = np.array([[[[0, 0, -2.0], [0, 0.6, -0.8], [1, 0, 0]]]])
    >>> round(float(NormalsCosine()(truth, prediction)), 4)  # (0 + 0.2) / 2
    0.1
    """

    def __init__(self, name="normals_cosine", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)

    def pixel(self, truth, prediction):
        return 1.0 - ops.sum(truth * prediction, axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsAngular(_NormalsLoss):
    """The angle between true and predicted normals, in radians.

    ```
    loss = mean acos(n · m) = mean atan2(|n × m|, n · m)
    ```

    computed in the second form, which is exact at small angles and whose gradient stays finite (0
    where there is none: at 0 and π). Bae, Budvytis and Cipolla, "Estimating and Exploiting the
    Aleatoric Uncertainty in Surface Normal Estimation", ICCV 2021, section 3. Call arguments as of
    `NormalsCosine`.

    Args:
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Raises:
        ValueError: When called, for a prediction that has other channels or another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 1.0, -1.0]]]])
    >>> round(float(NormalsAngular()(truth, prediction)), 4)  # 45 degrees
    0.7854
    """

    def __init__(self, name="normals_angular", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)

    def pixel(self, truth, prediction):
        return angle_between(truth, prediction)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsL1(_NormalsLoss):
    """The absolute differences of unit normals, summed over x, y and z.

    ```
    loss = mean |n_x - m_x| + |n_y - m_y| + |n_z - m_z|
    ```

    Bae, Budvytis and Cipolla, ICCV 2021, section 3. (Others average over the channels: a third.)
    Call arguments as of `NormalsCosine`.

    Args:
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Raises:
        ValueError: When called, for a prediction that has other channels or another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0.6, -0.8]]]])
    >>> round(float(NormalsL1()(truth, prediction)), 4)
    0.8
    """

    def __init__(self, name="normals_l1", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)

    def pixel(self, truth, prediction):
        return ops.sum(ops.abs(truth - prediction), axis=-1, keepdims=True)


@keras.saving.register_keras_serializable("keras_dense")
class NormalsL2(_NormalsLoss):
    """The squared distance between unit normals, twice `NormalsCosine`.

    ```
    loss = mean |n - m|² = mean 2 - 2 n · m
    ```

    Bae, Budvytis and Cipolla, ICCV 2021, section 3. Call arguments as of `NormalsCosine`.

    Args:
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Raises:
        ValueError: When called, for a prediction that has other channels or another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0.6, -0.8]]]])
    >>> round(float(NormalsL2()(truth, prediction)), 4)
    0.4
    """

    def __init__(self, name="normals_l2", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)

    def pixel(self, truth, prediction):
        return ops.sum(ops.square(truth - prediction), axis=-1, keepdims=True)


class _ConcentrationLoss(_NormalsLoss):
    """The weighted mean of `likelihood(truth, prediction, kappa)` over known pixels."""

    def compute(self, y_true, y_pred, weight):
        if y_pred.shape[-1] != 4:
            raise ValueError(
                f"{type(self).__name__} takes predictions of 4 channels, normal and concentration "
                "(kd.heads.Normals(concentration=True)). "
                f"Received: shape {tuple(y_pred.shape)}"
            )
        y_pred = ops.cast(y_pred, "float32")
        kappa = ops.maximum(y_pred[..., 3:], MIN_CONCENTRATION)
        cost = self.likelihood(normalize(y_true), normalize(y_pred[..., :3]), kappa)
        return pixel_costs(cost, weight)


@keras.saving.register_keras_serializable("keras_dense")
class VonMisesFisher(_ConcentrationLoss):
    """How unlikely the true normal is under the predicted von Mises-Fisher distribution.

    ```
    loss = mean -ln κ - κ (n · m - 1) + ln(1 - exp(-2 κ))
    ```

    the negative log likelihood without the constant ln 2π: it may be negative. κ is large where the
    prediction is sure, `κ = elu(y) + 1 + 0.01` of a score y in `kd.heads.Normals(
    concentration=True)`. Bae, Budvytis and Cipolla, "Estimating and Exploiting the Aleatoric
    Uncertainty in Surface Normal Estimation", ICCV 2021, section 3.

    Call arguments:
        y_true: `(B, H, W, 3)`; a norm below 1/2 (or NaN) is unknown, others are brought to 1.
        y_pred: `(B, H, W, 4)`: a normal of any length, and κ; below 0.01 it is taken as 0.01.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Args:
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Raises:
        ValueError: When called, for a prediction that has other channels or another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0, -1, 2.0]]]])
    >>> round(float(VonMisesFisher()(truth, prediction)), 4)  # -ln 2 + ln(1 - exp(-4))
    -0.7116
    """

    def __init__(self, name="von_mises_fisher", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)

    def likelihood(self, truth, prediction, kappa):
        # κ (1 - n · m) = κ |n - m|² / 2, which keeps its digits where κ is large.
        distance = 0.5 * ops.sum(ops.square(truth - prediction), axis=-1, keepdims=True)
        return kappa * distance - ops.log(kappa) + ops.log(-ops.expm1(-2.0 * kappa))


@keras.saving.register_keras_serializable("keras_dense")
class AngularVonMisesFisher(_ConcentrationLoss):
    """How unlikely the true normal is under the predicted angular von Mises-Fisher distribution.

    ```
    loss = mean -ln(κ² + 1) + κ acos(n · m) + ln(1 + exp(-κ π))
    ```

    The likelihood falls with the angle itself, not with its square: its best estimate minimizes the
    mean angle. Without the constant ln 2π it may be negative. The expected angle between truth and
    prediction is `expected_angle(κ)`. Bae, Budvytis and Cipolla, "Estimating and Exploiting the
    Aleatoric Uncertainty in Surface Normal Estimation", ICCV 2021, section 3. Call arguments as of
    `VonMisesFisher`.

    Args:
        name: Name of the loss.
        reduction: As in Keras: `"sum_over_batch_size"` (the weighted mean of what is known; so are
            `"mean"` and `"mean_with_sample_weight"`), `"sum"`, or `"none"`: the loss of each
            pixel, `(B, H, W)`.

    Raises:
        ValueError: When called, for a prediction that has other channels or another size.

    Example:

    >>> import numpy as np
    >>> truth, prediction = np.array([[[[0, 0, -1]]]]), np.array([[[[0, 0, -1, 2.0]]]])
    >>> round(float(AngularVonMisesFisher()(truth, prediction)), 4)  # -ln 5 + ln(1 + exp(-2 pi))
    -1.6076
    """

    def __init__(self, name="angular_von_mises_fisher", reduction=SUM_OVER_BATCH_SIZE):
        super().__init__(name, reduction)

    def likelihood(self, truth, prediction, kappa):
        angle = angle_between(truth, prediction)
        return kappa * angle - ops.log1p(ops.square(kappa)) + ops.log1p(ops.exp(-math.pi * kappa))


def expected_angle(kappa):
    """The expected angular error of a predicted concentration, after `AngularVonMisesFisher`.

    `2 κ / (κ² + 1) + π exp(-κ π) / (1 + exp(-κ π))`. Bae, Budvytis and Cipolla, ICCV 2021,
    section 3.

    Args:
        kappa: floats ≥ 0 of any shape.

    Returns:
        Radians, float32 of the same shape: π / 2 for κ = 0, nothing known.

    >>> [round(float(expected_angle(kappa)), 4) for kappa in (0.0, 10.0)]
    [1.5708, 0.198]
    """
    kappa = ops.cast(kappa, "float32")
    rest = ops.exp(-math.pi * kappa)
    return 2.0 * kappa / (ops.square(kappa) + 1.0) + math.pi * rest / (1.0 + rest)

"""Error of an image that was rebuilt from a prediction."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs, MapLoss
from keras_dense.ops.image import sum_blocks
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.targets import known_colors


@keras.saving.register_keras_serializable("keras_dense")
class ReconstructionL1(MapLoss):
    """Absolute error of a rebuilt image, at a fraction of its size, and of its slopes.

    ```
    e = y_pred - y_true / 255,    loss = mean(|e| + gradient_weight (|e_right - e| + |e_below - e|))
    ```

    with `y_true` averaged over blocks of `stride` × `stride` pixels, and a mean over the channels.

    Args:
        stride: int >= 1; predictions are `(B, ceil(H / stride), ceil(W / stride), 3)`.
        gradient_weight: float >= 0, of the error of the slopes.
        reduction: as in Keras: `"sum_over_batch_size"` (the weighted mean over known pixels;
            `"mean"` and `"mean_with_sample_weight"` are the same), `"sum"`, or `"none"`: the loss
            of each pixel of the prediction, `(B, h, w)`.
        name: name of the loss.

    Call arguments:
        y_true: RGB images 0–255 `(B, H, W, 3)`; a float pixel that is not finite is unknown.
        y_pred: RGB from 0 to 1, `(B, h, w, 3)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`.

    Raises:
        ValueError: if a number is out of range, or predictions have other than 3 channels.

    Reference: Luo et al., "Deep Dual Learning for Semantic Image Segmentation", ICCV 2017 (the
        idea; the formula is ours).

    >>> import numpy as np
    >>> loss = ReconstructionL1(stride=2)
    >>> round(float(loss(np.full((1, 4, 4, 3), 255.0), np.zeros((1, 2, 2, 3)))), 4)
    1.0
    """

    channels = 3

    def __init__(
        self,
        *,
        stride: int = 4,
        gradient_weight: float = 0.5,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "reconstruction_l1",
    ):
        super().__init__(reduction=reduction, name=name)
        self.stride = _check.integer(stride, "stride", low=1)
        self.gradient_weight = _check.number(gradient_weight, "gradient_weight", 0)

    def known(self, y_true: Tensor) -> Tensor:
        """Pixels whose color is known."""
        return known_colors(y_true)

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Costs:
        """The error of each pixel of the prediction."""
        if y_pred.shape[-1] != 3:
            raise ValueError(
                f"`y_pred` must have 3 channels. Received: shape {tuple(y_pred.shape)}"
            )
        total = sum_blocks(weight, self.stride)
        colors = safe_divide(sum_blocks(y_true * weight, self.stride), total) / 255.0
        weight = total / self.stride**2
        # Where nothing is known, no prediction counts: NaN times 0 is not 0.
        error = ops.where(weight > 0, y_pred, 0.0) - ops.where(weight > 0, colors, 0.0)
        cost = ops.mean(ops.abs(error), axis=-1)
        if self.gradient_weight:
            cost = cost + self.gradient_weight * (
                _slope(error, weight, 1) + _slope(error, weight, 2)
            )
        return Costs(weight[..., 0] * cost, weight[..., 0])

    def get_config(self) -> Config:
        own = {"stride": self.stride, "gradient_weight": self.gradient_weight}
        return {**super().get_config(), **own}


def _slope(error: Tensor, weight: Tensor, axis: int) -> Tensor:
    """The change of the error to the next cell, 0 where that is unknown."""
    pads = [(0, 0)] * 4
    pads[axis] = (0, 1)
    after = (slice(None),) * axis + (slice(1, None),)
    following = ops.pad(error, pads)[after]
    known = ops.pad(weight, pads)[after] > 0
    return ops.mean(ops.where(known, ops.abs(following - error), 0.0), axis=-1)

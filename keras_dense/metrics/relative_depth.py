"""Errors of relative inverse depth, whose scale and shift are unknown."""

from collections.abc import Sequence

import keras
from keras import ops

from keras_dense._types import Config
from keras_dense.losses.depth_structure import fit_line
from keras_dense.metrics.depth import DepthErrors

_FARTHEST = 1000.0  # meters


@keras.saving.register_keras_serializable("keras_dense")
class RelativeDepthErrors(DepthErrors):
    """Errors of depth from relative inverse depth, after the best scale and shift of each image.

    ```
    s, b = argmin sum (s y_pred + b - y_true)²      over the known pixels of an image
    p = 1 / max(s y_pred + b, 1 / max_depth),  t = 1 / y_true
    ```

    The scores of `DepthErrors` follow from p and t, in meters. Zero-shot evaluations of MiDaS, DPT
    and Depth Anything are such.

    Args:
        score, min_depth, crop, reduction, protocol, name: see `DepthErrors`.
        max_depth: float, meters, also the farthest prediction; 1000 unless the protocol has another
            value.

    Call arguments:
        y_true: inverse depth, 1/m, `(B, H, W, 1)` or `(B, H, W)`. Values that are not finite or
            <= 0 are unknown.
        y_pred: relative inverse depth `(B, H, W, 1)`, larger is nearer.
        sample_weight: see `DepthErrors`. Predictions that are not finite do not count in the fit.

    Reference: Ranftl et al., "Towards Robust Monocular Depth Estimation", PAMI 2022, section 6.

    Example:

    >>> import numpy as np
    >>> metric = RelativeDepthErrors("abs_rel", max_depth=10.0)
    >>> inverse = 1 / np.array([[[2.0, 4.0, 5.0]]])
    >>> metric.update_state(inverse, 30 * inverse[..., None] + 7)
    >>> round(float(metric.result()), 5)
    0.0
    """

    def __init__(
        self,
        score: str = "abs_rel",
        *,
        min_depth: float | None = None,
        max_depth: float | None = None,
        crop: Sequence[float] | None = None,
        reduction: str | None = None,
        protocol: str | None = None,
        name: str | None = None,
    ):
        if max_depth is None and protocol is None:
            max_depth = _FARTHEST
        super().__init__(
            score,
            min_depth=min_depth,
            max_depth=max_depth,
            crop=crop,
            reduction=reduction,
            protocol=protocol,
            name=name,
        )

    def _known(self, y_true):
        return ops.logical_and(y_true > 1.0 / self.max_depth, y_true < 1.0 / self.min_depth)

    def _errors(self, t, p, known):
        finite = ops.isfinite(p)
        weight = ops.cast(ops.logical_and(known, finite), "float32")
        t = ops.where(known, t, 1.0)
        scale, shift = fit_line(ops.where(finite, p, 0.0), t, weight)
        aligned = ops.maximum(scale * p + shift, 1.0 / self.max_depth)
        # NaN stays NaN, which counts as the least depth.
        return super()._errors(1.0 / t, 1.0 / aligned, known)

    def get_config(self) -> Config:
        config = super().get_config()
        config.pop("median_scaling")
        return config

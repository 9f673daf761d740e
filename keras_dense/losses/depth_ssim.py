"""Structural dissimilarity of depth maps."""

import keras
import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, Config, Tensor
from keras_dense.losses.depth import DepthLoss, inverse_depth
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, pixel_costs
from keras_dense.ops.masked import image_sums, safe_divide


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

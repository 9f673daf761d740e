"""Roughness of depth where the image is smooth."""

import keras
from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.losses.depth import check_depth, neighbors, steps
from keras_dense.losses.weighted import ONE_BY_ONE, SUM_OVER_BATCH_SIZE, MapLoss
from keras_dense.ops.masked import image_sums, safe_divide
from keras_dense.ops.targets import known_colors


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

"""Disagreement of neighbors of similar color: a loss that needs no labels."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.weighted import ONE_BY_ONE, SUM_OVER_BATCH_SIZE, MapLoss
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.targets import known_colors, two_or_more


@keras.saving.register_keras_serializable("keras_dense")
class PairwiseAffinity(MapLoss):
    """Different labels of near pixels of similar color: a loss whose target is the image.

    ```
    a_ij = exp(-|x_i - x_j|² / (2 sigma²) - |I_i - I_j|² / (2 color²))
    loss = sum_ij a_ij (1 - p_i · p_j) / sum_ij a_ij
    ```

    over pairs of pixels i, j that are at most `window` apart in each direction, with `p` the
    softmax of the logits (of one channel, the sigmoid and its complement). Pixels without a label
    get a gradient from their neighbors: it spreads scribbles and points, beside the cross-entropy
    of the known pixels (see `affinity` of `kd.training.self_training`). It is 0 if all labels are
    the same, so it must not be the only loss.

    `y_true` is the image `(B, H, W, 3)`, 0–255 (a pixel that holds NaN does not count), `y_pred`
    are logits `(B, H, W, C)`. A pair counts with the product of the weights of its pixels.

    Args:
        window: int >= 1, the largest distance of two rows or columns, in steps of `dilation`.
        dilation: int >= 1, the distance of neighbors, in pixels.
        sigma: float > 0, in pixels.
        color: float > 0, in levels of color from 0 to 255.
        reduction: a mean (`"sum_over_batch_size"`, `"mean"` or `"mean_with_sample_weight"`, which
            are the same): there is no loss of each pixel to sum or return.
        name: name of the loss.

    Raises:
        ValueError: if a number is out of range, or images and logits do not fit.

    Reference: Obukhov et al., "Gated CRF Loss for Weakly Supervised Semantic Image Segmentation",
        NeurIPS 2019 workshop (arXiv 1906.04651), equations 3 and 4, without gates.

    >>> import numpy as np
    >>> image, logits = np.zeros((1, 1, 2, 3)), np.array([[[[9.0, -9.0], [-9.0, 9.0]]]])
    >>> round(float(PairwiseAffinity()(image, logits)), 3)
    1.0
    """

    channels = 3
    filler = 0.0

    def __init__(
        self,
        *,
        window: int = 2,
        dilation: int = 1,
        sigma: float = 6.0,
        color: float = 25.0,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "pairwise_affinity",
    ):
        super().__init__(reduction=reduction, name=name, whole=ONE_BY_ONE)
        self.window = _check.integer(window, "window", low=1)
        self.dilation = _check.integer(dilation, "dilation", low=1)
        self.sigma = _check.number(sigma, "sigma", above=0)
        self.color = _check.number(color, "color", above=0)

    def known(self, y_true: Tensor) -> Tensor:
        """Pixels whose color is known."""
        return known_colors(y_true)

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Tensor:
        """The mean over pairs."""
        p = ops.softmax(two_or_more(y_pred), axis=-1)
        total, count = 0.0, 0.0
        reach = range(-self.window, self.window + 1)
        # Each pair once: the other half has the same terms.
        for dy, dx in ((y, x) for y in reach for x in reach if (y, x) > (0, 0)):
            step = (dy * self.dilation, dx * self.dilation)
            (p1, p2), (i1, i2), (w1, w2) = (_pair(x, *step) for x in (p, y_true, weight))
            near = (step[0] ** 2 + step[1] ** 2) / (2 * self.sigma**2)
            colors = ops.sum(ops.square(i1 - i2), axis=-1, keepdims=True) / (2 * self.color**2)
            affinity = w1 * w2 * ops.exp(-near - colors)
            same = ops.sum(p1 * p2, axis=-1, keepdims=True)
            total = total + ops.sum(affinity * (1.0 - same))
            count = count + ops.sum(affinity)
        return safe_divide(total, count)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "window": self.window,
            "dilation": self.dilation,
            "sigma": self.sigma,
            "color": self.color,
        }


def _pair(x: Tensor, dy: int, dx: int) -> tuple[Tensor, Tensor]:
    """Pixels that have a neighbor `dy >= 0` rows below and `dx` columns on, and these neighbors."""
    height, width = ops.shape(x)[1], ops.shape(x)[2]
    left, right = max(-dx, 0), max(dx, 0)
    # Slices of images that are smaller than the step are empty.
    first = x[:, : _least(height - dy), left : _least(width - right)]
    second = x[:, dy:, right : _least(width - left)]
    return first[:, :, : ops.shape(second)[2]], second[:, :, : ops.shape(first)[2]]


def _least(n):
    return max(n, 0) if isinstance(n, int) else ops.maximum(n, 0)

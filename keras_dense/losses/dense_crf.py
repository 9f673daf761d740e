"""Energy of a dense CRF: a loss that needs no labels."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.losses.weighted import ONE_BY_ONE, SUM_OVER_BATCH_SIZE, MapLoss
from keras_dense.ops.image import sum_blocks
from keras_dense.ops.masked import safe_divide
from keras_dense.ops.mean_field import bilateral_kernel
from keras_dense.ops.targets import known_colors, two_or_more


@keras.saving.register_keras_serializable("keras_dense")
class DenseCRF(MapLoss):
    """Different labels of any two pixels that are near and of similar color.

    ```
    a_ij = exp(-|x_i - x_j|² / (2 sigma²) - |I_i - I_j|² / (2 color²))
    loss = sum_ij a_ij (1 - p_i · p_j) / sum_ij a_ij
    ```

    over all pairs of pixels i, j of an image, with `p` the softmax of the logits (of one channel,
    the sigmoid and its complement). It spreads scribbles and points over regions of one color,
    beside the cross-entropy of the known pixels (see `affinity` of `kd.training.self_training`).
    `kd.losses.PairwiseAffinity` is the same over a small window. It is 0 if
    all labels are the same, so it must not be the only loss.

    The sums are computed on the permutohedral lattice, whose affinities are approximate.

    `y_true` is the image `(B, H, W, 3)`, 0–255 (a pixel that holds NaN does not count), `y_pred`
    are logits `(B, H, W, C)`. A pair counts with the product of the weights of its pixels.

    Args:
        sigma: float > 0, in pixels of the image.
        color: float > 0, in levels of color from 0 to 255.
        stride: int >= 1: the loss is computed on means over blocks of so many pixels in a row.
        exact: bool, whether to go through all pairs instead: exact, and too slow for images of more
            than some thousand blocks.
        reduction: a mean (`"sum_over_batch_size"`, `"mean"` or `"mean_with_sample_weight"`, which
            are the same): there is no loss of each pixel to sum or return.
        name: name of the loss.

    Raises:
        ValueError: if a number is out of range, or images and logits do not fit.

    Reference: Tang et al., "On Regularized Losses for Weakly-supervised CNN Segmentation", ECCV
        2018, equations 5 and 7, divided by the sum of the affinities.

    >>> import numpy as np
    >>> image, logits = np.zeros((1, 1, 2, 3)), np.array([[[[9.0, -9.0], [-9.0, 9.0]]]])
    >>> round(float(DenseCRF(stride=1, exact=True)(image, logits)), 3)
    0.5
    """

    channels = 3
    filler = 0.0

    def __init__(
        self,
        *,
        sigma: float = 100.0,
        color: float = 15.0,
        stride: int = 2,
        exact: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "dense_crf",
    ):
        super().__init__(reduction=reduction, name=name, whole=ONE_BY_ONE)
        self.sigma = _check.number(sigma, "sigma", above=0)
        self.color = _check.number(color, "color", above=0)
        self.blocks = _check.integer(stride, "stride", low=1)
        self.exact = _check.flag(exact, "exact")

    def known(self, y_true: Tensor) -> Tensor:
        """Pixels whose color is known."""
        return known_colors(y_true)

    def compute(self, y_true: Tensor, y_pred: Tensor, weight: Tensor) -> Tensor:
        """The mean over pairs."""
        total = sum_blocks(weight, self.blocks)
        p, image = (
            safe_divide(sum_blocks(x * weight, self.blocks), total)
            for x in (ops.softmax(two_or_more(y_pred), axis=-1), y_true)
        )
        weight = total / self.blocks**2
        kernel = bilateral_kernel(image, self.sigma / self.blocks, self.color, exact=self.exact)
        q = p * weight
        around = kernel(ops.stop_gradient(ops.concatenate([q, weight], axis=-1)))
        around = ops.stop_gradient(around)
        pairs = ops.sum(weight * around[..., -1:])
        # q · A q is quadratic, and A symmetric: its gradient is 2 A q, without one through A.
        same = 2.0 * ops.sum(q * around[..., :-1])
        same = same - ops.stop_gradient(0.5 * same)
        return safe_divide(pairs - same, pairs)

    def get_config(self) -> Config:
        own = {"sigma": self.sigma, "color": self.color}
        return {**super().get_config(), **own, "stride": self.blocks, "exact": self.exact}

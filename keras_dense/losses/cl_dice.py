"""Overlap of center lines: a loss for thin structures such as vessels, roads and cracks."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import ArrayLike, Config, Tensor
from keras_dense.losses.contract import USE_PER_IMAGE, refuse_binary_class_weight
from keras_dense.losses.overlap import dice_index, region_loss
from keras_dense.losses.spatial import Maps, SpatialLoss
from keras_dense.losses.weighted import SUM_OVER_BATCH_SIZE, Costs
from keras_dense.ops.masked import safe_divide


def soft_skeleton(regions: Tensor, known: Tensor, iterations: int) -> Tensor:
    """Center lines of soft regions: what an opening removes, after each of several erosions.

    Erosions take the least of a pixel and its 4 neighbors, dilations the largest of 3×3.

    Args:
        regions: float32 `(B, H, W, C)`, from 0 to 1.
        known: bool of this shape; other pixels are like those beyond the image.
        iterations: int >= 0, at least half of the width of the widest structure, in pixels.

    Returns:
        float32 `(B, H, W, C)`, from 0 to 1.

    >>> import numpy as np
    >>> bar = np.zeros((1, 5, 7, 1), "float32")
    >>> bar[:, 1:4] = 1
    >>> found = soft_skeleton(ops.convert_to_tensor(bar), ops.ones(bar.shape, "bool"), 3)
    >>> ops.convert_to_numpy(ops.abs(found))[0, :, 3, 0].tolist()
    [0.0, 0.0, 1.0, 0.0, 0.0]
    """
    known_share = ops.cast(known, "float32")

    def opened(x):
        return _dilated(known_share * _eroded(x, known))

    skeleton = ops.relu(regions - opened(regions))
    for _ in range(iterations):
        regions = known_share * _eroded(regions, known)
        line = ops.relu(regions - opened(regions))
        skeleton = skeleton + ops.relu(line - skeleton * line)
    return known_share * skeleton


def _eroded(x, known):
    negative = ops.where(known, -x, -1.0)
    return ops.minimum(-_largest(negative, (3, 1)), -_largest(negative, (1, 3)))


def _dilated(x):
    return _largest(_largest(x, (3, 1)), (1, 3))


def _largest(x, window):
    return ops.max_pool(x, window, 1, padding="same", data_format="channels_last")


@keras.saving.register_keras_serializable("keras_dense")
class ClDice(SpatialLoss):
    """Center line Dice: a broken vessel or road costs as much as its length, not its area.

    ```
    loss = mean_c alpha (1 - 2 P S / (P + S)) + (1 - alpha) (1 - Dice_c)
    P = (sum(s(p) t) + smooth) / (sum(s(p)) + smooth)    share of the predicted lines in the truth
    S = (sum(s(t) p) + smooth) / (sum(s(t)) + smooth)    share of the true lines in the prediction
    ```

    with s the soft skeleton (see `soft_skeleton`). Classes, absent classes and void pixels as in
    `Dice`; void pixels are like pixels beyond the image. Wide regions have no lines worth the name:
    leave a background out with `class_weight`. Shit et al., "clDice - a Novel Topology-Preserving
    Loss Function for Tubular Structure Segmentation", CVPR 2021, algorithms 1 and 2.

    Args:
        mode: `"multiclass"`, `"binary"` (the foreground is scored) or `"multilabel"`.
        ignore_class: label of void pixels, or `None`.
        class_weight: one number per class, or `None`; not when binary.
        alpha: float from 0 to 1, share of the center lines; the rest is Dice.
        iterations: int >= 0, erosions: at least half of the width of the widest structure.
        smooth: float >= 0, pixels added to numerators and denominators of P and S (1 in the
            authors' code).
        per_image: bool; each image is scored by itself, or the batch as one.
        reduction: as in Keras: `"sum_over_batch_size"` (the mean; `"mean"` and
            `"mean_with_sample_weight"` are the same); with `per_image=True`, also `"sum"` over
            images, and `"none"`: the loss of each image, `(B,)`.
        name: name of the loss.

    Raises:
        ValueError: for an argument out of range; when called, for predictions that are no maps.

    Example:

    >>> import numpy as np
    >>> line = np.zeros((1, 5, 9), int)
    >>> line[:, 1:4] = 1
    >>> gap = np.where(line == 1, 9.0, -9.0)
    >>> gap[:, :, 4] = -9  # one column of nine is missing
    >>> round(float(ClDice("binary", alpha=1.0)(line, gap[..., None])), 3)
    0.059
    """

    def __init__(
        self,
        mode: str = "multiclass",
        *,
        ignore_class: int | None = 255,
        class_weight: ArrayLike | None = None,
        alpha: float = 0.5,
        iterations: int = 3,
        smooth: float = 0.0,
        per_image: bool = False,
        reduction: str | None = SUM_OVER_BATCH_SIZE,
        name: str = "cl_dice",
    ):
        per_image = _check.flag(per_image, "per_image")
        super().__init__(
            mode,
            ignore_class=ignore_class,
            class_weight=class_weight,
            reduction=reduction,
            name=name,
            whole=None if per_image else USE_PER_IMAGE,
        )
        refuse_binary_class_weight(self, mode, self.class_weight)
        self.alpha = _check.number(alpha, "alpha", 0, 1)
        self.iterations = _check.integer(iterations, "iterations", 0)
        self.smooth = _check.number(smooth, "smooth", 0)
        self.per_image = per_image

    def compute_maps(self, maps: Maps) -> Costs:
        p, t, weight = maps
        axis = (1, 2) if self.per_image else (0, 1, 2)

        def total(x):
            found = ops.sum(weight * x, axis=axis)
            return found if self.per_image else found[None]

        def share(lines, region):
            hits = total(lines * region)
            return safe_divide(hits + self.smooth, total(lines) + self.smooth)

        sums = [total(x) for x in (p * t, p, t, ops.ones_like(p))]
        cost = 1.0 - dice_index(*sums[:3])
        if self.alpha:
            known = weight > 0.0
            found, wanted = (soft_skeleton(x, known, self.iterations) for x in (p, t))
            precision, sensitivity = share(found, t), share(ops.stop_gradient(wanted), p)
            lines = safe_divide(2.0 * precision * sensitivity, precision + sensitivity)
            cost = self.alpha * (1.0 - lines) + (1.0 - self.alpha) * cost
        return region_loss(cost, sums, self.mode, self.class_weight)

    def get_config(self) -> Config:
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "iterations": self.iterations,
            "smooth": self.smooth,
            "per_image": self.per_image,
        }

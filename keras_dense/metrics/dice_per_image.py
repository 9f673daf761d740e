"""Dice of each image, as medical studies report it."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Tensor
from keras_dense.metrics.image_metric import ImageMetric


@keras.saving.register_keras_serializable("keras_dense")
class DicePerImage(ImageMetric):
    """Dice of each image and class, averaged over the images.

    ```
    dice[i, c] = 2 |T & P| / (|T| + |P|)    of class c in image i
    ```

    A class that image and prediction both lack has no Dice there and stays out of the mean, unless
    `empty` gives it a value (1 is usual where the lack is a finding); one that only the truth or
    only the prediction has scores 0. (MONAI leaves out every image without the class in the truth,
    so its false positives cost nothing; with `ignore_empty=False` such images score 1 or 0, as with
    `empty=1` here.) `ConfusionMatrix(score="mean_dice")` pools all pixels instead, so that large
    objects outweigh small ones. Void pixels and faulty inputs as in `ConfusionMatrix`.

    Args:
        num_classes: int >= 1, classes of the prediction; 1: one logit, of object over background.
        mode: see `kd.metrics.ConfusionMatrix`.
        ignore_class: int, label of void pixels, or `None`.
        empty: float from 0 to 1, the value of a class in neither truth nor prediction of an image;
            `None`: not counted. Images without a known pixel are never counted.
        name: name of the metric.

    Call arguments:
        y_true: integers `(B, H, W)` or `(B, H, W, 1)`, or one-hot `(B, H, W, C)`.
        y_pred: logits `(B, H, W, C)`.
        sample_weight: `(B,)`, `(B, H, W)` or `(B, H, W, 1)`: pixels of weight 0 are void.

    Raises:
        ValueError: for an `empty` out of range; when called, for shapes that do not fit.

    Reference: Maier-Hein et al., "Metrics reloaded: recommendations for image analysis validation",
    Nature Methods 2024.

    >>> import numpy as np
    >>> truth = np.array([[[1, 1, 0, 0]], [[0, 0, 0, 0]]])  # the second image is empty
    >>> logits = np.array([[[9.0, -9, -9, -9]], [[-9, -9, -9, -9]]])[..., None]
    >>> metric, filled = DicePerImage(1), DicePerImage(1, empty=1.0)
    >>> for m in (metric, filled):
    ...     m.update_state(truth, logits)
    >>> round(float(metric.result()), 3), round(float(filled.result()), 3)
    (0.667, 0.833)
    """

    def __init__(
        self,
        num_classes: int,
        *,
        mode: str | None = None,
        ignore_class: int | None = 255,
        empty: float | None = None,
        name: str = "dice_per_image",
    ):
        super().__init__(
            num_classes, mode=mode, ignore_class=ignore_class, name=name, direction="up"
        )
        self.empty = None if empty is None else _check.number(empty, "empty", 0, 1)

    def measure(self, truth: Tensor, found: Tensor, known: Tensor) -> Tensor:
        both = ops.logical_and(truth, found)
        hits, wanted, got = (
            ops.sum(ops.cast(x, "float32"), axis=(1, 2)) for x in (both, truth, found)
        )
        area = wanted + got
        dice = 2.0 * hits / ops.maximum(area, 1.0)
        seen = ops.any(known, axis=(1, 2))
        none = float("nan") if self.empty is None else self.empty
        return ops.where(seen, ops.where(area > 0, dice, none), float("nan"))

    def get_config(self) -> Config:
        return {**super().get_config(), "empty": self.empty}

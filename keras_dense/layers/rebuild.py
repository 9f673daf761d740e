"""Labels by which the image can be rebuilt, as a layer."""

from typing import Any

import keras

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.ops.class_colors import rebuild_by_color


@keras.saving.register_keras_serializable("keras_dense")
class RebuildByColor(keras.layers.Layer):
    """Scores moved toward labels from which the image can be rebuilt; no weights.

    The image is rebuilt from the mean color that each class has in a window around each cell. The
    result minimizes the divergence from the labels of `scores` plus `weight` times the squared
    error of the rebuilt image, for colors from 0 to 1, with labels and colors computed in turn.
    Computed in float32 under any dtype policy.

    Call arguments:
        scores: logits `(B, H, W, classes)` of at least two classes.
        image: `(B, H, W, 3)`, 0–255.

    Args:
        weight: float >= 0; with a large one, labels follow colors alone.
        rounds: int >= 1.
        window: int >= 1, odd, height and width of the window in cells.
        stride: int >= 1, pixels in a row of a cell; 1 is the most exact, and takes the longest.

    Raises:
        ValueError: for numbers out of range, or shapes that do not fit.

    Reference: in the spirit of Luo et al., "Deep Dual Learning for Semantic Image Segmentation",
        ICCV 2017, whose network rebuilds the image by convolutions.

    >>> from keras import ops
    >>> scores, image = ops.zeros((1, 5, 4, 2)), ops.zeros((1, 5, 4, 3))
    >>> float(ops.max(ops.abs(RebuildByColor()(scores, image)))) < 1e-6
    True
    """

    def __init__(
        self,
        *,
        weight: float = 3.0,
        rounds: int = 3,
        window: int = 13,
        stride: int = 2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        self.weight = _check.number(weight, "weight", 0)
        self.rounds = _check.integer(rounds, "rounds", low=1)
        self.window = _check.integer(window, "window", low=1)
        if self.window % 2 == 0:
            raise _check.fail("window", "odd, so that it has a center", window)
        self.stride = _check.integer(stride, "stride", low=1)

    def build(self, scores_shape: Shape, image_shape: Shape) -> None:
        if len(scores_shape) != 4 or (scores_shape[-1] or 0) < 2 or image_shape[-1] != 3:
            raise ValueError(
                "The inputs must be scores (B, H, W, classes) of at least 2 classes, and an image "
                f"(B, H, W, 3). Received: shapes {tuple(scores_shape)}, {tuple(image_shape)}"
            )

    def call(self, scores: Tensor, image: Tensor) -> Tensor:
        settings = {"weight": self.weight, "rounds": self.rounds}
        return keras.ops.cast(
            rebuild_by_color(scores, image, **settings, window=self.window, stride=self.stride),
            self.compute_dtype,
        )

    def compute_output_shape(self, scores_shape: Shape, image_shape: Shape) -> Shape:
        return scores_shape

    def get_config(self) -> Config:
        own = {"weight": self.weight, "rounds": self.rounds}
        return {**super().get_config(), **own, "window": self.window, "stride": self.stride}

"""Presence of classes in an image: from scores, and as a filter of scores."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor

# The logarithm of a probability that rules a class out, but keeps numbers finite.
IMPOSSIBLE = -30.0


@keras.saving.register_keras_serializable("keras_dense")
class ClassPresence(keras.layers.Layer):
    """Logits of the presence of each class, from the scores of pixels; no weights.

    A soft maximum over pixels of each class's log-odds:

    ```
    x = log p - log(1 - p),  p = softmax(scores)
    presence = log(mean over pixels of exp(r x)) / r
    ```

    Computed in float32 under any dtype policy. Input: maps `(B, h, w, classes)`; output:
    `(B, classes)`.

    Args:
        sharpness: float > 0, r: a large one is the maximum, one near 0 the mean.

    Raises:
        ValueError: for a sharpness out of range, or fewer than two classes.

    Reference: Pinheiro and Collobert, "From Image-level to Pixel-level Labeling with Convolutional
        Networks", CVPR 2015, equation 1.

    >>> scores = ops.convert_to_tensor([[[[2.0, 0.0]], [[0.0, 0.0]]]])
    >>> [round(float(p), 3) for p in ClassPresence(sharpness=1.0)(scores)[0]]
    [1.434, -0.566]
    """

    def __init__(self, *, sharpness: float = 3.0, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        self.sharpness = _check.number(sharpness, "sharpness", above=0)

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 4 or (input_shape[-1] or 0) < 2:
            raise ValueError(
                "The input must be scores (B, h, w, classes) of at least 2 classes. Received: "
                f"input_shape={tuple(input_shape)}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        log_p = ops.log_softmax(ops.cast(inputs, "float32"), axis=-1)
        odds = log_p - ops.log(ops.maximum(-ops.expm1(log_p), 1e-6))
        pixels = ops.cast(ops.shape(odds)[1] * ops.shape(odds)[2], "float32")
        total = ops.logsumexp(self.sharpness * odds, axis=(1, 2)) - ops.log(pixels)
        return ops.cast(total / self.sharpness, self.compute_dtype)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], input_shape[-1])

    def get_config(self) -> Config:
        return {**super().get_config(), "sharpness": self.sharpness}


@keras.saving.register_keras_serializable("keras_dense")
class TagGate(keras.layers.Layer):
    """Scores of pixels filtered by the presence of classes in the image; no weights.

    `scores + log sigmoid(presence)`: after the softmax, the probability of each class is multiplied
    by that of its presence, and divided by the sum. Computed in float32 under any dtype policy.

    Args:
        background: int, a class that is left alone, or `None`.

    Call arguments:
        scores: logits `(B, H, W, classes)`.
        presence: logits `(B, classes)`.
        tags: `(B, classes)` of 1 (there: the class is left alone), 0 (not there: it is ruled out)
            and 255 (unknown: presence decides), or `None`.

    Raises:
        ValueError: for a background that is no class.

    Reference: Wang et al., "Learning Object Interactions and Descriptions for Semantic Image
        Segmentation", CVPR 2017 (the filter of scores by presence).

    >>> scores, presence = ops.zeros((1, 1, 1, 2)), ops.convert_to_tensor([[9.0, 0.0]])
    >>> [round(float(y), 2) for y in ops.softmax(TagGate()(scores, presence))[0, 0, 0]]
    [0.67, 0.33]
    """

    def __init__(self, *, background: int | None = None, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})
        if background is not None:
            background = _check.integer(background, "background", low=0)
        self.background = background

    def build(self, scores_shape: Shape, presence_shape: Shape, tags_shape: Any = None) -> None:
        classes = scores_shape[-1] or 0
        if presence_shape[-1] != classes or (tags_shape is not None and tags_shape[-1] != classes):
            raise ValueError(
                "`presence` and `tags` must be (B, classes) for scores (B, H, W, classes). "
                f"Received: shapes {tuple(scores_shape)}, {tuple(presence_shape)}, {tags_shape}"
            )
        if self.background is not None and self.background >= classes:
            raise _check.fail("background", f"a class from 0 to {classes - 1}", self.background)

    def call(self, scores: Tensor, presence: Tensor, tags: Tensor | None = None) -> Tensor:
        scores = ops.cast(scores, "float32")
        presence = ops.cast(presence, "float32")
        # `ops.log_sigmoid` as ONNX writes it overflows.
        filters = ops.minimum(presence, 0.0) - ops.log1p(ops.exp(-ops.abs(presence)))
        if tags is not None:
            tags = ops.cast(tags, "float32")
            filters = ops.where(ops.equal(tags, 1.0), 0.0, filters)
            filters = ops.where(ops.equal(tags, 0.0), IMPOSSIBLE, filters)
        if self.background is not None:
            here = ops.equal(ops.arange(scores.shape[-1]), self.background)
            filters = ops.where(here, 0.0, filters)
        return ops.cast(scores + filters[:, None, None, :], self.compute_dtype)

    def compute_output_shape(
        self, scores_shape: Shape, presence_shape: Shape, tags_shape: Any = None
    ) -> Shape:
        return scores_shape

    def get_config(self) -> Config:
        return {**super().get_config(), "background": self.background}

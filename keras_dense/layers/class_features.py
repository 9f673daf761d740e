"""The mean feature of every class."""

from typing import Any

import keras
from keras import ops

from keras_dense._types import Shape, Tensor


@keras.saving.register_keras_serializable("keras_dense")
class ClassFeatures(keras.layers.Layer):
    """The mean feature of every class, over the cells that have it; no weights.

    `h_k = sum_i p_ik x_i / sum_i p_ik`, p = softmax(scores): each class masks the features with its
    map of probabilities. Computed in float32 under any dtype policy.

    Call arguments:
        features: `(B, h, w, D)`.
        scores: logits `(B, h, w, classes)`.

    Returns:
        `(B, classes, D)`.

    Raises:
        ValueError: if features and scores have another height or width.

    Reference: Wang et al., "Learning Object Interactions and Descriptions for Semantic Image
        Segmentation", CVPR 2017, the masked features of its second stream. The division by the
        size of the mask is ours.

    >>> x, scores = ops.ones((1, 2, 2, 5)), ops.zeros((1, 2, 2, 3))
    >>> tuple(ClassFeatures()(x, scores).shape)
    (1, 3, 5)
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"autocast": False, "dtype": "float32", **kwargs})

    def build(self, features_shape: Shape, scores_shape: Shape) -> None:
        pairs = zip(features_shape[1:3], scores_shape[1:3], strict=True)
        if any(None not in pair and pair[0] != pair[1] for pair in pairs):
            raise ValueError(
                "`features` and `scores` must have the same height and width. Received: shapes "
                f"{tuple(features_shape)}, {tuple(scores_shape)}"
            )

    def call(self, features: Tensor, scores: Tensor) -> Tensor:
        p = ops.softmax(ops.cast(scores, "float32"), axis=-1)
        cells = ops.shape(p)[1] * ops.shape(p)[2]
        p = ops.transpose(ops.reshape(p, (-1, cells, p.shape[-1])), (0, 2, 1))
        p = p / (ops.sum(p, axis=-1, keepdims=True) + 1e-6)
        x = ops.reshape(ops.cast(features, "float32"), (-1, cells, features.shape[-1]))
        return ops.cast(ops.matmul(p, x), self.compute_dtype)

    def compute_output_shape(self, features_shape: Shape, scores_shape: Shape) -> Shape:
        return (features_shape[0], scores_shape[-1], features_shape[-1])

"""Where a prediction is sure, and where a later stage still has something to learn."""

import numbers

import keras
from keras import ops

MODES = ("multiclass", "binary", "multilabel")


def as_threshold(threshold, name="threshold"):
    """A number above 0 as float, or an error that names the argument."""
    number = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool)
    if not number or not threshold > 0:
        raise ValueError(
            f"`{name}` must be a probability above 0 (above 1: nothing is that sure). "
            f"Received: {name}={threshold!r}"
        )
    return float(threshold)


@keras.saving.register_keras_serializable("keras_dense")
class Certainty(keras.layers.Layer):
    """The probability of what is predicted at each cell: `(B, H, W, C)` → `(B, H, W, 1)`.

    Of the most probable class where classes exclude each other; where every channel is a question
    of its own, of the least certain answer. Computed in float32, whatever the dtype policy.

    Args:
        mode: "multiclass" (softmax), "binary" or "multilabel" (sigmoids), as of
            `kd.heads.Segmentation`.

    Raises:
        ValueError: for an unknown mode.

    >>> import numpy as np
    >>> logits = np.log(np.array([[0.2, 0.7, 0.1]], "float32")).reshape(1, 1, 1, 3)
    >>> round(float(ops.convert_to_numpy(Certainty()(logits)).item()), 4)
    0.7
    """

    def __init__(self, mode="multiclass", **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {MODES}. Received: mode={mode!r}")
        self.mode = mode

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def call(self, inputs):
        if self.mode == "multiclass":
            return ops.max(ops.softmax(inputs, axis=-1), axis=-1, keepdims=True)
        return ops.sigmoid(ops.min(ops.absolute(inputs), axis=-1, keepdims=True))

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class LearnWhereUnsure(keras.layers.Layer):
    """The scores as they are, whose gradient stops where an earlier stage was sure.

    Call with scores `(B, H, W, C)` and the certainties of all stages before, a list of
    `(B, H, W, 1)`. So a later stage of a cascade learns from the cells that reach it, whatever the
    loss. A mean over pixels stays one over all of them: the fewer cells reach a stage, the less it
    counts.

    Args:
        thresholds: for each stage before, the certainty above which a cell leaves.

    Raises:
        ValueError: for thresholds that are not above 0, or another number of them than of stages.

    Reference: Li et al., "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
    Deep Layer Cascade", CVPR 2017, section 3.2.

    >>> import numpy as np
    >>> scores, certainty = np.ones((1, 1, 2, 3)), np.array([0.5, 0.99]).reshape(1, 1, 2, 1)
    >>> tuple(LearnWhereUnsure([0.985])(scores, [certainty]).shape)
    (1, 1, 2, 3)
    """

    def __init__(self, thresholds, **kwargs):
        super().__init__(**kwargs)
        self.thresholds = tuple(as_threshold(t, "thresholds") for t in thresholds)

    def build(self, scores_shape, certainties_shape):
        if len(certainties_shape) != len(self.thresholds):
            raise ValueError(
                "There must be a certainty for each threshold. Received: "
                f"{len(certainties_shape)} certainties, thresholds={self.thresholds}"
            )

    def compute_output_shape(self, scores_shape, certainties_shape):
        return tuple(scores_shape)

    def call(self, scores, certainties):
        learns = True
        for certainty, threshold in zip(certainties, self.thresholds, strict=True):
            learns = ops.logical_and(learns, certainty <= threshold)
        return ops.where(learns, scores, ops.stop_gradient(scores))

    def get_config(self):
        return {**super().get_config(), "thresholds": self.thresholds}

"""Where a prediction is sure, and where a later stage still has something to learn."""

import numbers

import keras
from keras import ops

from keras_dense.layers.dtypes import Float32Layer
from keras_dense.layers.pooling import PhasePooling2D
from keras_dense.ops.labels import MODES


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
class Certainty(Float32Layer):
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
        super().__init__(**kwargs)
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {MODES}. Received: mode={mode!r}")
        self.mode = mode

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 1)

    def call(self, inputs):
        x = ops.cast(inputs, "float32")
        if self.mode == "multiclass":
            return ops.max(ops.softmax(x, axis=-1), axis=-1, keepdims=True)
        return ops.sigmoid(ops.min(ops.absolute(x), axis=-1, keepdims=True))

    def get_config(self):
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class Unsure(Float32Layer):
    """1 where a cell goes on to the next stage, 0 where it leaves: `(B, H, W, 1)`, float32.

    Call with the certainty of a stage, and with what this layer gave for the stage before, if there
    is one: who has left does not come back.

    Args:
        threshold: the certainty above which a cell leaves; above 1 none does.

    Raises:
        ValueError: for a threshold that is not above 0.

    >>> import numpy as np
    >>> certainty = np.array([0.5, 0.99, 0.7]).reshape(1, 1, 3, 1)
    >>> before = np.array([1.0, 1.0, 0.0]).reshape(1, 1, 3, 1)
    >>> [float(v) for v in ops.convert_to_numpy(Unsure(0.985)(certainty, before)).ravel()]
    [1.0, 0.0, 0.0]
    """

    def __init__(self, threshold, **kwargs):
        super().__init__(**kwargs)
        self.threshold = as_threshold(threshold)

    def build(self, certainty_shape, before_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, certainty_shape, before_shape=None):
        return tuple(certainty_shape)

    def call(self, certainty, before=None):
        stays = ops.cast(ops.cast(certainty, "float32") <= self.threshold, "float32")
        return stays if before is None else stays * ops.cast(before, "float32")

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("keras_dense")
class Settled(keras.layers.Layer):
    """The scores of a stage where cells reached it, those of the stage before where they left.

    Call with scores of both `(B, H, W, C)` and a mask `(B, H, W, 1)`, 1 where cells went on. The
    gradient reaches the later stage alone, and only where the mask is 1: it learns from the cells
    that are left to it, whatever the loss. A mean over pixels stays one over all of them.

    Reference: Li et al., "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
    Deep Layer Cascade", CVPR 2017, section 3.2.

    >>> import numpy as np
    >>> later, before = np.full((1, 1, 2, 1), 3.0), np.full((1, 1, 2, 1), 7.0)
    >>> y = Settled()(later, before, np.array([1.0, 0.0]).reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [3.0, 7.0]
    """

    def build(self, later_shape, before_shape=None, reached_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, later_shape, before_shape, reached_shape):
        return tuple(later_shape)

    def call(self, later, before, reached):
        later, before, reached = (ops.cast(x, self.compute_dtype) for x in (later, before, reached))
        return ops.where(reached > 0.5, later, ops.stop_gradient(before))


@keras.saving.register_keras_serializable("keras_dense")
class KeepCells(keras.layers.Layer):
    """A map with zeros for the cells that left: `(B, H, W, C)` times a mask `(B, H, W, 1)`.

    >>> import numpy as np
    >>> y = KeepCells()(np.full((1, 1, 2, 1), 3.0), np.array([1.0, 0.0]).reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [3.0, 0.0]
    """

    def build(self, inputs_shape, kept_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, kept_shape):
        return tuple(inputs_shape)

    def call(self, inputs, kept):
        return ops.cast(inputs, self.compute_dtype) * ops.cast(kept, self.compute_dtype)


@keras.saving.register_keras_serializable("keras_dense")
class PoolKeptCells(PhasePooling2D):
    """`PhasePooling2D` of the cells that did not leave; 0 for a phase without any.

    Call with a map `(B, H, W, C)` and a mask `(B, H, W, 1)`; returns `(B, r_h, r_w, C)`.

    Args:
        rate, mode: as of `PhasePooling2D`.

    >>> import numpy as np
    >>> x, mask = np.array([1.0, 5.0, 9.0]), np.array([1.0, 0.0, 1.0])
    >>> y = PoolKeptCells(1)(x.reshape(1, 1, 3, 1), mask.reshape(1, 1, 3, 1))
    >>> round(ops.convert_to_numpy(y).item(), 4)
    5.0
    """

    def build(self, inputs_shape, kept_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, kept_shape):
        return super().compute_output_shape(inputs_shape)

    def call(self, inputs, kept):
        kept, inputs = (ops.cast(x, self.compute_dtype) for x in (kept, inputs))
        kept = kept > 0.5
        if self.mode == "max":
            largest = super().call(ops.where(kept, inputs, float("-inf")))
            return ops.where(ops.isfinite(largest), largest, 0.0)
        mask = ops.cast(kept, inputs.dtype)
        mean, share = super().call(inputs * mask), super().call(mask)
        return ops.where(share > 0, mean / ops.where(share > 0, share, 1.0), 0.0)

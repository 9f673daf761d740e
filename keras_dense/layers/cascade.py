"""Layers of a layer cascade: which cells a stage decides, and which go on to the next one."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.layers.dtypes import Float32Layer
from keras_dense.layers.phases import PhasePooling2D
from keras_dense.ops.labels import MODES


@keras.saving.register_keras_serializable("keras_dense")
class Certainty(Float32Layer):
    """Probability of the predicted labels of each cell: `(B, H, W, C)` → `(B, H, W, 1)`.

    Exclusive classes: the probability of the most probable one. Independent channels: the
    probability of the least certain one. Computed in float32 under any dtype policy.

    Args:
        mode: "multiclass" (softmax), "binary" or "multilabel" (sigmoids), as in
            `kd.heads.Segmentation`.

    Raises:
        ValueError: if the mode is unknown.

    >>> import numpy as np
    >>> logits = np.log(np.array([[0.2, 0.7, 0.1]], "float32")).reshape(1, 1, 1, 3)
    >>> round(float(ops.convert_to_numpy(Certainty()(logits)).item()), 4)
    0.7
    """

    def __init__(self, mode: str = "multiclass", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mode = _check.choice(mode, "mode", MODES)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)

    def call(self, inputs: Tensor) -> Tensor:
        x = ops.cast(inputs, "float32")
        if self.mode == "multiclass":
            return ops.max(ops.softmax(x, axis=-1), axis=-1, keepdims=True)
        return ops.sigmoid(ops.min(ops.absolute(x), axis=-1, keepdims=True))

    def get_config(self) -> Config:
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable("keras_dense")
class Unsure(Float32Layer):
    """Mask of the cells that go on to the next stage, 1, or leave, 0: float32 `(B, H, W, 1)`.

    Call it with the certainty of a stage and, from the second stage on, with the mask of the stage
    before: cells that have left stay out.

    Args:
        threshold: float > 0, the certainty above which a cell leaves. Above 1, no cell leaves.

    Raises:
        ValueError: if the threshold is not a number above 0.

    >>> import numpy as np
    >>> certainty = np.array([0.5, 0.99, 0.7]).reshape(1, 1, 3, 1)
    >>> before = np.array([1.0, 1.0, 0.0]).reshape(1, 1, 3, 1)
    >>> [float(v) for v in ops.convert_to_numpy(Unsure(0.985)(certainty, before)).ravel()]
    [1.0, 0.0, 0.0]
    """

    def __init__(self, threshold: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = _check.number(threshold, "threshold", above=0)

    def build(self, certainty_shape, before_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, certainty_shape, before_shape=None):
        return tuple(certainty_shape)

    def call(self, certainty: Tensor, before: Tensor | None = None) -> Tensor:
        stays = ops.cast(ops.cast(certainty, "float32") <= self.threshold, "float32")
        return stays if before is None else stays * ops.cast(before, "float32")

    def get_config(self) -> Config:
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable("keras_dense")
class Settled(keras.layers.Layer):
    """Scores of the later stage where cells reached it, and of the stage before elsewhere.

    Call it with both scores `(B, H, W, C)` and a mask `(B, H, W, 1)`, 1 where cells went on. The
    gradient reaches the later stage only, and only where the mask is 1: with any loss, a stage
    learns from the cells that reach it. A mean over pixels still counts all pixels.

    Reference: Li et al., "Not All Pixels Are Equal: Difficulty-Aware Semantic Segmentation via
    Deep Layer Cascade", CVPR 2017, section 3.2.

    >>> import numpy as np
    >>> later, before = np.full((1, 1, 2, 1), 3.0), np.full((1, 1, 2, 1), 7.0)
    >>> y = Settled()(later, before, np.array([1.0, 0.0]).reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [3.0, 7.0]
    """

    def build(self, later_shape, before_shape=None, reached_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, later_shape, before_shape, reached_shape):
        return tuple(later_shape)

    def call(self, later: Tensor, before: Tensor, reached: Tensor) -> Tensor:
        later, before, reached = (ops.cast(x, self.compute_dtype) for x in (later, before, reached))
        return ops.where(reached > 0.5, later, ops.stop_gradient(before))


@keras.saving.register_keras_serializable("keras_dense")
class KeepCells(keras.layers.Layer):
    """Set the cells that left to zero: a map `(B, H, W, C)` times a mask `(B, H, W, 1)`.

    >>> import numpy as np
    >>> y = KeepCells()(np.full((1, 1, 2, 1), 3.0), np.array([1.0, 0.0]).reshape(1, 1, 2, 1))
    >>> ops.convert_to_numpy(y).ravel().tolist()
    [3.0, 0.0]
    """

    def build(self, inputs_shape, kept_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, kept_shape):
        return tuple(inputs_shape)

    def call(self, inputs: Tensor, kept: Tensor) -> Tensor:
        return ops.cast(inputs, self.compute_dtype) * ops.cast(kept, self.compute_dtype)


@keras.saving.register_keras_serializable("keras_dense")
class PoolKeptCells(PhasePooling2D):
    """`PhasePooling2D` over the cells that did not leave; 0 for a phase without any.

    Call it with a map `(B, H, W, C)` and a mask `(B, H, W, 1)`; it returns `(B, r_h, r_w, C)`.

    Args:
        rate, mode: as in `PhasePooling2D`.

    >>> import numpy as np
    >>> x, mask = np.array([1.0, 5.0, 9.0]), np.array([1.0, 0.0, 1.0])
    >>> y = PoolKeptCells(1)(x.reshape(1, 1, 3, 1), mask.reshape(1, 1, 3, 1))
    >>> round(ops.convert_to_numpy(y).item(), 4)
    5.0
    """

    def build(self, inputs_shape, kept_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, inputs_shape, kept_shape):
        return super().compute_output_shape(inputs_shape)

    # Keras layers differ in the number of their inputs.
    def call(self, inputs: Tensor, kept: Tensor) -> Tensor:  # type: ignore[override]
        kept, inputs = (ops.cast(x, self.compute_dtype) for x in (kept, inputs))
        kept = kept > 0.5
        if self.mode == "max":
            largest = super().call(ops.where(kept, inputs, float("-inf")))
            return ops.where(ops.isfinite(largest), largest, 0.0)
        mask = ops.cast(kept, inputs.dtype)
        mean, share = super().call(inputs * mask), super().call(mask)
        return ops.where(share > 0, mean / ops.where(share > 0, share, 1.0), 0.0)

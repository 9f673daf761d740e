"""Rotary positions of the patches of an image of any size."""

import math
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.layers.tokens import cells_of, grid_of


@keras.saving.register_keras_serializable("keras_dense")
class RotaryPositions(keras.layers.Layer):
    """Cosines and sines that turn queries and keys by the place of their patch in the image.

    `(B, H, W, C)` → two tensors `(ceil(H / p) ceil(W / p), D)`. Centers of patches are numbered
    from -1 to 1 along either axis, so that the network sees images of all sizes alike.

    Args:
        units: int, D, channels of an attention head, a multiple of 4.
        patch: int ≥ 1 or a pair, height and width of a patch.
        period: float > 0, the longest period.

    Raises:
        ValueError: for an argument out of range.

    Reference: Siméoni et al., "DINOv3", 2025 (arXiv 2508.10104), section 3.2.

    >>> import numpy as np
    >>> cos, sin = RotaryPositions(8, 16)(np.zeros((1, 97, 131, 3)))
    >>> tuple(cos.shape)
    (63, 8)
    """

    def __init__(self, units: int, patch: Size, *, period: float = 100.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = _check.integer(units, "units", low=4)
        if self.units % 4:
            raise _check.fail("units", "a multiple of 4", units)
        self.patch = _check.pair(patch, "patch")
        self.period = _check.number(period, "period", above=0)

    def compute_output_shape(self, input_shape: Shape) -> tuple[Shape, Shape]:
        cells = [cells_of(n, p) for n, p in zip(input_shape[1:3], self.patch, strict=True)]
        shape = (None if None in cells else cells[0] * cells[1], self.units)
        return shape, shape

    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        height, width = grid_of(inputs, self.patch)
        rows, columns = self._angles(height), self._angles(width)
        shape = (height, width, self.units // 4)
        angles = ops.concatenate(
            [
                ops.broadcast_to(ops.expand_dims(rows, 1), shape),
                ops.broadcast_to(ops.expand_dims(columns, 0), shape),
            ],
            axis=-1,
        )
        # Both halves of a head turn by the same angles.
        angles = ops.reshape(angles, (height * width, self.units // 2))
        angles = ops.concatenate([angles, angles], axis=-1)
        return tuple(ops.cast(f(angles), self.compute_dtype) for f in (ops.cos, ops.sin))

    def _angles(self, cells):
        center = ops.cast(2 * ops.arange(cells, dtype="int32") + 1, "float32")
        position = center / ops.cast(cells, "float32") - 1.0
        exponents = [4 * i / self.units for i in range(self.units // 4)]
        frequencies = [2 * math.pi / self.period**exponent for exponent in exponents]
        frequencies = ops.convert_to_tensor(frequencies, "float32")
        return ops.expand_dims(position, 1) * ops.expand_dims(frequencies, 0)

    def get_config(self) -> Config:
        config = {"units": self.units, "patch": self.patch, "period": self.period}
        return {**super().get_config(), **config}

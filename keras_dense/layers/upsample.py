"""Initializer of learned upsampling that avoids checkerboard patterns."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor


@keras.saving.register_keras_serializable("keras_dense")
class ICNR(keras.initializers.Initializer):
    """Kernel initializer that makes a pixel shuffle start as nearest-neighbor upsampling.

    The f² channels of a block of cells get the same weights, drawn from `initializer` as for a
    convolution with 1 / f² of the channels. So all cells of a block start equal, and

        PixelShuffle(f)(conv(x)) = nearest(conv'(x)).

    Independent weights would show the pattern of the block everywhere (checkerboard).

    Args:
        factor: int ≥ 1, or a pair `(vertical, horizontal)`, the factor of the shuffle.
        initializer: name, config or initializer of the weights that are repeated.
        transposed: bool. `True` is for the kernel of a transposed convolution that is as long as
            its stride, shape `(*factor, filters, channels)`: all its taps are the same matrix,
            with the same effect.

    Raises:
        ValueError: if a factor is below 1, or the kernel does not fit it.

    Reference: Aitken et al., "Checkerboard artifact free sub-pixel convolution",
    arXiv:1707.02937, section 3.

    >>> kernel = ops.convert_to_numpy(ICNR(2)((3, 3, 16, 8)))
    >>> kernel.shape, float(abs(kernel[..., 0:1] - kernel[..., 0:4]).max())
    ((3, 3, 16, 8), 0.0)
    """

    def __init__(
        self, factor: Size, *, initializer: Any = "glorot_uniform", transposed: bool = False
    ) -> None:
        self.factor = _check.pair(factor, "factor")
        self.initializer = keras.initializers.get(initializer)
        self.transposed = _check.flag(transposed, "transposed")

    def __call__(self, shape: Shape, dtype: str | None = None) -> Tensor:
        block = self.factor[0] * self.factor[1]
        if self.transposed:
            if tuple(shape[:2]) != self.factor:
                raise ValueError(
                    f"A transposed kernel must be as long as its stride, {self.factor}. "
                    f"Received: shape={tuple(shape)}"
                )
            return ops.tile(self.initializer((1, 1, *shape[2:]), dtype), (*self.factor, 1, 1))
        if shape[-1] % block:
            raise ValueError(
                f"The filters must be a multiple of {block} with factor={self.factor}. "
                f"Received: shape={tuple(shape)}"
            )
        return ops.repeat(self.initializer((*shape[:-1], shape[-1] // block), dtype), block, -1)

    def get_config(self) -> Config:
        return {
            "factor": self.factor,
            "initializer": keras.initializers.serialize(self.initializer),
            "transposed": self.transposed,
        }

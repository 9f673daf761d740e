"""A start without checkerboards for learned upsampling."""

import keras
from keras import ops

from keras_dense import _check


@keras.saving.register_keras_serializable("keras_dense")
class ICNR(keras.initializers.Initializer):
    """A kernel with which a pixel shuffle starts as nearest-neighbor upsampling.

    The f² channels that become one block of cells get the same weights, drawn from `initializer`
    as for a convolution with 1 / f² of the channels. So all cells of a block start equal, and

        PixelShuffle(f)(conv(x)) = nearest(conv'(x)),

    where independent weights would print the pattern of the block onto everything (checkerboard).

    Args:
        factor: int ≥ 1, or a pair `(vertical, horizontal)`: that of the shuffle.
        initializer: of the weights that are repeated: a name, a config or an initializer.
        transposed: for the kernel of a transposed convolution as long as its stride, of shape
            `(*factor, filters, channels)`: all its taps are the same matrix, to the same effect.

    Raises:
        ValueError: for a factor below 1, or a kernel that `factor` does not divide.

    Reference: Aitken et al., "Checkerboard artifact free sub-pixel convolution",
    arXiv:1707.02937, section 3.

    >>> kernel = ops.convert_to_numpy(ICNR(2)((3, 3, 16, 8)))
    >>> kernel.shape, float(abs(kernel[..., 0:1] - kernel[..., 0:4]).max())
    ((3, 3, 16, 8), 0.0)
    """

    def __init__(self, factor, initializer="glorot_uniform", transposed=False):
        self.factor = _check.pair(factor, "factor")
        self.initializer = keras.initializers.get(initializer)
        self.transposed = transposed

    def __call__(self, shape, dtype=None):
        block = self.factor[0] * self.factor[1]
        if self.transposed:
            if tuple(shape[:2]) != self.factor:
                raise ValueError(
                    f"ICNR: a transposed kernel must be as long as its stride, {self.factor}. "
                    f"Received: shape={tuple(shape)}"
                )
            return ops.tile(self.initializer((1, 1, *shape[2:]), dtype), (*self.factor, 1, 1))
        if shape[-1] % block:
            raise ValueError(
                f"ICNR: `factor={self.factor}` makes blocks of {block} channels. "
                f"Received: shape={tuple(shape)}"
            )
        return ops.repeat(self.initializer((*shape[:-1], shape[-1] // block), dtype), block, -1)

    def get_config(self):
        return {
            "factor": self.factor,
            "initializer": keras.initializers.serialize(self.initializer),
            "transposed": self.transposed,
        }

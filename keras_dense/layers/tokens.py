"""Images as tokens and tokens as maps, for vision transformers on images of any size."""

from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Size, Tensor
from keras_dense.ops.image import pad_map, to_multiple
from keras_dense.ops.resample import resize_bicubic, resize_to_stride


def cells_of(size: Any, stride: int) -> Any:
    """Number of cells of a stride that cover a size, an int or a tensor; `None` if it is unknown.

    >>> cells_of(97, 14), cells_of(None, 14)
    (7, None)
    """
    return None if size is None else (size + stride - 1) // stride


def grid_of(image: Tensor, patch: tuple[int, int]) -> list:
    """Rows and columns of the patches that cover an image, ints or tensors.

    >>> import numpy as np
    >>> grid_of(np.zeros((1, 97, 131, 3)), (16, 16))
    [7, 9]
    """
    return [cells_of(n, p) for n, p in zip(ops.shape(image)[1:3], patch, strict=True)]


@keras.saving.register_keras_serializable("keras_dense")
class PatchTokens(keras.layers.Layer):
    """Tokens of the patches of an image of any size, with positions, after learned tokens.

    `(B, H, W, C)` → `(B, k + ceil(H / p) ceil(W / p), D)`. The image is mirrored at the bottom and
    the right where the patch size does not divide it. Positions are stored for one grid and
    interpolated for others as `torch.nn.functional.interpolate(mode="bicubic")` does; on their own
    grid they are added as they are.

    Args:
        units: int ≥ 1, D, channels of a token.
        patch: int ≥ 1 or a pair, height and width of a patch.
        grid: pair, rows and columns of the stored positions; `None` for a network that has its
            positions elsewhere.
        prefix: int ≥ 0, k, number of learned tokens (class, distillation, registers) before those
            of the patches. Their positions are part of them.
        use_bias: bool, whether the projection of the patches has a bias.
        antialias: bool, whether positions are interpolated with antialiasing.

    Raises:
        ValueError: for an argument out of range, or an image too small to be mirrored: less than
            half a patch and a pixel.

    Reference: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, sections 3.1, 3.2.

    >>> import numpy as np
    >>> tuple(PatchTokens(8, 14, grid=(4, 4), prefix=1)(np.zeros((1, 97, 131, 3))).shape)
    (1, 71, 8)
    """

    def __init__(
        self,
        units: int,
        patch: Size,
        *,
        grid: tuple[int, int] | None = None,
        prefix: int = 0,
        use_bias: bool = True,
        antialias: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = _check.integer(units, "units", low=1)
        self.patch = _check.pair(patch, "patch")
        self.grid = None if grid is None else _check.pair(grid, "grid")
        self.prefix = _check.integer(prefix, "prefix", low=0)
        self.use_bias = _check.flag(use_bias, "use_bias")
        self.antialias = _check.flag(antialias, "antialias")
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Shape) -> None:
        kernel = (*self.patch, input_shape[-1], self.units)
        self.kernel = self.add_weight(name="kernel", shape=kernel, initializer="glorot_uniform")
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        if self.grid:
            shape = (*self.grid, self.units)
            self.positions = self.add_weight(name="positions", shape=shape, initializer=normal)
        if self.prefix:
            shape = (self.prefix, self.units)
            self.tokens = self.add_weight(name="tokens", shape=shape, initializer=normal)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, _ = input_shape
        for size, patch in zip(sizes, self.patch, strict=True):
            if size is not None and (-size) % patch >= size:
                raise ValueError(
                    f"The image is too small for patches of {self.patch[0]}×{self.patch[1]} "
                    "pixels, to which it is mirrored at the edge. Enlarge it. Received: "
                    f"height={sizes[0]}, width={sizes[1]}"
                )
        cells = [cells_of(n, p) for n, p in zip(sizes, self.patch, strict=True)]
        count = None if None in cells else self.prefix + cells[0] * cells[1]
        return (batch, count, self.units)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        x = ops.cast(inputs, self.compute_dtype)
        sizes = zip(ops.shape(x)[1:3], self.patch, strict=True)
        bottom, right = (to_multiple(n, p) for n, p in sizes)
        if not (isinstance(bottom, int) and isinstance(right, int) and bottom == right == 0):
            x = pad_map(x, (0, bottom), (0, right), mode="reflect")
        x = ops.conv(
            x, self.kernel, strides=self.patch, padding="valid", data_format="channels_last"
        )
        if self.use_bias:
            x = x + self.bias
        height, width = ops.shape(x)[1:3]
        if self.grid:
            x = x + self._positions(height, width)
        x = ops.reshape(x, (-1, height * width, self.units))
        if not self.prefix:
            return x
        tokens = ops.tile(ops.expand_dims(self.tokens, 0), (ops.shape(x)[0], 1, 1))
        return ops.concatenate([ops.cast(tokens, x.dtype), x], axis=1)

    def _positions(self, height, width):
        positions = ops.expand_dims(self.positions, 0)
        known = isinstance(height, int) and isinstance(width, int)
        if known and (height, width) == self.grid:
            return ops.cast(positions, self.compute_dtype)
        exact = ops.cast(positions, "float32")
        exact = resize_bicubic(exact, height, width, antialias=self.antialias)
        return ops.cast(exact, self.compute_dtype)

    def get_config(self) -> Config:
        config = {"units": self.units, "patch": self.patch, "grid": self.grid}
        config |= {"prefix": self.prefix, "use_bias": self.use_bias, "antialias": self.antialias}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class TokenMap(keras.layers.Layer):
    """The tokens of an image's patches as a map, of the patch size or another stride.

    Call it with two tensors: `TokenMap(…)(tokens, image)`, shapes `(B, k + N, D)` and
    `(B, H, W, C)`; it returns `(B, ceil(H / s), ceil(W / s), D)` at stride s. Tokens before those
    of the patches are left out. Another stride than the patch size is half-pixel bilinear
    resampling by the true scale, which moves no cell; the same is a mere reshape.

    Args:
        patch: int ≥ 1 or a pair, height and width of a patch.
        prefix: int ≥ 0, k, number of tokens before those of the patches.
        stride: int ≥ 1 or a pair, pixels per cell of the map; default: the patch size.

    Raises:
        ValueError: for an argument out of range.

    Reference: Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021, section 3.

    >>> import numpy as np
    >>> tokens, image = np.zeros((1, 71, 5)), np.zeros((1, 97, 131, 3))
    >>> tuple(TokenMap(14, prefix=1, stride=8)(tokens, image).shape)
    (1, 13, 17, 5)
    """

    def __init__(
        self, patch: Size, *, prefix: int = 0, stride: Size | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.patch = _check.pair(patch, "patch")
        self.prefix = _check.integer(prefix, "prefix", low=0)
        self.stride = self.patch if stride is None else _check.pair(stride, "stride")

    def build(self, x_shape, image_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, image_shape):
        sizes = zip(image_shape[1:3], self.stride, strict=True)
        return (x_shape[0], *(cells_of(n, s) for n, s in sizes), x_shape[-1])

    def call(self, x: Tensor, image: Tensor) -> Tensor:
        x = ops.cast(x, self.compute_dtype)
        x = ops.reshape(x[:, self.prefix :], (-1, *grid_of(image, self.patch), x.shape[-1]))
        if self.stride == self.patch:
            return x
        height, width = grid_of(image, self.stride)
        return resize_to_stride(x, height, width, self.patch, self.stride)

    def get_config(self) -> Config:
        config = {"patch": self.patch, "prefix": self.prefix, "stride": self.stride}
        return {**super().get_config(), **config}

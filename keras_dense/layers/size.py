"""Padding and cropping, so that a network with a stride takes images of any size."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Config, Shape, Tensor
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.image import (
    at_least,
    crop_like,
    fit_like,
    pad_map,
    pad_reflect,
    pad_to_multiple,
)


@keras.saving.register_keras_serializable("keras_dense")
class PadToMultiple(RearrangingLayer):
    """Pad an image at the bottom and the right to the next multiple of a stride.

    Pixels keep their coordinates, so a later `CropLike` undoes it. `(B, H, W, C)` →
    `(B, ceil(H / m) m, ceil(W / m) m, C)`; H and W may be unknown. The image is mirrored there,
    several times if it is small, or goes on in one color. A graph of unknown sizes, such as an
    exported one, mirrors once: there H and W must be more than half of `multiple`.

    Args:
        multiple: int ≥ 1, usually the stride of the network that follows.
        remainder: int from 0 to below `multiple`. With 1, the result has one row and one column
            more than a multiple, or as many pixels as the image: `ceil((H - 1) / m) m + 1`.
        color: float, or sequence of floats, one for each channel; default: mirrored.

    Raises:
        ValueError: for a multiple below 1, a remainder out of range, or if `color` has not one
            number for each channel.

    >>> import numpy as np
    >>> tuple(PadToMultiple(32)(np.zeros((1, 97, 131, 3))).shape)
    (1, 128, 160, 3)
    >>> tuple(PadToMultiple(32, remainder=1, color=[127.5])(np.zeros((1, 97, 131, 1))).shape)
    (1, 97, 161, 1)
    """

    def __init__(
        self,
        multiple: int,
        *,
        remainder: int = 0,
        color: float | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.multiple = _check.integer(multiple, "multiple", low=1)
        self.remainder = _check.integer(remainder, "remainder", low=0, high=self.multiple - 1)
        self.color: float | list[float] | None = None
        if isinstance(color, Sequence):
            self.color = [_check.number(c, "color") for c in color]
        elif color is not None:
            self.color = _check.number(color, "color")

    def _grown(self, size):
        return None if size is None else size + (self.remainder - size) % self.multiple

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, height, width, channels = input_shape
        if isinstance(self.color, list) and len(self.color) != channels:
            raise ValueError(
                "`color` must have a number for each channel of the image. "
                f"Received: color={self.color}, an image of {channels} channels"
            )
        return (batch, self._grown(height), self._grown(width), channels)

    def call(self, inputs: Tensor) -> Tensor:
        self.compute_output_shape(inputs.shape)
        return pad_to_multiple(inputs, self.multiple, self.remainder, self.color)

    def get_config(self) -> Config:
        config = {"multiple": self.multiple, "remainder": self.remainder, "color": self.color}
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("keras_dense")
class PadToMinimum(RearrangingLayer):
    """Pad a map to a minimum size with zeros at the bottom and the right.

    `(B, H, W, C)` → `(B, max(H, n), max(W, n), C)`; H and W may be unknown. A later `CropLike`
    undoes it.

    Args:
        minimum: int ≥ 1, the smallest height and width.

    Raises:
        ValueError: if the minimum is below 1.

    >>> import numpy as np
    >>> tuple(PadToMinimum(7)(np.zeros((1, 4, 9, 3))).shape)
    (1, 7, 9, 3)
    """

    def __init__(self, minimum: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.minimum = _check.integer(minimum, "minimum", low=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, channels = input_shape
        return (batch, *(None if n is None else max(n, self.minimum) for n in sizes), channels)

    def call(self, inputs: Tensor) -> Tensor:
        bottom, right = (at_least(self.minimum - n, 0) for n in ops.shape(inputs)[1:3])
        return pad_map(inputs, (0, bottom), (0, right))

    def get_config(self) -> Config:
        return {**super().get_config(), "minimum": self.minimum}


@keras.saving.register_keras_serializable("keras_dense")
class CropLike(RearrangingLayer):
    """Crop a map to the height and width of another, keeping its top left corner.

    Call it with two tensors: `CropLike()(x, like)`, shapes `(B, H, W, C)` and `(B, h, w, D)`
    with h ≤ H, w ≤ W; it returns `(B, h, w, C)`.

    Args:
        stride: int ≥ 1, rows and columns of `like` per cell of the map; the result is
            `(B, ceil(h / stride), ceil(w / stride), C)`.

    Raises:
        ValueError: if the stride is below 1, or `like` is known to be larger than `x`.

    >>> import numpy as np
    >>> tuple(CropLike()(np.zeros((1, 128, 160, 21)), np.zeros((1, 97, 131, 3))).shape)
    (1, 97, 131, 21)
    """

    def __init__(self, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = _check.integer(stride, "stride", low=1)

    def build(self, x_shape, like_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, like_shape):
        sizes = [None if n is None else -(-n // self.stride) for n in like_shape[1:3]]
        for have, want in zip(x_shape[1:3], sizes, strict=True):
            if have is not None and want is not None and have < want:
                raise ValueError(
                    f"`x` must be at least as large as `like`. Received: x.shape={x_shape}, "
                    f"like.shape={like_shape}"
                )
        return (x_shape[0], *sizes, x_shape[3])

    def call(self, x: Tensor, like: Tensor) -> Tensor:
        self.compute_output_shape(x.shape, like.shape)
        return crop_like(x, like, self.stride)

    def get_config(self) -> Config:
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("keras_dense")
class FitLike(RearrangingLayer):
    """Cut a map to the height and width of another, or continue it where it is smaller.

    Call it with two tensors: `FitLike()(x, like)`, shapes `(B, H, W, C)` and `(B, h, w, D)`; it
    returns `(B, h, w, C)`. Unlike `CropLike` it takes maps that are smaller than `like`: their
    edges are repeated. All sizes may be unknown.

    Args:
        stride: int ≥ 1 or a pair `(vertical, horizontal)`, rows and columns of `like` per cell of
            the map; the result is `(B, ceil(h / stride), ceil(w / stride), C)`.
        centered: bool. `False` cuts off at the bottom and the right only; `True` on both sides
            alike, of an odd number one more at the bottom and the right.

    Raises:
        ValueError: if a stride is below 1.

    >>> import numpy as np
    >>> x = np.arange(5.0).reshape(1, 1, 5, 1)
    >>> y = FitLike(centered=True)(x, np.zeros((1, 1, 2, 1)))
    >>> keras.ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 2.0]
    """

    def __init__(
        self, stride: int | Sequence[int] = 1, *, centered: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.stride = _check.pair(stride, "stride")
        self.centered = _check.flag(centered, "centered")

    def build(self, x_shape, like_shape=None):
        """No weights. Keras passes the shapes of all inputs."""

    def compute_output_shape(self, x_shape, like_shape):
        sizes = zip(like_shape[1:3], self.stride, strict=True)
        return (x_shape[0], *(None if n is None else -(-n // s) for n, s in sizes), x_shape[3])

    def call(self, x: Tensor, like: Tensor) -> Tensor:
        return fit_like(x, like, self.stride, self.centered)

    def get_config(self) -> Config:
        return {**super().get_config(), "stride": self.stride, "centered": self.centered}


def _as_margin(margin):
    if _check.is_integer(margin) and margin >= 0:
        return int(margin)
    return _check.sides(margin, "margin", "an integer >= 0 or ")


@keras.saving.register_keras_serializable("keras_dense")
class ReflectionPadding2D(RearrangingLayer):
    """Pad an image with its mirror image on all sides, several times if the image is small.

    `(B, H, W, C)` → `(B, top + H + bottom, left + W + right, C)`; H and W may be unknown. The
    edge row itself is not repeated.

    Args:
        margin: int ≥ 0, pixels on each side, or `((top, bottom), (left, right))`.

    Raises:
        ValueError: if a margin is below 0.

    >>> import numpy as np
    >>> y = ReflectionPadding2D(3)(np.array([1.0, 2.0]).reshape(1, 1, 2, 1))
    >>> [int(v) for v in keras.ops.convert_to_numpy(y)[0, 0, :, 0]]
    [2, 1, 2, 1, 2, 1, 2, 1]
    """

    def __init__(self, margin: int | Sequence[Sequence[int]], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = _as_margin(margin)

    @property
    def _margins(self):
        margin = self.margin
        return ((margin, margin),) * 2 if isinstance(margin, int) else margin

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *sizes, channels = input_shape
        grown = zip(sizes, self._margins, strict=True)
        return (batch, *(None if n is None else n + sum(m) for n, m in grown), channels)

    def call(self, inputs: Tensor) -> Tensor:
        return pad_reflect(inputs, self._margins)

    def get_config(self) -> Config:
        return {**super().get_config(), "margin": self.margin}

"""Padding and cropping, so that a network with a stride takes every image size."""

import keras
from keras import ops

from keras_dense import _check
from keras_dense.layers.dtypes import RearrangingLayer
from keras_dense.ops.image import at_least, crop_like, pad_map, pad_reflect, pad_to_multiple


def _grown(size, multiple):
    return None if size is None else size + -size % multiple


@keras.saving.register_keras_serializable("keras_dense")
class PadToMultiple(RearrangingLayer):
    """Grow an image to the next multiple of a stride, mirrored at the bottom and the right.

    Pixels keep their coordinates, so `CropLike` afterwards undoes it. `(B, H, W, C)` becomes
    `(B, ceil(H / m) m, ceil(W / m) m, C)`; H and W may be unknown.

    Args:
        multiple: int ≥ 1, usually the stride of the network that follows.

    Raises:
        ValueError: if the image is smaller than `multiple` on an axis.

    >>> import numpy as np
    >>> tuple(PadToMultiple(32)(np.zeros((1, 97, 131, 3))).shape)
    (1, 128, 160, 3)
    """

    def __init__(self, multiple, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(multiple, int) or multiple < 1:
            raise ValueError(f"`multiple` must be an integer >= 1. Received: multiple={multiple!r}")
        self.multiple = multiple

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        for size in (height, width):
            if size is not None and size < self.multiple:
                raise ValueError(
                    f"The image is too small: the network has stride {self.multiple}, so it needs "
                    f"at least {self.multiple}×{self.multiple} pixels. Received: height={height}, "
                    f"width={width}. Enlarge the image first, or choose a backbone of smaller "
                    "stride."
                )
        return (batch, _grown(height, self.multiple), _grown(width, self.multiple), channels)

    def call(self, inputs):
        self.compute_output_shape(inputs.shape)
        return pad_to_multiple(inputs, self.multiple)

    def get_config(self):
        return {**super().get_config(), "multiple": self.multiple}


@keras.saving.register_keras_serializable("keras_dense")
class PadToMinimum(RearrangingLayer):
    """Grow a map with zeros at the bottom and the right until a window fits into it.

    `(B, H, W, C)` → `(B, max(H, n), max(W, n), C)`; H and W may be unknown. `CropLike` afterwards
    undoes it.

    Args:
        minimum: int ≥ 1, the smallest height and width.

    Raises:
        ValueError: for a minimum below 1.

    >>> import numpy as np
    >>> tuple(PadToMinimum(7)(np.zeros((1, 4, 9, 3))).shape)
    (1, 7, 9, 3)
    """

    def __init__(self, minimum, **kwargs):
        super().__init__(**kwargs)
        self.minimum = _check.integer(minimum, "minimum", low=1)

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *(None if n is None else max(n, self.minimum) for n in sizes), channels)

    def call(self, inputs):
        bottom, right = (at_least(self.minimum - n, 0) for n in ops.shape(inputs)[1:3])
        return pad_map(inputs, (0, bottom), (0, right))

    def get_config(self):
        return {**super().get_config(), "minimum": self.minimum}


@keras.saving.register_keras_serializable("keras_dense")
class CropLike(RearrangingLayer):
    """Cut a map to the height and width of another, keeping its top left corner.

    Call with two tensors: `CropLike()(x, like)`, shapes `(B, H, W, C)` and `(B, h, w, D)`
    with h ≤ H, w ≤ W; returns `(B, h, w, C)`.

    Args:
        stride: int ≥ 1: the map has one cell for so many rows and columns of `like`, and becomes
            `(B, ceil(h / stride), ceil(w / stride), C)`.

    Raises:
        ValueError: for a stride below 1, or if `like` is known to be larger than `x`.

    >>> import numpy as np
    >>> tuple(CropLike()(np.zeros((1, 128, 160, 21)), np.zeros((1, 97, 131, 3))).shape)
    (1, 97, 131, 21)
    """

    def __init__(self, stride=1, **kwargs):
        super().__init__(**kwargs)
        self.stride = _check.integer(stride, "stride", low=1)

    def build(self, x_shape, like_shape=None):
        """Nothing to build; Keras gives the shapes of all inputs."""

    def compute_output_shape(self, x_shape, like_shape):
        sizes = [None if n is None else -(-n // self.stride) for n in like_shape[1:3]]
        for have, want in zip(x_shape[1:3], sizes, strict=True):
            if have is not None and want is not None and have < want:
                raise ValueError(
                    f"`x` is smaller than `like`. Received: x.shape={x_shape}, "
                    f"like.shape={like_shape}"
                )
        return (x_shape[0], *sizes, x_shape[3])

    def call(self, x, like):
        self.compute_output_shape(x.shape, like.shape)
        return crop_like(x, like, self.stride)

    def get_config(self):
        return {**super().get_config(), "stride": self.stride}


@keras.saving.register_keras_serializable("keras_dense")
class ReflectionPadding2D(RearrangingLayer):
    """Continue an image on all sides as in a mirror; as often as needed where it is small.

    `(B, H, W, C)` → `(B, top + H + bottom, left + W + right, C)`; H and W may be unknown. The
    edge row itself is not repeated.

    Args:
        margin: int ≥ 0, pixels on each side, or `((top, bottom), (left, right))`.

    Raises:
        ValueError: for a margin below 0.

    >>> import numpy as np
    >>> y = ReflectionPadding2D(3)(np.array([1.0, 2.0]).reshape(1, 1, 2, 1))
    >>> [int(v) for v in keras.ops.convert_to_numpy(y)[0, 0, :, 0]]
    [2, 1, 2, 1, 2, 1, 2, 1]
    """

    def __init__(self, margin, **kwargs):
        super().__init__(**kwargs)
        same = isinstance(margin, int) and margin >= 0
        self.margin = margin if same else _check.sides(margin, "margin", "an int ≥ 0 or ")

    @property
    def _margins(self):
        margin = self.margin
        return ((margin, margin),) * 2 if isinstance(margin, int) else margin

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        grown = zip(sizes, self._margins, strict=True)
        return (batch, *(None if n is None else n + sum(m) for n, m in grown), channels)

    def call(self, inputs):
        return pad_reflect(inputs, self._margins)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}

"""Padding, cropping and upsampling of image-like tensors.

All functions take channels-last tensors `(B, H, W, C)`, also with heights and widths that are
unknown when the graph is built.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_dense._types import ArrayLike, Sides, Tensor


def as_float(x: ArrayLike) -> Tensor:
    """`x` as a tensor of floats; integers are converted to `keras.config.floatx()`.

    Arithmetic on bytes would wrap around at 255, and round weights down to integers.

    >>> as_float([1, 2]).dtype == ops.convert_to_tensor([0.5]).dtype
    True
    """
    x = ops.convert_to_tensor(x)
    is_float = "float" in keras.backend.standardize_dtype(x.dtype)
    return x if is_float else ops.cast(x, keras.config.floatx())


def at_least(size: Any, least: int) -> Any:
    """The larger of a size (an int or an integer tensor) and an int, in the type of the size.

    >>> at_least(-3, 0), at_least(5, 0)
    (0, 5)
    """
    if isinstance(size, int):
        return max(size, least)
    if keras.backend.backend() == "torch":
        # `ops.maximum` makes int32 of traced sizes, which are int64: ONNX has no such sum.
        return size.clamp(min=least)
    return ops.maximum(size, least)


def take(x: ArrayLike, index: Tensor, axis: int) -> Tensor:
    """`ops.take` with a list of indices.

    >>> import numpy as np
    >>> ops.convert_to_numpy(take(np.arange(3), ops.convert_to_tensor([2, 0]), 0)).tolist()
    [2, 0]
    """
    x = ops.convert_to_tensor(x)
    if keras.backend.backend() == "torch" and not isinstance(x, keras.KerasTensor):
        return x.index_select(axis, index)  # `ops.take` has no form in ONNX
    return ops.take(x, index, axis=axis)


def pad_map(
    x: Tensor,
    vertical: Sequence[Any],
    horizontal: Sequence[Any],
    mode: str = "constant",
    fill: float | None = None,
) -> Tensor:
    """`ops.pad` of H and W only, by amounts that may be tensors.

    Args:
        x: `(B, H, W, C)`.
        vertical, horizontal: `(before, after)`, ints or tensors.
        mode, fill: `mode` and `constant_values` of `ops.pad`.

    >>> import numpy as np
    >>> tuple(pad_map(np.ones((1, 5, 8, 3)), (1, 2), (0, 4)).shape)
    (1, 8, 12, 3)
    """
    unknown = not all(isinstance(n, int) for n in (*vertical, *horizontal))
    if unknown and mode != "constant" and keras.backend.backend() == "torch":
        return _torch_pad(x, vertical, horizontal, mode)
    y = ops.pad(x, ((0, 0), vertical, horizontal, (0, 0)), mode=mode, constant_values=fill)
    if unknown and keras.backend.backend() == "tensorflow":
        # The converter to LiteRT loses the number of channels if amounts are tensors.
        y = ops.reshape(y, (*ops.shape(y)[:3], x.shape[-1]))
    return y


def _torch_pad(x, vertical, horizontal, mode):
    """PyTorch's own padding of H and W, for amounts that are traced and may be 0.

    `ops.pad` leaves out axes whose amounts are 0, and PyTorch mirrors only certain numbers of axes:
    with nothing to pad, the trace of an export would fail.
    """
    import torch

    exact = x if x.dtype in (torch.float32, torch.float64) else x.float()
    y = torch.nn.functional.pad(exact, (0, 0, *horizontal, *vertical), mode=mode)
    return y.to(x.dtype)


def pad_to_multiple(
    x: Tensor, multiple: int, remainder: int = 0, color: float | Sequence[float] | None = None
) -> Tensor:
    """Grow H and W at the bottom and the right to the next multiples, plus a remainder.

    The image is mirrored there, without repeating the edge and several times if it is small, or
    goes on in one color.

    Args:
        x: `(B, H, W, C)`.
        multiple: int >= 1.
        remainder: int from 0 to below `multiple`.
        color: number for all channels or one for each, rounded for integers; `None`: mirrored.

    >>> import numpy as np
    >>> tuple(pad_to_multiple(np.ones((1, 5, 8, 3)), 4).shape)
    (1, 8, 8, 3)
    >>> y = pad_to_multiple(np.ones((1, 1, 2, 1)), 4, remainder=1, color=[7.0])
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [1.0, 1.0, 7.0, 7.0, 7.0]
    """
    # n leaves the remainder r if n + (multiple - r) leaves none.
    sizes = (n + multiple - remainder if remainder else n for n in ops.shape(x)[1:3])
    bottom, right = (to_multiple(n, multiple) for n in sizes)
    if isinstance(bottom, int) and isinstance(right, int) and not (bottom or right):
        return x
    if color is None:
        # Mirroring in one step needs more rows than it adds, which unknown sizes may not have.
        rows = zip(ops.shape(x)[1:3], (bottom, right), strict=True)
        if not all(isinstance(n, int) and isinstance(more, int) and more < n for n, more in rows):
            return pad_reflect(x, ((0, bottom), (0, right)))
        return pad_map(x, (0, bottom), (0, right), mode="reflect")
    if not isinstance(color, Sequence):
        fill = round(color) if "int" in keras.backend.standardize_dtype(x.dtype) else color
        return pad_map(x, (0, bottom), (0, right), fill=fill)
    inside = pad_map(ops.ones_like(x[:1, :, :, :1]), (0, bottom), (0, right))
    if "int" in keras.backend.standardize_dtype(x.dtype):
        color = [round(value) for value in color]
    return pad_map(x, (0, bottom), (0, right)) + (1 - inside) * ops.cast(
        ops.convert_to_tensor(color), x.dtype
    )


def to_multiple(size: Any, multiple: Any) -> Any:
    """The difference from a size, an int or a tensor, to the next multiple.

    It avoids the remainder of a negative number, which has that number's sign in ONNX files from
    TensorFlow's converter.

    >>> to_multiple(5, 4), to_multiple(8, 4)
    (3, 0)
    """
    return (multiple - size % multiple) % multiple


def pad_reflect(x: ArrayLike, margin: int | Sides) -> Tensor:
    """Mirror H and W on all sides without repeating the edge; small images several times.

    Args:
        x: `(B, H, W, C)`.
        margin: int, pixels on each side, or `((top, bottom), (left, right))`.

    >>> import numpy as np
    >>> y = pad_reflect(np.array([1.0, 2, 3]).reshape(1, 1, 3, 1), 1)
    >>> ops.convert_to_numpy(y)[0, 1, :, 0].tolist()
    [2.0, 1.0, 2.0, 3.0, 2.0]
    """
    x = ops.convert_to_tensor(x)
    if isinstance(margin, int):
        margin = ((margin, margin), (margin, margin))
    for axis, (before, after) in enumerate(margin, start=1):
        size = ops.shape(x)[axis]
        # A triangle wave of period 2 (n - 1): 0, 1, …, n - 1, n - 2, …, 1.
        period = at_least(2 * (size - 1), 1)
        position = ops.arange(before + size + after, dtype="int32")
        position = (position + to_multiple(before, period)) % period
        x = take(x, ops.minimum(position, period - position) % size, axis)
    return x


def crop_like(x: Tensor, like: Tensor, stride: int = 1) -> Tensor:
    """The top left part of `x` in the size of `like` divided by a stride (rounded up).

    >>> import numpy as np
    >>> tuple(crop_like(np.ones((1, 8, 8, 3)), np.ones((1, 5, 7, 1))).shape)
    (1, 5, 7, 3)
    """
    height, width = ((n + stride - 1) // stride for n in ops.shape(like)[1:3])
    known = isinstance(height, int) and isinstance(width, int)
    if known and tuple(x.shape[1:3]) == (height, width):
        return x  # Otherwise runtimes would copy it.
    return x[:, :height, :width]


def fit_like(
    x: Tensor, like: Tensor, stride: Sequence[int] = (1, 1), centered: bool = False
) -> Tensor:
    """A map cut to the size of another divided by a stride, edges repeated where it is smaller.

    Args:
        x: `(B, H, W, C)`.
        like: `(B, h, w, D)`.
        stride: pair of ints; the result has `ceil(h / stride)` rows.
        centered: bool, whether cells are cut off or added on both sides alike (of an odd number one
            more at the bottom and the right), instead of only at the bottom and the right.

    >>> import numpy as np
    >>> x = np.array([1.0, 2, 3, 4]).reshape(1, 1, 4, 1)
    >>> y = fit_like(x, np.zeros((1, 2, 3, 1)))
    >>> ops.convert_to_numpy(y)[0, :, :, 0].tolist()
    [[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]
    """
    for axis, step in zip((1, 2), stride, strict=True):
        have, want = ops.shape(x)[axis], (ops.shape(like)[axis] + step - 1) // step
        before = at_least(have - want, 0) // 2 if centered else 0
        if isinstance(have, int) and isinstance(want, int):
            if have == want:
                continue
            if have > want:
                x = x[:, before : before + want] if axis == 1 else x[:, :, before : before + want]
                continue
        if centered:
            before = before - at_least(want - have, 0) // 2
        index = ops.arange(want, dtype="int32") + before
        x = take(x, ops.clip(index, 0, have - 1), axis)
    return x


def sum_blocks(x: Tensor, factor: int) -> Tensor:
    """The sum of every block of `factor` × `factor` pixels; pixels beyond the edges are zeros.

    Args:
        x: `(B, H, W, C)`.
        factor: int >= 1.

    Returns:
        `(B, ceil(H / factor), ceil(W / factor), C)`.

    >>> import numpy as np
    >>> y = sum_blocks(np.array([1.0, 2, 3]).reshape(1, 1, 3, 1), 2)
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [3.0, 3.0]
    """
    if factor == 1:
        return x
    height, width = ops.shape(x)[1:3]
    bottom, right = to_multiple(height, factor), to_multiple(width, factor)
    x = pad_map(x, (0, bottom), (0, right))
    sizes = ((height + bottom) // factor, factor, (width + right) // factor, factor)
    return ops.sum(ops.reshape(x, (-1, *sizes, x.shape[-1])), axis=(2, 4))


def _phases(factor):
    """The neighbor of each of the `factor` new cells of an old one, and the neighbor's weight."""
    for phase in range(factor):
        position = (phase + 0.5) / factor - 0.5
        yield (-1, -position) if position < 0 else (1, position)


def upsample_bilinear(x: ArrayLike, factor: Sequence[int]) -> Tensor:
    """Half-pixel bilinear upsampling by integer factors, with edges repeated.

    Equals `keras.ops.image.resize(x, (f H, f W), "bilinear")`, which cannot be traced if H or W
    is unknown. Each phase of the result is a mean of two neighbors with fixed weights, so only
    slices and sums are needed.

    Args:
        x: `(B, H, W, C)`.
        factor: pair of ints, the vertical and the horizontal factor.

    >>> import numpy as np
    >>> y = upsample_bilinear(np.array([0.0, 4.0]).reshape(1, 1, 2, 1), (1, 2))
    >>> ops.convert_to_numpy(y)[0, 0, :, 0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """
    x = as_float(x)
    return _upsample_axis(_upsample_axis(x, factor[0], axis=1), factor[1], axis=2)


def _upsample_axis(x, factor, axis):
    if factor == 1:
        return x

    def part(start, stop):
        return x[:, start:stop] if axis == 1 else x[:, :, start:stop]

    neighbor = {
        -1: ops.concatenate([part(0, 1), part(0, -1)], axis=axis),
        1: ops.concatenate([part(1, None), part(-1, None)], axis=axis),
    }
    # The difference first: then a constant stays exactly constant.
    step = {side: value - x for side, value in neighbor.items()}
    cells = [x + step[side] * weight if weight else x for side, weight in _phases(factor)]
    height, width = ops.shape(x)[1:3]
    size = (height * factor, width) if axis == 1 else (height, width * factor)
    return ops.reshape(ops.stack(cells, axis=axis + 1), (-1, *size, x.shape[-1]))

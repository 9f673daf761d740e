"""Labels by which an image can be rebuilt from the colors of its classes."""

from typing import Any

from keras import ops

from keras_dense._types import Tensor
from keras_dense.ops.image import pad_map, sum_blocks
from keras_dense.ops.resample import resize_to_stride

_LITTLE = 1e-3  # share of a window: of rarer classes the color of the whole window counts


def rebuild_by_color(
    scores: Tensor,
    image: Tensor,
    *,
    weight: float = 3.0,
    rounds: int = 3,
    window: int = 13,
    stride: int = 2,
) -> Tensor:
    """Scores of labels from which the image can be rebuilt, near those of a network.

    An image is rebuilt by giving each cell i the colors of its classes, `sum_k q_ik c_ik`, where
    `c_ik` is the mean color of class k in a window around the cell. Labels that agree with the
    network's, p, and rebuild the image I, minimize

    ```
    sum_i KL(q_i | p_i) + weight · sum_ik q_ik |I_i - c_ik|²
    ```

    with colors from 0 to 1. Colors and labels are computed in turn; for given colors the labels are
    `q_ik ~ p_ik exp(-weight |I_i - c_ik|²)`.

    Args:
        scores: logits `(B, H, W, C)` of at least two classes.
        image: `(B, H, W, 3)`, 0–255.
        weight: float >= 0; 0 changes nothing.
        rounds: int >= 0.
        window: int >= 1, odd, in cells.
        stride: int >= 1, pixels in a row of a cell.

    Returns:
        Logits `(B, H, W, C)`, float32.

    >>> import numpy as np
    >>> image = np.zeros((1, 1, 4, 3), "float32")
    >>> image[:, :, 2:] = 255
    >>> scores = np.array([[[[2.0, 0.0], [0.1, 0.0], [0.1, 0.0], [0.0, 2.0]]]], "float32")
    >>> y = ops.convert_to_numpy(rebuild_by_color(scores, image, stride=1))
    >>> y.argmax(-1)[0, 0].tolist()
    [0, 0, 1, 1]
    """
    scores = ops.cast(scores, "float32")
    colors = ops.cast(image, "float32") / 255.0
    height, width = ops.shape(scores)[1:3]
    pixels = sum_blocks(ops.ones_like(colors[..., :1]), stride)
    coarse, colors = (sum_blocks(x, stride) / pixels for x in (scores, colors))
    around = _box(colors, window) / _box(ops.ones_like(colors[..., :1]), window)
    change = ops.zeros_like(coarse)
    for _ in range(rounds):
        q = ops.softmax(coarse + change, axis=-1)
        change = -weight * _distances(q, colors, around, window)
    if stride > 1:
        change = resize_to_stride(change, height, width, stride, 1)
    return scores + change


def _distances(q: Tensor, colors: Tensor, around: Tensor, window: int) -> Tensor:
    """Squared distances of colors to the mean color of each class around, `(B, h, w, C)`."""
    size = _box(q, window)
    found: Any = 0.0
    for channel in range(colors.shape[-1]):
        color, near = colors[..., channel : channel + 1], around[..., channel : channel + 1]
        mean = (_box(q * color, window) + _LITTLE * near) / (size + _LITTLE)
        found = found + ops.square(color - mean)
    return found


def _box(x: Tensor, window: int) -> Tensor:
    """The sum over a window, divided by its cells; there are zeros beyond the edges."""
    margin = (window // 2, window // 2)
    x = pad_map(x, margin, margin)
    for size in ((window, 1), (1, window)):
        x = ops.average_pool(x, size, strides=1, padding="valid", data_format="channels_last")
    return x

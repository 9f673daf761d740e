"""The grid that a network computes on: how the image is padded, and where resized cells lie.

| `grid` | the image is padded to | maps have | resizing | of |
|---|---|---|---|---|
| "multiple" | s·k, mirrored | k cells | by factors, half-pixel | this library |
| "multiple_corners" | s·k, mirrored | k cells | by factors, aligned corners | SMP |
| "image" | – | ceil(H/s) cells | to the finer map, half-pixel | torchvision, MMSegmentation |
| "image_corners" | – | ceil(H/s) cells | to the finer map, aligned corners | MMSegmentation (769) |
| "corners" | s·k + 1, mean color | k + 1 cells | to the finer map, aligned corners | DeepLab |

H is the height of the image, s the stride of a map. The image is padded at the
bottom and the right, and predictions are cropped to its size. Half-pixel resizing lays n cells side
by side over the image. Aligned corners put the first and the last cell of every map on the first
and the last pixel; with s·k + 1 pixels every cell of a coarse map lies on a cell of the finer ones.
The mean color is the one that the backbone standardizes to zero, so the network sees zeros, as in
the padding of its convolutions.

A network trained on one grid loses a few points of IoU on another.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from keras_dense import _check
from keras_dense._types import Tensor
from keras_dense.layers import FitLike, ResizeLike, Standardize
from keras_dense.surgery.graph import maker_of

# The grid of networks for which none is chosen.
GRID = "multiple"


@dataclass(frozen=True)
class Grid:
    """A row of the table.

    Attributes:
        name: str.
        padding: "multiple", "corners" or "none".
        align_corners: bool, whether the outermost cells of all maps lie on each other.
    """

    name: str
    padding: str
    align_corners: bool

    @property
    def divides(self) -> bool:
        """Whether strides divide all sizes, so that maps are upsampled by factors."""
        return self.padding == "multiple"


GRIDS = {
    name: Grid(name, padding, align_corners)
    for name, padding, align_corners in (
        ("multiple", "multiple", False),
        ("multiple_corners", "multiple", True),
        ("image", "none", False),
        ("image_corners", "none", True),
        ("corners", "corners", True),
    )
}


def as_grid(
    grid: str | None, allowed: Sequence[str] = tuple(GRIDS), reason: str | None = None
) -> Grid:
    """A grid by name; `None` means the default, or the first of `allowed` if that is not allowed.

    Args:
        grid: str, a name of the table above, or `None`.
        allowed: names of the grids that a network can compute on.
        reason: str, a sentence why it cannot compute on the others.

    Raises:
        ValueError: for an unknown name, or a grid that is not allowed.

    >>> as_grid(None).name, as_grid("corners").align_corners
    ('multiple', True)
    """
    if grid is None:
        return GRIDS[GRID if GRID in allowed else allowed[0]]
    _check.choice(grid, "grid", tuple(GRIDS))
    if grid not in allowed:
        names = " or ".join(repr(name) for name in allowed)
        raise ValueError(f"`grid` must be {names}: {reason} Received: grid={grid!r}")
    return GRIDS[grid]


def only(allowed: Sequence[str], reason: str) -> None:
    """Raise a `ValueError` if the network that is being assembled has another grid.

    For decoders; see `as_grid`.
    """
    canvas = current()
    if canvas is not None:
        as_grid(canvas.grid.name, allowed, reason)


@dataclass(frozen=True)
class Canvas:
    """The image of the network that is being assembled.

    Attributes:
        grid: `Grid`.
        image: the input of the network.
        seen: the same as the backbone sees it: padded, and in gray if a head asks for that.
    """

    grid: Grid
    image: Tensor
    seen: Tensor


_CANVAS: ContextVar[Canvas | None] = ContextVar("canvas", default=None)


def current() -> Canvas | None:
    """The canvas of the network that is being assembled; `None` outside of `kd.assemble`.

    >>> current() is None
    True
    """
    return _CANVAS.get()


@contextmanager
def assembling(canvas: Canvas) -> Iterator[Canvas]:
    """Set the canvas for the decoders and heads that are called inside."""
    token = _CANVAS.set(canvas)
    try:
        yield canvas
    finally:
        _CANVAS.reset(token)


def mean_color(backbone: keras.Model) -> list[float]:
    """The color that a backbone standardizes to zero, one number for each channel of the image.

    It is read off the layers `Standardize`, `Rescaling` and `Normalization` that follow the image.
    Without any of them it is 0.

    >>> image = keras.Input((None, None, 3))
    >>> x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    >>> mean_color(keras.Model(image, layers.Conv2D(4, 3)(x)))
    [127.5, 127.5, 127.5]
    """
    channels = backbone.inputs[0].shape[-1]
    # The standardized image is `scale · x + offset`, in the order of the image's channels.
    scale, offset, order = np.ones(channels), np.zeros(channels), np.arange(channels)
    for op in _first_operations(backbone):
        factor, shift = _affine(op, channels)
        scale, offset = scale * factor[order], offset * factor[order] + shift[order]
        if getattr(op, "reverse_channels", False):
            order = order[::-1]
    return [float(color) for color in np.round(-offset / scale, 6) + 0.0]


def _first_operations(model: keras.Model) -> Iterator[Any]:
    """The operations from the image on that standardize it, nested models included."""
    image = model.inputs[0]
    readers = [op for op in model.operations if any(_reads(op, image))]
    while len(readers) == 1:
        (op,) = readers
        if isinstance(op, keras.Model):
            yield from _first_operations(op)
            return
        if not isinstance(op, (Standardize, layers.Rescaling, layers.Normalization)):
            return
        yield op
        output = next(node for node in op._inbound_nodes if _is_input(node, image)).outputs[0]
        image = output
        readers = [other for other in model.operations if any(_reads(other, image))]


def _is_input(node, x):
    return any(y is x for y in node.input_tensors)


def _reads(op, x):
    return (_is_input(node, x) for node in getattr(op, "_inbound_nodes", ()))


def _affine(op: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """`(a, b)` of `a x + b` for each channel."""

    def each(value):
        value = np.asarray(keras.ops.convert_to_numpy(value), "float64").reshape(-1)
        return np.broadcast_to(value, (channels,))

    if isinstance(op, layers.Rescaling):
        return each(op.scale), each(op.offset)
    if isinstance(op, Standardize):
        return 1 / each(op.std), -each(op.mean) / each(op.std)
    std = np.maximum(np.sqrt(each(op.variance)), keras.config.epsilon())
    return 1 / std, -each(op.mean) / std


def fits(x: Tensor, like: Tensor, stride: int = 1) -> bool:
    """Whether a map was just brought to the size of another, divided by a stride.

    >>> from keras_dense.layers import ResizeLike
    >>> x, like = keras.Input((4, 4, 1)), keras.Input((9, 9, 1))
    >>> fits(ResizeLike()(x, like), like), fits(x, like)
    (True, False)
    """
    maker = maker_of(x)
    if not isinstance(maker, (ResizeLike, FitLike)):
        return False
    node = maker._inbound_nodes[x._keras_history.node_index]
    return node.input_tensors[-1] is like and maker.stride == (stride, stride)

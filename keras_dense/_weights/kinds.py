"""Kinds of layers: how tensors of a file become the weights of a layer of Keras.

A kind knows which parts of a module it takes (`weight` and `bias` of a convolution), the weight
that each becomes, and how its axes are turned. Modifiers such as `bgr` make a kind of a kind.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from keras_dense._types import Array
from keras_dense._weights.targets import Target

# From a tensor of the file and the shape of the weight to the tensor as Keras has it.
Sizes: TypeAlias = tuple[int, ...]
Turn: TypeAlias = Callable[[Array, Sizes], Array]
# Names that frameworks give to the same thing: PyTorch, Keras, TensorFlow 1; Caffe numbers them.
KERNEL = ("weight", "kernel", "weights", "depthwise_weights", "depthwise_kernel", "0")
BIAS = ("bias", "biases", "1")


@dataclasses.dataclass(frozen=True)
class Kind:
    """Conversion of the tensors of a module to the weights of a layer.

    Attributes:
        parts: dict from a weight of the layer to the last parts of the keys that hold it.
        turns: dict from a weight to the function that turns its axes; others stay.
        fills: dict from a weight to its value where the file has none: a number, or a function of
            the layer.
        axes: the axes of input and output channels of the turned kernel.
        convert: function from all values of the module by weight, not yet turned, to others.

    >>> sorted(kind_of("conv").parts)
    ['bias', 'kernel']
    """

    parts: Mapping[str, Sequence[str]]
    turns: Mapping[str, Turn] = dataclasses.field(default_factory=dict)
    fills: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    axes: tuple[int, int] = (-2, -1)
    convert: Callable[[dict[str, Array]], dict[str, Array]] | None = None

    def weight(self, part: str) -> str | None:
        """The weight that a part of a module becomes; `None` for one that is not taken."""
        return next((name for name, known in self.parts.items() if part in known), None)

    def values(self, found: dict[str, Array], target: Target) -> dict[str, Array]:
        """The tensors of a module as weights of a layer.

        Args:
            found: dict from weights to tensors as they are in the file.
            target: the layer.
        """
        found = self.convert(found) if self.convert else found
        return {
            name: self.turns[name](value, target.shape(name)) if name in self.turns else value
            for name, value in found.items()
        }


def _axes(*order: int) -> Turn:
    def turn(x: Array, shape: Sizes) -> Array:
        return x.transpose(order)

    return turn


def _depthwise(x: Array, shape: Sizes) -> Array:
    # Several filters for each channel lie next to each other in both.
    if len(shape) == 4 and shape[3] > 1 and x.shape[0] == shape[2] * shape[3]:
        x = x.reshape(shape[2], shape[3], *x.shape[2:])
        return x.transpose(2, 3, 0, 1)
    return x.transpose(2, 3, 0, 1)


def matrix(x: Array) -> Array:
    """A matrix without the leading axes of size 1 that old Caffe files have.

    >>> matrix(np.zeros((1, 1, 5, 3))).shape
    (5, 3)
    """
    while x.ndim > 2 and x.shape[0] == 1:
        x = x[0]
    return x


def _linear(x: Array, shape: Sizes) -> Array:
    if x.ndim == 4 and x.shape[2:] == (1, 1):
        x = x[:, :, 0, 0]
    return matrix(x).T


def _linear_as_conv(x: Array, shape: Sizes) -> Array:
    return _linear(x, shape)[None, None]


def _linear_as_window(x: Array, shape: Sizes) -> Array:
    """A fully connected layer on a map as a convolution whose window is the map."""
    x = matrix(x)
    return x.reshape(x.shape[0], -1, *shape[:2]).transpose(2, 3, 1, 0)


def _vector(x: Array, shape: Sizes) -> Array:
    return x.reshape(-1)


def _diagonal(x: Array, shape: Sizes) -> Array:
    """A kernel for each channel `(C, 1, k, k)` as one of all, zero between channels."""
    if x.shape[1] != 1:  # It is one already.
        return x.transpose(2, 3, 1, 0)
    full = np.zeros((*x.shape[2:], x.shape[0], x.shape[0]), x.dtype)
    index = np.arange(x.shape[0])
    full[:, :, index, index] = x[:, 0].transpose(1, 2, 0)
    return full


def bilinear_kernel(size: int) -> Array:
    """The kernel `(size, size)` of a transposed convolution that interpolates, as Caffe fills it.

    >>> bilinear_kernel(4)[0].tolist()
    [0.0625, 0.1875, 0.1875, 0.0625]
    """
    factor = (size + 1) // 2
    center = factor - 1 if size % 2 else factor - 0.5
    line = 1 - np.abs(np.arange(size) - center) / factor
    return np.outer(line, line)


def is_bilinear(x: Array) -> bool:
    """Check whether `(C, C, k, k)` or `(C, 1, k, k)` interpolates each channel by itself.

    >>> is_bilinear(np.eye(3)[..., None, None] * bilinear_kernel(4))
    True
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3] or x.shape[1] not in (1, x.shape[0]):
        return False
    expected = np.eye(x.shape[0])[..., None, None] if x.shape[1] > 1 else 1.0
    return bool(np.allclose(x, expected * bilinear_kernel(x.shape[2]), atol=1e-4))


def _unscaled(found: dict[str, Array]) -> dict[str, Array]:
    """Mean and variance of Caffe's BatchNorm, which are stored times a third number."""
    if "factor" in found:
        factor = float(np.ravel(found.pop("factor"))[0])
        found = {name: value / factor if factor else value * 0.0 for name, value in found.items()}
    return found


def _variance_of_one(layer: Any) -> float:
    """The variance with which a batch norm only scales and shifts."""
    return 1.0 - float(layer.epsilon)


_NORM = {
    "gamma": ("weight", "gamma"),
    "beta": ("bias", "beta"),
    "moving_mean": ("running_mean", "moving_mean"),
    "moving_variance": ("running_var", "moving_variance"),
}
_ONLY_SCALES = {"moving_mean": 0.0, "moving_variance": _variance_of_one}
_VECTORS = {name: _vector for name in _NORM}


def _conv(turn: Turn, **settings: Any) -> Kind:
    return Kind({"kernel": KERNEL, "bias": BIAS}, {"kernel": turn, "bias": _vector}, **settings)


def _same(x: Array, shape: Sizes) -> Array:
    return x


KINDS = {
    # PyTorch and Caffe, grouped convolutions as well: (out, in, h, w).
    "conv": _conv(_axes(2, 3, 1, 0)),
    "depthwise": _conv(_depthwise, axes=(2, 2)),
    # (in, out, h, w) to (h, w, out, in).
    "transposed": _conv(_axes(2, 3, 1, 0), axes=(-1, -2)),
    "linear": _conv(_linear),
    "linear_as_conv": _conv(_linear_as_conv),
    "linear_as_window": _conv(_linear_as_window),
    # TensorFlow and Keras; and TensorFlow Lite, (out, h, w, in) and (1, h, w, C).
    "hwio": _conv(_same),
    "hwio_depthwise": _conv(_same, axes=(2, 2)),
    "ohwi": _conv(_axes(1, 2, 3, 0)),
    "ohwi_depthwise": _conv(_axes(1, 2, 3, 0), axes=(2, 2)),
    # Fixed upsampling of each channel, in a layer that could mix them.
    "diagonal": _conv(_diagonal, axes=(-1, -2)),
    # Parts by themselves: two rules may share a module.
    "kernel": Kind({"kernel": KERNEL}, {"kernel": _axes(2, 3, 1, 0)}),
    "bias": Kind({"bias": BIAS}, {"bias": _vector}),
    "batch_norm": Kind(_NORM, _VECTORS, fills={"gamma": 1.0, "beta": 0.0}),
    "layer_norm": Kind(
        {name: _NORM[name] for name in ("gamma", "beta")}, _VECTORS, {"gamma": 1.0, "beta": 0.0}
    ),
    # The bias of a convolution into which its batch norm was folded, for ours behind it.
    "folded_norm": Kind({"beta": BIAS}, _VECTORS, {"gamma": 1.0, **_ONLY_SCALES}),
    # Caffe: BatchNorm (mean, variance, factor), with Scale (gamma, beta) as a layer of its own.
    "caffe_norm": Kind(
        {"moving_mean": ("0",), "moving_variance": ("1",), "factor": ("2",)},
        _VECTORS,
        {"gamma": 1.0, "beta": 0.0},
        convert=_unscaled,
    ),
    "caffe_scale": Kind({"gamma": ("0",), "beta": ("1",)}, _VECTORS),
    # PSPNet's: slope, bias, mean, variance. SegNet's: scale and shift that hold all four.
    "caffe_norm_of_four": Kind(
        {"gamma": ("0",), "beta": ("1",), "moving_mean": ("2",), "moving_variance": ("3",)},
        _VECTORS,
    ),
    "caffe_merged_norm": Kind({"gamma": ("0",), "beta": ("1",)}, _VECTORS, _ONLY_SCALES),
}


def kind_of(kind: str | Kind) -> Kind:
    """A kind by its name, or as it is.

    Raises:
        ValueError: for an unknown name.
    """
    if isinstance(kind, Kind):
        return kind
    if kind not in KINDS:
        known = ", ".join(map(repr, ("skip", "bilinear", *KINDS)))
        raise ValueError(f"`kind` must be one of {known}. Received: kind={kind!r}")
    return KINDS[kind]


def _then(kind: str | Kind, changes: Mapping[str, Turn]) -> Kind:
    """A kind that changes weights once more, after their axes were turned."""
    kind = kind_of(kind)

    def both(name: str, change: Turn) -> Turn:
        first = kind.turns.get(name, _same)
        return lambda x, shape: change(first(x, shape), shape)

    changed = {name: both(name, change) for name, change in changes.items()}
    return dataclasses.replace(kind, turns={**kind.turns, **changed})


def bgr(kind: str | Kind = "conv") -> Kind:
    """A first convolution that was trained on BGR images, for RGB ones."""
    axis = kind_of(kind).axes[0]
    return _then(kind, {"kernel": lambda x, shape: np.flip(x, axis)})


def scaled(kind: str | Kind, factor: float) -> Kind:
    """A kernel times a number, as for inputs in other units."""
    return _then(kind, {"kernel": lambda x, shape: x * x.dtype.type(factor)})


def blocks(kind: str | Kind, order: Sequence[int], sizes: Sequence[int] | None = None) -> Kind:
    """A convolution of a concatenation in another order.

    Args:
        kind: the convolution.
        order: for each map of our concatenation, in this order, its number in theirs.
        sizes: channels of the maps in their order; default: all have the same number.

    >>> kernel = np.arange(6.0).reshape(1, 6, 1, 1)
    >>> turn = blocks("conv", (1, 0), (2, 4)).turns["kernel"]
    >>> turn(kernel, (1, 1, 6, 1)).ravel().tolist()
    [2.0, 3.0, 4.0, 5.0, 0.0, 1.0]
    """
    axis = kind_of(kind).axes[0]

    def change(x: Array, shape: Sizes) -> Array:
        if (sum(sizes) if sizes else x.shape[axis] % len(order)) != (x.shape[axis] if sizes else 0):
            raise ValueError(f"{x.shape[axis]} channels cannot be cut into {sizes or len(order)}")
        parts = np.split(x, np.cumsum(sizes)[:-1] if sizes else len(order), axis)
        return np.concatenate([parts[n] for n in order], axis)

    return _then(kind, {"kernel": change})


def portion(kind: str | Kind, number: int, count: int) -> Kind:
    """The part of a convolution of a concatenation that reads one of `count` equal maps.

    >>> turn = portion("linear", 1, 2).turns["kernel"]
    >>> turn(np.arange(6.0).reshape(1, 6), (3, 1)).ravel().tolist()
    [3.0, 4.0, 5.0]
    """
    axis = kind_of(kind).axes[0]
    return _then(kind, {"kernel": lambda x, shape: np.split(x, count, axis)[number]})


def classes(kind: str | Kind, chosen: slice | Sequence[int]) -> Kind:
    """The scores of some classes, or of classes in another order.

    Args:
        kind: the convolution that computes scores.
        chosen: slice or numbers of the classes in the file, in our order.
    """
    index = chosen if isinstance(chosen, slice) else list(chosen)
    axis = kind_of(kind).axes[1]

    def kernel(x: Array, shape: Sizes) -> Array:
        return np.moveaxis(np.moveaxis(x, axis, 0)[index], 0, axis)

    return _then(kind, {"kernel": kernel, "bias": lambda x, shape: x[index]})


def renamed(kind: str | Kind, **names: str) -> Kind:
    """A kind for a layer with other names: `renamed("conv", kernel="pointwise_kernel")`.

    >>> sorted(renamed("conv", kernel="pointwise_kernel").parts)
    ['bias', 'pointwise_kernel']
    """
    kind = kind_of(kind)

    def new(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(name, name): value for name, value in values.items()}

    return dataclasses.replace(
        kind, parts=new(kind.parts), turns=new(kind.turns), fills=new(kind.fills)
    )

"""Padding alike on all sides of a map, as other frameworks pad."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from keras_dense._types import Nested
from keras_dense.layers import AtrousAveragePooling2D, AtrousMaxPooling2D
from keras_dense.surgery.effect import CONVOLUTIONS, MAX_POOLING, POOLING, window_of
from keras_dense.surgery.graph import check_channels_last, functional, rebuild, values, walk
from keras_dense.surgery.respace import policy_of

Rewrite = Callable[..., Nested | None]


def _halves(op):
    """Half the extent of a window without its center, for each axis; `None` for an even extent."""
    window = window_of(op)
    extents = [(k - 1) * rate for k, rate in zip(window.kernel, window.rate, strict=True)]
    return tuple(n // 2 if n % 2 == 0 else None for n in extents)


def _strided_windows_after(model):
    """For every layer that pads with zeros, by `id`: the strided "valid" windows that read it.

    Empty where anything else reads it, too.
    """
    readers = defaultdict(list)

    def visit(node, *args, **kwargs):
        op = node.operation
        for padder in values(args, kwargs, layers.ZeroPadding2D):
            readers[id(padder)].append(op)
        found = op if isinstance(op, layers.ZeroPadding2D) else None
        return [found] * len(node.outputs)

    walk(model, [None] * len(model.inputs), visit)

    def strided(op):
        if not isinstance(op, CONVOLUTIONS + POOLING) or op.padding != "valid":
            return False
        return max(window_of(op).strides) > 1

    return {key: ops if all(map(strided, ops)) else [] for key, ops in readers.items()}


def _padding(op, windows):
    """The padding of a layer before strided windows: their half, if it pads that on one side."""
    padding = list(op.padding)
    for axis in range(2):
        halves = {_halves(window)[axis] for window in windows}
        if len(halves) == 1 and None not in halves:
            half = halves.pop()
            if sorted(padding[axis]) == [half - 1, half]:
                padding[axis] = (half, half)
    return tuple(padding)


def _own_padding(op):
    """The padding in place of a window's "same"; `None` where that is alike on both sides."""
    halves, strides = _halves(op), window_of(op).strides
    # The number of cells that "same" adds to a map whose size the stride divides.
    added = [
        None if half is None else max(2 * half + 1 - stride, 0)
        for half, stride in zip(halves, strides, strict=True)
    ]
    if None in added or not any(n % 2 for n in added):
        return None
    return tuple((half, half) for half in halves)


def symmetric(model: keras.Model) -> Rewrite:
    """The rewriting of `pad_symmetrically`, for `rebuild`."""
    windows = _strided_windows_after(functional(model))

    def rewrite(node: Any, copies: Any, *args: Any, **kwargs: Any) -> Nested | None:
        op = node.operation
        if isinstance(op, layers.ZeroPadding2D) and windows.get(id(op)):
            padding = _padding(op, windows[id(op)])
            return copies(op, *args, config={"padding": padding}, **kwargs)
        if not isinstance(op, CONVOLUTIONS + POOLING) or op.padding != "same":
            return None
        padding = _own_padding(op)
        if padding is None:
            return None
        if isinstance(op, POOLING):
            # Zeros would win against negative values, and count in a mean.
            kind = AtrousMaxPooling2D if isinstance(op, MAX_POOLING) else AtrousAveragePooling2D
            config = {"padding": padding, "data_format": None}
            return copies(op, *args, kind=kind, config=config, **kwargs)
        pad = layers.ZeroPadding2D(
            padding,
            name=copies.name(f"{op.name}_pad"),
            dtype=policy_of(args[0]),
            data_format="channels_last",
        )
        return copies(op, pad(args[0]), *args[1:], config={"padding": "valid"}, **kwargs)

    return rewrite


def pad_symmetrically(model: keras.Model, *, name: str | None = None) -> keras.Model:
    """A network whose strided windows pad alike on all sides, with the same weights.

    The "same" padding of a 3×3 window with stride 2 is one cell after a map of even size, none
    before it; MobileNets and EfficientNets pad so explicitly. PyTorch pads one cell on both sides,
    at every size. Weights that were trained there need this padding: each strided window looks one
    cell further up and left.

    Changed are strided convolutions and poolings with "same" padding that is not the same on both
    sides, and zeros that a layer adds on one side of a map for such windows. All others have equal
    padding already or none to divide. Padding is never the maximum of a pooling, and does not
    count in a mean. Dilate a network afterwards, not before.

    Args:
        model: functional `keras.Model`, nested models included.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` with the output structure of `model`, with copies of the weights. Its maps
        have ceil(H / s) × ceil(W / s) cells for a stride s.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for a channels_first network.

    >>> image = keras.Input((None, None, 3))
    >>> conv = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")
    >>> new = pad_symmetrically(keras.Model(image, conv(image)))
    >>> [(x.name, x.padding) for x in new.layers[1:]]
    [('conv_pad', ((1, 1), (1, 1))), ('conv', 'valid')]
    """
    model = functional(model)
    check_channels_last(model)
    return rebuild(model, symmetric(model), name=name)

"""Batch norm folded into the convolution before it."""

from collections import Counter
from typing import Any

import keras
import numpy as np
from keras import layers, tree

from keras_dense.surgery.graph import functional, rebuild, walk

_FOLDABLE = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.SeparableConv2D,
    layers.Conv2DTranspose,
    layers.Dense,
)


def fold_batch_norm(model: keras.Model, *, name: str | None = None) -> keras.Model:
    """The same network for inference, each batch norm folded into the convolution before it.

    In inference, batch norm is a scale and a shift for each channel. After a `Conv2D`,
    `DepthwiseConv2D`, `SeparableConv2D`, `Conv2DTranspose` or `Dense` both become part of its
    kernel and bias, if it has no activation, is used once, and only the batch norm reads its
    output. Other batch norms stay. The result is exact up to rounding, and not meant to be trained
    further.

    Args:
        model: functional `keras.Model`, nested models included.
        name: str, the name of the new model; default: that of `model`.

    Returns:
        A `keras.Model` with the output structure of `model`, with copies of the weights.

    Raises:
        TypeError: for a model whose graph cannot be read.

    >>> image = keras.Input((None, None, 3))
    >>> x = layers.BatchNormalization()(layers.Conv2D(4, 3, use_bias=False, name="conv")(image))
    >>> folded = fold_batch_norm(keras.Model(image, layers.ReLU(name="relu")(x)))
    >>> [x.name for x in folded.layers[1:]], folded.count_params()
    (['conv', 'relu'], 112)
    """
    model = functional(model)
    partners = _partners(model)
    normalized = {}  # by id; holding the tensors keeps the ids theirs

    def rewrite(node, copies, *args, **kwargs):
        op = node.operation
        if id(op) in partners:
            weights = _folded(op, partners[id(op)])
            y = copies(op, *args, config={"use_bias": True}, weights=weights, **kwargs)
            normalized[id(y)] = y
            return y
        if isinstance(op, layers.BatchNormalization) and args and id(args[0]) in normalized:
            return args[0]
        return None

    return rebuild(model, rewrite, name=name)


class _Tensor:
    """A tensor: the call that computes it, and the calls that read it."""

    def __init__(self, maker: Any = None) -> None:
        self.maker = maker
        self.readers: list[tuple] = []


def _partners(model: keras.Model) -> dict[int, Any]:
    """`{id(convolution): batch norm}` for every pair that can become one."""
    made: list[_Tensor] = []
    calls: Counter = Counter()

    def visit(node, *args, **kwargs):
        calls[id(node.operation)] += 1
        for x in tree.flatten((args, kwargs)):
            if isinstance(x, _Tensor):
                x.readers.append((node, kwargs))
        outputs = [_Tensor(node) for _ in node.outputs]
        made.extend(outputs)
        return outputs

    results = walk(model, tree.map_structure(lambda _: _Tensor(), model.input), visit)
    for x in tree.flatten(results):
        x.readers.append((None, {}))  # the caller of the model
    found = {}
    for x in made:
        conv = x.maker.operation
        if len(x.readers) == 1 and calls[id(conv)] == 1 and _can_fold(conv):
            if _normalizes(x.maker, *x.readers[0]):
                found[id(conv)] = x.readers[0][0].operation
    return found


def _can_fold(op):
    if not isinstance(op, _FOLDABLE) or op.activation is not keras.activations.linear:
        return False
    # A layer with more than these (quantized, LoRA) computes something else with them.
    kernels = 2 if isinstance(op, layers.SeparableConv2D) else 1
    return len(op.weights) == kernels + bool(op.use_bias)


def _normalizes(maker, reader, kwargs):
    """True if `reader` is a batch norm in inference over the channels of `maker`'s output."""
    norm = None if reader is None else reader.operation
    if not isinstance(norm, layers.BatchNormalization) or kwargs.get("training"):
        return False
    rank = len(maker.outputs[0].shape)
    first = getattr(maker.operation, "data_format", "channels_last") == "channels_first"
    return norm.axis % rank == (1 if first else rank - 1)


def _folded(op, norm):
    """The weights of a convolution, with bias, that is equal to both, computed in float64."""
    stored = [np.asarray(w, "float64") for w in op.get_weights()]
    *kernels, bias = stored if op.use_bias else [*stored, 0.0]
    statistics = {w.name: np.asarray(v, "float64") for w, v in _named(norm)}
    scale = statistics.get("gamma", 1.0) / np.sqrt(statistics["moving_variance"] + norm.epsilon)
    bias = (bias - statistics["moving_mean"]) * scale + statistics.get("beta", 0.0)
    kernel = kernels[-1]
    if isinstance(op, layers.DepthwiseConv2D):  # (h, w, channels, multiplier)
        kernel = kernel * scale.reshape(kernel.shape[2:])
    elif isinstance(op, layers.Conv2DTranspose):  # (h, w, filters, channels)
        kernel = kernel * scale[:, None]
    else:
        kernel = kernel * scale
    return [*kernels[:-1], kernel, bias]


def _named(layer):
    return zip(layer.weights, layer.get_weights(), strict=True)

"""Tests for operations that look at each pixel alone."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dense.surgery.effect import Each, Unknown, Whole, effect

_SIDE = 4


def is_pointwise(node: Any, *, across: bool = False) -> bool:
    """True if every pixel of the result of a call depends on the same pixel of its inputs only.

    An operation without a described effect is tried: on pixels in another order, it must give the
    same results in that order, and where half of the pixels change, the others must stay. Where
    maps and 1×1 inputs meet, those are gates, which all pixels share.

    Args:
        node: the call.
        across: bool, whether to skip the second trial: then normalization over the map and
            attention pass, too.
    """
    found = effect(node)
    if isinstance(found, Each):
        return not found.placed
    # A normalization over the map is tried, since it passes `across` maps of any order.
    normalizes = isinstance(found, Whole) and found.grid and found.gate is True
    if not (normalizes or isinstance(found, Unknown)):
        return False
    try:
        return _acts_alike(node, across)
    except Exception:  # An operation that cannot run on another size depends on the size.
        return False


def _acts_alike(node, across):
    rng = np.random.default_rng(0)
    order, changed = rng.permutation(_SIDE * _SIDE), rng.permutation(_SIDE * _SIDE) % 2 == 0
    plain, shuffled, other = {}, {}, {}
    maps = [x for x in node.input_tensors if len(x.shape) == 4 and tuple(x.shape[1:3]) != (1, 1)]
    for x in node.input_tensors:
        gate = bool(maps) and not any(x is y for y in maps)
        size = (1, *x.shape[1:]) if gate else (1, _SIDE, _SIDE, x.shape[-1])
        value, more = rng.normal(size=(2, *size)).astype("float32")
        plain[id(x)] = ops.convert_to_tensor(value, x.dtype)
        shuffled[id(x)] = ops.convert_to_tensor(value if gate else _ordered(value, order), x.dtype)
        mask = changed.reshape(1, _SIDE, _SIDE, 1)
        other[id(x)] = ops.convert_to_tensor(
            value if gate else np.where(mask, more, value), x.dtype
        )

    values, in_order = _results(node, plain), _results(node, shuffled)
    partly = [None] * len(values) if across else _results(node, other)
    for y, z, v in zip(values, in_order, partly, strict=True):
        if y.shape[:3] != (1, _SIDE, _SIDE) or y.shape != z.shape:
            return False
        if not np.allclose(_ordered(y, order), z, rtol=1e-3, atol=1e-4):
            return False
        if v is not None and not np.allclose(
            y.reshape(_SIDE * _SIDE, -1)[~changed],
            v.reshape(_SIDE * _SIDE, -1)[~changed],
            rtol=1e-3,
            atol=1e-4,
        ):
            return False
    return True


def is_reshape(node: Any) -> bool:
    """True if a call only gives a vector another shape, by any operation."""
    op = node.operation
    if len(node.input_tensors) != 1 or len(node.outputs) != 1 or getattr(op, "weights", None):
        return False
    x, y = node.input_tensors[0], node.outputs[0]
    if x.shape == y.shape or None in x.shape[1:]:
        return False
    value = np.random.default_rng(0).normal(size=(2, *x.shape[1:])).astype("float32")
    try:
        (result,) = _results(node, {id(x): ops.convert_to_tensor(value, x.dtype)})
    except Exception:  # It takes a batch of one only, say.
        return False
    return result.shape[0] == 2 and np.array_equal(result.ravel(), value.ravel())


def _results(node, values):
    """The results of a call on other values, as arrays."""
    args, kwargs = node.arguments.fill_in(values)
    if isinstance(node.operation, keras.layers.Layer) and node.operation._call_has_training_arg:
        kwargs = {**kwargs, "training": False}
    return [ops.convert_to_numpy(y) for y in tree.flatten(node.operation(*args, **kwargs))]


def _ordered(x, order):
    flat = x.reshape(1, _SIDE * _SIDE, *x.shape[3:])
    return flat[:, order].reshape(x.shape)

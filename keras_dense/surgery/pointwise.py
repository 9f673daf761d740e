"""Whether an operation looks at each pixel alone."""

import keras
import numpy as np
from keras import layers, ops, tree

# Known without a try: every activation and regularization, and what merges maps of one size.
_POINTWISE = (
    layers.Activation,
    layers.Add,
    layers.Average,
    layers.Dense,
    layers.Dropout,
    layers.ELU,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.LeakyReLU,
    layers.Maximum,
    layers.Minimum,
    layers.Multiply,
    layers.ReLU,
    layers.Rescaling,
    layers.Softmax,
    layers.Subtract,
)
_SIDE = 4


def is_pointwise(node, across=False):
    """Whether every pixel of what a call makes depends on the same pixel of its inputs only.

    What is not known by its class is tried: on pixels in another order, the operation must give
    the same results in that order, and where half of the pixels change, the others must stay.
    Where maps and 1×1 inputs meet, those are gates, which all pixels share.

    Args:
        node: the call.
        across: let the second go: normalization over the map and attention pass, too.
    """
    op = node.operation
    if type(op) in _POINTWISE:
        return getattr(op, "axis", -1) == -1
    if type(op) is layers.BatchNormalization:
        return op.axis in (-1, len(node.outputs[0].shape) - 1)
    if type(op) is layers.Concatenate:
        return op.axis in (-1, len(node.outputs[0].shape) - 1)
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


def is_reshape(node):
    """Whether a call only gives a vector another shape, whatever operation does it."""
    op = node.operation
    if len(node.input_tensors) != 1 or len(node.outputs) != 1 or getattr(op, "weights", ()):
        return False
    x, y = node.input_tensors[0], node.outputs[0]
    if x.shape == y.shape or None in x.shape[1:]:
        return False
    value = np.random.default_rng(0).normal(size=(2, *x.shape[1:])).astype("float32")
    try:
        (result,) = _results(node, {id(x): ops.convert_to_tensor(value, x.dtype)})
    except Exception:  # It wants a batch of one, say.
        return False
    return result.shape[0] == 2 and np.array_equal(result.ravel(), value.ravel())


def _results(node, values):
    """What the operation of a call makes of other values, as arrays."""
    args, kwargs = node.arguments.fill_in(values)
    if isinstance(node.operation, keras.layers.Layer) and node.operation._call_has_training_arg:
        kwargs = {**kwargs, "training": False}
    return [ops.convert_to_numpy(y) for y in tree.flatten(node.operation(*args, **kwargs))]


def _ordered(x, order):
    flat = x.reshape(1, _SIDE * _SIDE, *x.shape[3:])
    return flat[:, order].reshape(x.shape)

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


def is_pointwise(node):
    """Whether every pixel of what a call makes depends on the same pixel of its inputs only.

    What is not known by its class is tried: on pixels in another order, the operation must give
    the same results in that order. Where maps and 1×1 inputs meet, those are gates, which all
    pixels share.
    """
    op = node.operation
    if type(op) in _POINTWISE:
        return getattr(op, "axis", -1) == -1
    if type(op) is layers.BatchNormalization:
        return op.axis in (-1, len(node.outputs[0].shape) - 1)
    if type(op) is layers.Concatenate:
        return op.axis in (-1, len(node.outputs[0].shape) - 1)
    try:
        return _commutes_with_order(node)
    except Exception:  # An operation that cannot run on another size depends on the size.
        return False


def _commutes_with_order(node):
    op, rng = node.operation, np.random.default_rng(0)
    order = rng.permutation(_SIDE * _SIDE)
    shuffled, plain = {}, {}
    maps = [x for x in node.input_tensors if len(x.shape) == 4 and tuple(x.shape[1:3]) != (1, 1)]
    for x in node.input_tensors:
        gate = bool(maps) and not any(x is y for y in maps)
        size = (1, *x.shape[1:]) if gate else (1, _SIDE, _SIDE, x.shape[-1])
        value = rng.normal(size=size).astype("float32")
        plain[id(x)] = ops.convert_to_tensor(value, x.dtype)
        shuffled[id(x)] = ops.convert_to_tensor(value if gate else _ordered(value, order), x.dtype)

    def run(values):
        args, kwargs = node.arguments.fill_in(values)
        if isinstance(op, keras.layers.Layer):
            kwargs = {**kwargs, "training": False} if op._call_has_training_arg else kwargs
        return [ops.convert_to_numpy(y) for y in tree.flatten(op(*args, **kwargs))]

    for y, z in zip(run(plain), run(shuffled), strict=True):
        if y.shape[:3] != (1, _SIDE, _SIDE) or y.shape != z.shape:
            return False
        if not np.allclose(_ordered(y, order), z, rtol=1e-3, atol=1e-4):
            return False
    return True


def _ordered(x, order):
    flat = x.reshape(1, _SIDE * _SIDE, *x.shape[3:])
    return flat[:, order].reshape(x.shape)

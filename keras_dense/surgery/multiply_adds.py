"""Multiply-adds of an operation: the file that knows their formulas."""

import math
from collections import Counter
from typing import Any

import keras
from keras import KerasTensor, layers, tree

from keras_dense.surgery.graph import values, walk_inside

_TAPS = {"nearest": 0, "bilinear": 4, "linear": 4, "bicubic": 16, "cubic": 16}
_TAPS |= {"lanczos3": 36, "lanczos5": 100}
# Operations that run functions of tensors, which cannot be looked into.
_LOOPS = ("AssociativeScan", "Cond", "ForiLoop", "Map", "Scan", "Switch", "VectorizedMap")
_LOOPS += ("WhileLoop",)


def multiply_adds(op: Any, args: tuple, kwargs: dict, uncounted: list) -> tuple[Any, Counter]:
    """Symbolic outputs of a call, with known shapes, and its multiply-adds by kind.

    Args:
        op: layer or operation.
        args, kwargs: arguments of the call, with symbolic tensors of known shapes.
        uncounted: list to which names of operations are added that cannot be counted.

    >>> x, conv = KerasTensor((1, 8, 8, 3)), layers.Conv2D(4, 3)
    >>> conv.build(x.shape)
    >>> y, found = multiply_adds(conv, (x,), {}, [])
    >>> y.shape, found["convolution"] == 6 * 6 * 4 * 27
    ((1, 6, 6, 4), True)
    """
    outputs = op.compute_output_spec(*args, **kwargs)
    formula = next((LAYERS[kind] for kind in type(op).__mro__ if kind in LAYERS), None)
    if formula is not None:
        kind, count = formula(op, values(args, kwargs, KerasTensor)[0], tree.flatten(outputs)[0])
        return outputs, Counter({kind: count})
    name = type(op).__name__
    if not isinstance(op, keras.layers.Layer):
        if name in _LOOPS:
            uncounted.append(op.name)
        if name not in OPERATIONS:
            return outputs, Counter()
        kind, count = OPERATIONS[name](op, args, tree.flatten(outputs)[0])
        return outputs, Counter({kind: count})
    found: Counter = Counter()

    def visit(node, *args, **kwargs):
        inner, more = multiply_adds(node.operation, args, kwargs, uncounted)
        found.update(more)
        return inner

    try:
        inner = walk_inside(op, args, kwargs, visit)
    # A layer's code may raise anything where it is not written with `keras.ops`.
    except Exception:
        uncounted.append(op.name)
        return outputs, found
    if all(None not in x.shape for x in tree.flatten(outputs)):
        return outputs, found
    # Some layers leave sizes open although they are known.
    known = tree.map_structure(lambda x, y: KerasTensor(y.shape, x.dtype), outputs, inner)
    return known, found


def _shape(x):
    return tuple(x.shape)


# Formulas: `function(layer, input, output)` and `function(operation, arguments, output)`, each of
# which returns a kind and a number.


def _convolution(op, x, y):
    return "convolution", math.prod(y.shape) * math.prod(op.kernel.shape[:-1])


def _depthwise(op, x, y):
    return "convolution", math.prod(y.shape) * math.prod(op.kernel.shape[:2])


def _separable(op, x, y):
    cells = math.prod(y.shape) // op.filters
    kernels = math.prod(op.depthwise_kernel.shape) + math.prod(op.pointwise_kernel.shape)
    return "convolution", cells * kernels


def _transposed(op, x, y):
    return "convolution", math.prod(x.shape) * math.prod(op.kernel.shape[:-1])


def _dense(op, x, y):
    return "product", math.prod(x.shape) * op.units


# By the class of a layer: faster than looking into it, and right for derived layers.
LAYERS = {
    layers.Conv1D: _convolution,
    layers.Conv2D: _convolution,
    layers.Conv3D: _convolution,
    layers.DepthwiseConv2D: _depthwise,
    layers.SeparableConv2D: _separable,
    layers.Conv2DTranspose: _transposed,
    layers.Dense: _dense,
}


def _conv(op, args, y):
    return "convolution", math.prod(y.shape) * math.prod(_shape(args[1])[:-1])


def _depthwise_conv(op, args, y):
    return "convolution", math.prod(y.shape) * math.prod(_shape(args[1])[:-2])


def _separable_conv(op, args, y):
    depthwise, pointwise = map(_shape, args[1:3])
    cells = math.prod(y.shape) // pointwise[-1]
    return "convolution", cells * (math.prod(depthwise) + math.prod(pointwise))


def _conv_transpose(op, args, y):
    return "convolution", math.prod(args[0].shape) * math.prod(_shape(args[1])[:-1])


def _matmul(op, args, y):
    return "product", math.prod(y.shape) * (_shape(args[0]) or (1,))[-1]


def _tensordot(op, args, y):
    axes = op.axes if isinstance(op.axes, int) else op.axes[0]
    a = _shape(args[0])
    if isinstance(axes, int) and isinstance(op.axes, int):
        joined = math.prod(a[len(a) - axes :])
    else:
        joined = math.prod(a[n] for n in ([axes] if isinstance(axes, int) else axes))
    return "product", math.prod(y.shape) * joined


def _einsum(op, args, y):
    """The product of the sizes of all indices: exact for two operands."""
    terms = op.subscripts.replace(" ", "").split("->")[0].split(",")
    sizes, rest = {}, 1
    for term, x in zip(terms, args, strict=True):
        before, dots, after = term.partition("...")
        shape = _shape(x)
        end = len(shape) - len(after)
        sizes |= dict(zip(before, shape, strict=False))
        sizes |= dict(zip(after, shape[end:], strict=True))
        if dots:
            rest = max(rest, math.prod(shape[len(before) : end]))
    return "product", (math.prod(sizes.values()) * rest if len(terms) > 1 else 0)


def _attention(op, args, y):
    batch, targets, heads, units = _shape(args[0])
    return "attention", 2 * batch * heads * targets * _shape(args[1])[1] * units


def _resize(op, args, y):
    kind = getattr(op, "interpolation", None) or getattr(op, "method", "bilinear")
    return "resizing", math.prod(y.shape) * _TAPS.get(kind, 4)


# By the name of a class of Keras, which are not public.
OPERATIONS = {
    "Conv": _conv,
    "DepthwiseConv": _depthwise_conv,
    "SeparableConv": _separable_conv,
    "ConvTranspose": _conv_transpose,
    "Matmul": _matmul,
    "Dot": _matmul,
    "Inner": _matmul,
    "Tensordot": _tensordot,
    "Einsum": _einsum,
    "DotProductAttention": _attention,
    "Resize": _resize,
    "ScaleAndTranslate": _resize,
}

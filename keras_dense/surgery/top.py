"""Where the feature maps of a classifier end and its top begins."""

from dataclasses import dataclass

import keras
from keras import layers

from keras_dense.surgery.graph import functional, values, walk
from keras_dense.surgery.strides import CONVOLUTIONS, GLOBAL_POOLING


def is_pooling(op):
    """Whether an operation turns a map into a vector."""
    return isinstance(op, (*GLOBAL_POOLING, layers.Flatten))


def flattens(model):
    """Whether a network flattens a map into a vector, which fixes the size of its images."""
    return any(
        flattens(op) if isinstance(op, keras.Model) else isinstance(op, layers.Flatten)
        for op in functional(model).operations
    )


@dataclass(frozen=True, eq=False)
class _Pooled:
    """The poolings and flattenings that a tensor has passed."""

    by: frozenset = frozenset()


def read_top(model):
    """The poolings that feed a gate, and the weighted layers behind the others.

    A squeeze-and-excite gate pools too, but what it makes meets the map again; what a
    classifier's top makes does not.
    """
    gates, scores = set(), []

    def visit(node, *args, **kwargs):
        op = node.operation
        passed = [x.by for x in values(args, kwargs, _Pooled)]
        merged = frozenset().union(*passed)
        if not all(passed):
            gates.update(merged)
            merged = frozenset()
        if is_pooling(op):
            merged = merged | {id(op)}
        elif merged and isinstance(op, (layers.Dense, *CONVOLUTIONS)):
            scores.append((op, merged))
        return [_Pooled(merged)] * len(node.outputs)

    walk(model, [_Pooled() for _ in model.inputs], visit)
    return gates, [op for op, pools in scores if not pools <= gates]


def fully_connected(model):
    """The hidden fully connected layers of a classifier's top: every `Dense` but the last."""
    _, top = read_top(functional(model))
    return [op for op in top[:-1] if isinstance(op, layers.Dense)]

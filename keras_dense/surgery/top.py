"""The top of a classifier, which begins where its feature maps end."""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from keras_dense.surgery.effect import CONVOLUTIONS, GLOBAL_POOLING
from keras_dense.surgery.graph import functional, values, walk


def is_pooling(op: Any) -> bool:
    """True if an operation turns a map into a vector."""
    return isinstance(op, (*GLOBAL_POOLING, layers.Flatten))


def flattens(model: keras.Model) -> bool:
    """True if a network flattens a map into a vector, which fixes the size of its images."""
    return any(
        flattens(op) if isinstance(op, keras.Model) else isinstance(op, layers.Flatten)
        for op in functional(model).operations
    )


@dataclass(frozen=True, eq=False)
class _Pooled:
    """The poolings and flattenings that a tensor has passed."""

    by: frozenset = frozenset()


def read_top(model: keras.Model) -> tuple[set[int], list]:
    """The poolings that feed gates (their ids), and the weighted layers after the other poolings.

    A squeeze-and-excite gate pools, too, but its result meets the map again; the result of a
    classifier's top does not.
    """
    gates: set[int] = set()
    scores: list = []

    def visit(node, *args, **kwargs):
        op = node.operation
        passed = [x.by for x in values(args, kwargs, _Pooled)]
        merged: frozenset = frozenset().union(*passed)
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


def fully_connected(model: keras.Model) -> list:
    """The hidden fully connected layers of a classifier's top: every `Dense` but the last."""
    _, top = read_top(functional(model))
    return [op for op in top[:-1] if isinstance(op, layers.Dense)]

"""Weights that a training step has to move, and the one reason for which they may stay."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_dense._types import Array
from keras_dense.testing.expect import expect

# The share of the gradients around it below which a gradient is what rounding, and the epsilon of a
# batch norm, leave of a sum that is zero. In float32 these are from 1e-7 to 1.1e-5.
_NOTHING = 2e-5


@keras.saving.register_keras_serializable("keras_dense")
class RecordingSGD(keras.optimizers.SGD):
    """Gradient descent that keeps the largest gradient that each weight has had."""

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        self.largest = [
            self.add_variable((), "zeros", dtype="float32", name="largest") for _ in variables
        ]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        largest = self.largest[self._get_variable_index(variable)]
        found = ops.cast(ops.max(ops.abs(ops.convert_to_tensor(gradient))), "float32")
        self.assign(largest, ops.maximum(largest, found))
        super().update_step(gradient, variable, learning_rate)


def expect_moves(
    weights: Sequence[Any], before: Sequence[Array], optimizer: RecordingSGD, steps: str
) -> None:
    """Check that training moved all weights, and left them finite.

    A weight may stay if its gradient is nothing beside those of its layer and of the layers before
    and after it: then the loss does not depend on it, as on the bias of the keys in attention, or
    on an offset before a batch norm. Where a weight has no gradient at all, nothing reads it.

    Args:
        weights: those that are trained.
        before: their values before training.
        optimizer: the one that trained them.
        steps: str, the training in words.
    """
    sizes = [float(ops.convert_to_numpy(x.value)) for x in optimizer.largest]
    around = _largest_around([w.path for w in weights], sizes)
    for weight, old, size, others in zip(weights, before, sizes, around, strict=True):
        new, path = ops.convert_to_numpy(weight.value), weight.path
        expect(np.isfinite(new).all(), f"{path} is not finite after {steps}")
        if np.any(new != old):
            continue
        expect(size > 0, f"{path} did not move in {steps}: it has no gradient, nothing reads it")
        expect(
            size <= _NOTHING * others,
            f"{path} did not move in {steps}: its gradient, at most {size:.1e}, is too small for "
            f"that, but not nothing beside those around it, {others:.1e}",
        )


def _largest_around(paths: Sequence[str], sizes: Sequence[float]) -> list[float]:
    """The largest gradient of each weight's layer and of the layers before and after it.

    >>> _largest_around(["a/kernel", "a/bias", "b/kernel", "c/kernel"], [5.0, 0.0, 1.0, 9.0])
    [5.0, 5.0, 9.0, 9.0]
    """
    runs = [
        [size for _, size in run]
        for _, run in itertools.groupby(
            zip(paths, sizes, strict=True), lambda pair: pair[0].rpartition("/")[0]
        )
    ]
    found = []
    for n, run in enumerate(runs):
        near = itertools.chain.from_iterable(runs[max(0, n - 1) : n + 2])
        found += [max(near)] * len(run)
    return found

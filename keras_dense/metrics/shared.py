"""Metrics that share one measurement for several scores."""

import operator
from typing import Any

import keras
from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.targets import as_input, as_sample_weight


def _version(tensor):
    """The number of times torch has written into a tensor; 0 for other backends, which cannot."""
    try:
        return getattr(tensor, "_version", 0)
    except RuntimeError:  # tensors of `torch.inference_mode` do not count
        return None


class _Last:
    """The last measurement of metrics that share it: each of them may use it once."""

    def __init__(self) -> None:
        self.members = 1
        self.wanted: set[str] = set()  # the scores that members ask for
        self.forget()

    def forget(self):
        self.inputs, self.versions = (), ()
        self.measured, self.used = None, set()

    def get(self, metric, inputs):
        """The result of `metric.measure(*inputs)`, measured by this metric or another."""
        versions = tuple(map(_version, inputs))
        same = (
            bool(self.inputs)
            and id(metric) not in self.used
            and all(map(operator.is_, self.inputs, inputs))
            and versions == self.versions
        )
        if not same:
            self.forget()
            self.measured = metric.measure(*inputs)
            # An array may have other contents when it comes back.
            if all(x is None or ops.is_tensor(x) for x in inputs) and None not in versions:
                self.inputs, self.versions = inputs, versions
        measured = self.measured
        self.used.add(id(metric))
        if not self.inputs or len(self.used) == self.members:
            self.forget()  # frees the tensors
        return measured


class SharedMetric(keras.metrics.Metric):
    """Base of metrics with an argument `score` that selects the result of `result()`.

    Subclasses implement `measure(y_true, y_pred, sample_weight)`, which returns tensors, and
    `add(measured)`, which adds them to the metric's own variables.

    Args:
        name: name of the metric.
        direction: "up" if more is better, else "down"; Keras' `EarlyStopping`,
            `ReduceLROnPlateau` and `ModelCheckpoint` read it with `mode="auto"`.
    """

    def __init__(self, name: str, direction: str):
        super().__init__(name=name, dtype="float32")
        self._direction = direction
        self._last = _Last()

    def also(self, score: str) -> "SharedMetric":
        """A metric for another score of the same measurements.

        If it is updated with the very tensors that this one was just updated with (as `fit` does),
        it uses their measurement; otherwise it measures by itself.
        """
        other = type(self)(**{**self.get_config(), "score": score, "name": score})
        other._last = self._last
        self._last.members += 1
        return other

    def update_state(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> None:
        """Measure a batch."""
        y_true, y_pred = as_input(y_true, "y_true"), as_input(y_pred, "y_pred")
        inputs = y_true, y_pred, as_sample_weight(sample_weight)
        self.add(self._last.get(self, inputs))

    def measure(self, y_true: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Any:
        """The sums or counts of a batch: tensors."""
        raise TypeError(f"{type(self).__name__} must implement measure(y_true, y_pred, weight)")

    def add(self, measured: Any) -> None:
        """Add a measurement to the variables."""
        raise TypeError(f"{type(self).__name__} must implement add(measured)")

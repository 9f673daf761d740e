"""Metrics that give several scores of what is measured once."""

import operator

import keras
from keras import ops

from keras_dense.losses.weighted import entered, entered_weight


def _version(tensor):
    """How often torch has written into a tensor; of other backends none can be written into."""
    try:
        return getattr(tensor, "_version", 0)
    except RuntimeError:  # tensors of `torch.inference_mode` do not count
        return None


class _Last:
    """The last measurement of metrics that share it: each of them may take it over once."""

    def __init__(self):
        self.members = 1
        self.forget()

    def forget(self):
        self.inputs, self.versions, self.measured, self.used = (), (), None, set()

    def of(self, metric, inputs):
        """What `metric.measure(*inputs)` gives, by whomever it was measured."""
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
            self.forget()  # and let go of the tensors
        return measured


class SharedMetric(keras.metrics.Metric):
    """Base of metrics with an argument `score` that chooses what `result()` returns.

    Subclasses implement `measure(y_true, y_pred, sample_weight)`, which returns tensors, and
    `add(measured)`, which adds them to the metric's own variables.

    Args:
        name: name of the metric.
        direction: "up" where more is better, else "down": what `EarlyStopping`,
            `ReduceLROnPlateau` and `ModelCheckpoint` of Keras ask for with `mode="auto"`.
    """

    def __init__(self, name, direction):
        super().__init__(name=name, dtype="float32")
        self._direction = direction
        self._last = _Last()

    def also(self, score):
        """A metric that gives another score of the same measurements.

        Updated with the very tensors that this one was just updated with (as `fit` does), it takes
        over what was measured; otherwise it measures by itself.
        """
        other = type(self)(**{**self.get_config(), "score": score, "name": score})
        other._last = self._last
        self._last.members += 1
        return other

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Measure a batch."""
        inputs = entered(y_true, "y_true"), entered(y_pred, "y_pred"), entered_weight(sample_weight)
        self.add(self._last.of(self, inputs))

    def measure(self, y_true, y_pred, sample_weight):
        """What a batch adds: tensors."""
        raise TypeError(f"{type(self).__name__} must implement measure(y_true, y_pred, weight)")

    def add(self, measured):
        """Add what was measured to the variables."""
        raise TypeError(f"{type(self).__name__} must implement add(measured)")

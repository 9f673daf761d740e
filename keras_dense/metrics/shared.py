"""Metrics that give several scores of what is measured once."""

import operator

import keras


class _Last:
    """The last measurement of metrics that share it, until another of them has taken it over."""

    def __init__(self):
        self.by, self.inputs, self.measured = None, (), None

    def keep(self, by, inputs, measured):
        self.by, self.inputs, self.measured = by, inputs, measured

    def take(self, by, inputs):
        same = self.by not in (None, by) and all(map(operator.is_, self.inputs, inputs))
        measured = self.measured
        if same:
            self.keep(None, (), None)
        return measured if same else None


class SharedMetric(keras.metrics.Metric):
    """Base of metrics with an argument `score` that chooses what `result()` returns.

    Subclasses implement `measure(y_true, y_pred, sample_weight)`, which returns tensors, and
    `add(measured)`, which adds them to the metric's own variables.
    """

    def __init__(self, name=None):
        super().__init__(name=name, dtype="float32")
        self._last = _Last()

    def also(self, score):
        """A metric that gives another score of the same measurements.

        Updated with the very tensors that this one was just updated with (as `fit` does), it takes
        over what was measured; otherwise it measures by itself.
        """
        other = type(self)(**{**self.get_config(), "score": score, "name": score})
        other._last = self._last
        return other

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Measure a batch."""
        inputs = (y_true, y_pred, sample_weight)
        measured = self._last.take(self, inputs)
        if measured is None:
            measured = self.measure(*inputs)
            self._last.keep(self, inputs, measured)
        self.add(measured)

    def measure(self, y_true, y_pred, sample_weight):
        """What a batch adds: tensors."""
        raise TypeError(f"{type(self).__name__} must implement measure(y_true, y_pred, weight)")

    def add(self, measured):
        """Add what was measured to the variables."""
        raise TypeError(f"{type(self).__name__} must implement add(measured)")

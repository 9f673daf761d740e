"""The contracts accept what is good and name what is wrong with the rest."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.losses import CrossEntropy
from keras_dense.metrics import ConfusionMatrix
from keras_dense.testing import check_loss, check_metric

RANDOM = np.random.default_rng(0)
LABELS, LOGITS = RANDOM.integers(0, 3, (2, 5, 7)), RANDOM.normal(size=(2, 5, 7, 3))


@keras.saving.register_keras_serializable("tests")
class CountsVoid(CrossEntropy):
    """Divides by all pixels."""

    def compute(self, pixels):
        return self.reduced(super().compute(pixels)) * ops.mean(pixels.weight)


@keras.saving.register_keras_serializable("tests")
class Explodes(CrossEntropy):
    def compute(self, pixels):
        seen = ops.cast(ops.any(pixels.weight > 0.0, axis=-1, keepdims=True), "float32")
        return self.reduced(super().compute(pixels)) * ops.max(
            ops.exp(seen * ops.abs(pixels.logits))
        )


@keras.saving.register_keras_serializable("tests")
class Constant(CrossEntropy):
    def compute(self, pixels):
        return 1.0 + 0.0 * self.reduced(super().compute(pixels))


@keras.saving.register_keras_serializable("tests")
class AveragesBatches(ConfusionMatrix):
    """The mean of the batches' scores, not the score of all pixels."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.total = self.add_variable((), "zeros", name="total")
        self.number = self.add_variable((), "zeros", name="number")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self._low.assign(ops.zeros_like(self._low.value))
        super().update_state(y_true, y_pred, sample_weight)
        self.total.assign(self.total + super().result())
        self.number.assign(self.number + 1.0)

    def result(self):
        return self.total / self.number


@keras.saving.register_keras_serializable("tests")
class SeesVoid(CrossEntropy):
    """Masks by multiplication alone: NaN times 0 is not 0."""

    def weighted(self, y_true, y_pred, sample_weight):
        return super().weighted(y_true, y_pred, sample_weight) + 0.0 * ops.sum(y_pred)


@keras.saving.register_keras_serializable("tests")
class ForgetsReduction(CrossEntropy):
    def get_config(self):
        config = super().get_config()
        del config["reduction"]
        return config


@keras.saving.register_keras_serializable("tests")
class MeansTwice(CrossEntropy):
    def reduced(self, found):
        if self.reduction == "none":
            found = found._replace(total=found.total / 2.0)
        return super().reduced(found)


@keras.saving.register_keras_serializable("tests")
class NoDirection(ConfusionMatrix):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        del self._direction


@keras.saving.register_keras_serializable("tests")
class WrongDirection(ConfusionMatrix):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._direction = "down"


class Unregistered(CrossEntropy):
    pass


@pytest.mark.parametrize(
    "loss, message",
    [
        (CountsVoid(), "void pixels change the value"),
        (Explodes(), "predictions of"),
        (Constant(), "the gradient is zero"),
        (Unregistered(), "not registered"),
        (SeesVoid(), "NaN predicted at void pixels changes the value"),
        (ForgetsReduction(), "the config has no `reduction`"),
        (MeansTwice(), "the terms do not add up to the sum"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_bad_losses(loss, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(loss, LABELS, LOGITS)


@pytest.mark.everywhere
def test_a_loss_of_keras_may_be_checked_without_void_pixels():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    check_loss(loss, LABELS, LOGITS, void=None)


def test_bad_metrics():
    with pytest.raises(AssertionError, match="many batches give another value"):
        check_metric(AveragesBatches(3), LABELS, LOGITS)
    with pytest.raises(AssertionError, match="_direction is None.* EarlyStopping"):
        check_metric(NoDirection(3), LABELS, LOGITS)
    with pytest.raises(AssertionError, match="_direction is 'down', but the metric is .* 1.0 for"):
        check_metric(WrongDirection(3), LABELS, LOGITS, perfect=np.eye(3)[LABELS])


@pytest.mark.everywhere
def test_a_good_metric_and_its_direction():
    check_metric(ConfusionMatrix(3), LABELS, LOGITS, perfect=np.eye(3)[LABELS])

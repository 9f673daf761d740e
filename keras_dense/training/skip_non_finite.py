"""Protection of a run from batches with NaN or infinity."""

import types
import warnings
from typing import Any

import keras
from keras import ops

from keras_dense import _check
from keras_dense._types import Tensor


class SkipNonFinite(keras.callbacks.Callback):
    """Undo every training step that would put NaN or infinity into the model.

    One pixel that is not finite makes every gradient NaN, and then every weight; batch
    normalization adds it to its averages even if the optimizer does not step. This callback undoes
    such a step completely: weights, averages, the optimizer's state and the metrics stay as they
    were, on every backend, inside the compiled step.

    ```python
    model.fit(images, labels, callbacks=[kd.training.SkipNonFinite()])
    ```

    The logs hold the number of undone steps of an epoch as `skipped_steps`, and a warning gives it.
    A `kd.datasets.Loader` does not need this: its images are uint8, and it names the file of a
    weight that is not finite. `keras.callbacks.TerminateOnNaN` stops instead, after the weights are
    lost.

    All variables are copied in each step. It works for models with the `train_step` of Keras, not
    with `tf.distribute` on several devices, and is not saved with the model. With `SyncProcesses`,
    a gradient that is not finite in one process undoes the step in all.

    Args:
        limit: float in (0, 1]: an error is raised if this share of the steps of an epoch, or more,
            was undone.

    Raises:
        ValueError: if `limit` is out of range, there are several devices, or too many steps of an
            epoch were undone.

    >>> import numpy as np
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("sgd", loss="mse")
    >>> x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    >>> x[0, 0] = np.nan
    >>> skip = SkipNonFinite(limit=1)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     fitted = model.fit(x, y, batch_size=1, shuffle=False, callbacks=[skip], verbose=0)
    >>> fitted.history["skipped_steps"], bool(np.isfinite(model.get_weights()[0]).all())
    ([1.0], True)
    """

    def __init__(self, limit: float = 0.5) -> None:
        super().__init__()
        self.limit = _check.number(limit, "limit", high=1, above=0)
        self._steps = 0

    # Here and not in `on_train_begin`: Keras has compiled the step by then.
    def set_model(self, model: keras.Model) -> None:
        super().set_model(model)
        if getattr(model, "distribute_strategy", None) is not None:
            if model.distribute_strategy.num_replicas_in_sync > 1:
                raise ValueError("SkipNonFinite works on one device. Received a model on several")
        if not isinstance(getattr(model, "skipped_steps", None), keras.metrics.Metric):
            model.skipped_steps = keras.metrics.Sum(name="skipped_steps")
        step = _jax_step if keras.backend.backend() == "jax" else _step
        original = type(model).train_step
        model.train_step = types.MethodType(lambda m, *data: step(m, original, *data), model)
        model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        del self.model.train_step
        self.model._metrics.remove(self.model.skipped_steps)
        del self.model.skipped_steps
        self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch, logs=None):
        self._steps = 0

    def on_train_batch_end(self, batch, logs=None):
        self._steps = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        skipped = int((logs or {}).get("skipped_steps", 0))
        if not skipped:
            return
        text = (
            f"{skipped} of {self._steps} steps of epoch {epoch + 1} were skipped: their loss or "
            "gradients were not finite. Look for NaN and infinity in images and targets "
            "(np.isfinite), and at the learning rate"
        )
        if skipped >= self.limit * self._steps and (self.limit < 1 or skipped == self._steps):
            raise ValueError(text)
        warnings.warn(text, stacklevel=2)


def _spoilt(new: Tensor, old: Tensor) -> Any:
    """Whether a variable was finite and is no longer."""
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(new.dtype)):
        return False
    return ops.any(ops.logical_and(ops.isfinite(old), ops.logical_not(ops.isfinite(new))))


def _any_spoilt(new: list, old: list) -> Tensor:
    found = [_spoilt(a, b) for a, b in zip(new, old, strict=True)]
    return ops.any(ops.stack([ops.convert_to_tensor(x, "bool") for x in found]))


def _step(model: keras.Model, original: Any, data: Any) -> dict:
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    variables = list({id(v): v for v in variables}.values())
    before = [ops.copy(v.value) for v in variables]
    original(model, data)
    spoilt = _any_spoilt([v.value for v in variables], before)
    for variable, old in zip(variables, before, strict=True):
        variable.assign(ops.where(spoilt, old, variable.value))
    model.skipped_steps.update_state(ops.cast(spoilt, "float32"))
    return model.get_metrics_result()


def _jax_step(model: keras.Model, original: Any, state: Any, data: Any) -> tuple:
    """The same for JAX, where a step is a function from state to state."""
    _, new = original(model, state, data)
    flat, old = keras.tree.flatten(new), keras.tree.flatten(state)
    spoilt = _any_spoilt(flat, old)
    kept = [ops.where(spoilt, b, a) for a, b in zip(flat, old, strict=True)]
    trainable, others, optimizer, metrics = keras.tree.pack_sequence_as(new, kept)
    counted = {id(v) for v in model.skipped_steps.variables}
    metrics = [
        value + ops.cast(spoilt, value.dtype) if id(variable) in counted else value
        for variable, value in zip(model.metrics_variables, metrics, strict=True)
    ]
    with keras.StatelessScope(
        state_mapping=list(zip(model.metrics_variables, metrics, strict=True))
    ):
        logs = model.get_metrics_result()
    return logs, (trainable, others, optimizer, metrics)

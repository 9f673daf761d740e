"""The contract of a metric."""

import keras
import numpy as np
from keras import ops

from keras_dense._types import ArrayLike
from keras_dense.testing.expect import expect, expect_close, expect_round_trip, reload


def check_metric(
    metric: keras.metrics.Metric,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    perfect: ArrayLike | None = None,
) -> None:
    """Check that a metric keeps the promises of this package; raise `AssertionError` if not.

    - A copy from its config gives the same value; `reset_state` resets everything.
    - `_direction` is "up" or "down", whichever is better, as callbacks of Keras require.
    - One batch or many give the same number (1e-6), in any order and with images of any size.
    - It accepts predictions in bfloat16.
    - It runs in `fit` and `evaluate`, compiled, and a compiled model can be saved to `.keras` and
      loaded.

    Args:
        metric: a `keras.metrics.Metric`; its state is reset.
        y_true: array of targets `(B, H, W)` or `(B, H, W, C)`, B and H at least 2.
        y_pred: array of predictions `(B, H, W, C)`.
        perfect: array of the best possible predictions, to measure the direction; `None` skips
            this.

    Raises:
        AssertionError: naming the promise that is not kept.

    Example:

    >>> import numpy as np
    >>> import keras_dense.metrics
    >>> y_true = np.arange(2 * 3 * 4).reshape(2, 3, 4) % 3
    >>> y_pred = np.random.default_rng(0).normal(size=(2, 3, 4, 3))
    >>> check_metric(keras_dense.metrics.ConfusionMatrix(3), y_true, y_pred)
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred, dtype="float32")
    copy = expect_round_trip(metric)
    metric.reset_state()
    start = [np.array(ops.convert_to_numpy(v.value)) for v in metric.variables]
    metric.update_state(y_true, y_pred)
    whole = _result(metric)
    expect(np.isfinite(whole), f"the metric is {whole} after a batch")
    _check_direction(metric, whole, y_true, perfect)
    copy.update_state(y_true, y_pred)
    expect_close(_result(copy), whole, "a copy from the config gives another value", 1e-6)

    metric.reset_state()
    for v, s in zip(metric.variables, start, strict=True):
        expect(np.array_equal(ops.convert_to_numpy(v.value), s), f"reset_state left {v.path}")
    for i in reversed(range(len(y_true))):
        metric.update_state(y_true[i : i + 1, :1], y_pred[i : i + 1, :1])
        metric.update_state(y_true[i : i + 1, 1:], y_pred[i : i + 1, 1:])
    expect_close(_result(metric), whole, "many batches give another value than one", 1e-6)

    metric.reset_state()
    metric.update_state(y_true, ops.cast(y_pred, "bfloat16"))
    expect(np.isfinite(_result(metric)), "the metric is not finite for bfloat16 predictions")
    metric.reset_state()
    _check_fit(metric, y_true, y_pred, whole)
    metric.reset_state()


def _check_direction(metric, value, y_true, perfect):
    direction = getattr(metric, "_direction", None)
    expect(
        direction in ("up", "down"),
        f"_direction is {direction!r}, not 'up' or 'down': set it, or EarlyStopping, "
        "ReduceLROnPlateau and ModelCheckpoint with mode='auto' cannot monitor the metric",
    )
    if perfect is not None:
        metric.reset_state()
        metric.update_state(y_true, perfect)
        best = _result(metric)
        found = {True: "up", False: "down"}[best > value] if best != value else direction
        expect(
            found == direction,
            f"_direction is {direction!r}, but the metric is {value} for y_pred and {best} for "
            "the perfect prediction",
        )


def _check_fit(metric, y_true, y_pred, whole):
    inputs = keras.Input((None,) * (y_pred.ndim - 2) + y_pred.shape[-1:])
    model = keras.Model(inputs, keras.layers.Dense(y_pred.shape[-1])(inputs))
    # With the identity for weights and a rate of 0 the model passes its input on.
    model.set_weights([np.eye(y_pred.shape[-1]), np.zeros(y_pred.shape[-1])])
    model.compile(keras.optimizers.SGD(0.0), loss=_no_loss, metrics=[metric])
    history = model.fit(y_pred, y_true, batch_size=1, verbose=0).history
    expect(metric.name in history, f"fit reports {sorted(history)}, not {metric.name!r}")
    expect_close(history[metric.name][-1], whole, "fit reports another value", 1e-4)
    values = model.evaluate(y_pred, y_true, batch_size=1, verbose=0, return_dict=True)
    expect_close(values[metric.name], whole, "evaluate reports another value", 1e-4)
    values = reload(model).evaluate(y_pred, y_true, verbose=0, return_dict=True)
    expect_close(values[metric.name], whole, "a model loaded from .keras has another value", 1e-4)


@keras.saving.register_keras_serializable("keras_dense")
def _no_loss(y_true, y_pred):
    return 0.0 * ops.mean(y_pred)


def _result(metric):
    result = metric.result()
    expect(tuple(result.shape) == (), f"result() has shape {tuple(result.shape)}, not ()")
    return float(ops.convert_to_numpy(result))

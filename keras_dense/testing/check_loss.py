"""The contract of a loss."""

import keras
import numpy as np
from keras import ops

from keras_dense._types import ArrayLike
from keras_dense.testing.expect import (
    expect,
    expect_close,
    expect_round_trip,
    reload,
    value_and_gradient,
)


def check_loss(
    loss: keras.losses.Loss,
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    void: float | None = 255,
    extreme: float | None = 1e4,
) -> None:
    """Check that a loss keeps the promises of this package; raise `AssertionError` if not.

    - A copy from its config has the same value. The config contains `reduction`: "none" gives the
      terms of "sum", or both are refused with a `ValueError`.
    - The value is one finite float32, for predictions in bfloat16 and float16 too, and the gradient
      is finite and not zero; both stay finite where predictions are as large as `extreme`.
    - Void pixels get no gradient and count neither in the value nor in its divisor, even if the
      prediction there is NaN; a `sample_weight` of 0 makes a pixel void; a batch of void pixels
      has the loss 0 without gradient.
    - It trains in `fit`, with `sample_weight` and mixed_bfloat16, and a compiled model can be saved
      to `.keras` and loaded.

    Args:
        loss: a `keras.losses.Loss`.
        y_true: array of targets `(B, H, W)` or `(B, H, W, C)`, B and H at least 2.
        y_pred: array of predictions `(B, H, W, C)`; of another size only with `void=None`.
        void: value of an unknown target; `None` skips the checks of void pixels.
        extreme: float, magnitude of predictions that must not overflow; `None` skips this.

    Raises:
        AssertionError: naming the promise that is not kept.

    Example:

    >>> import numpy as np
    >>> import keras_dense.losses
    >>> y_true = np.arange(2 * 3 * 4).reshape(2, 3, 4) % 3
    >>> y_pred = np.random.default_rng(0).normal(size=(2, 3, 4, 3))
    >>> check_loss(keras_dense.losses.Dice(), y_true, y_pred)
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred, dtype="float32")
    copy = expect_round_trip(loss)
    value, gradient = value_and_gradient(loss, y_true, y_pred)
    expect(np.isfinite(value), f"the loss is {value}")
    expect(np.isfinite(gradient).all(), "the gradient is not finite")
    expect(np.any(gradient != 0), "the gradient is zero")
    expect_close(copy(y_true, y_pred), value, "a copy from the config gives another value")
    _check_reduction(loss, y_true, y_pred)
    _check_dtypes(loss, y_true, y_pred, value)
    if void is not None:
        _check_void(loss, y_true, y_pred, void)
    if extreme is not None:
        for sign in (extreme, -extreme):
            far = np.where(y_pred > np.median(y_pred), sign, -sign).astype("float32")
            value, gradient = value_and_gradient(loss, y_true, far)
            expect(np.isfinite(value), f"the loss is {value} at predictions of +-{extreme}")
            expect(np.isfinite(gradient).all(), f"the gradient is not finite at +-{extreme}")
    _check_fit(loss, y_true, y_pred)


def _check_reduction(loss, y_true, y_pred):
    config = loss.get_config()
    expect("reduction" in config, "the config has no `reduction`")
    found = {}
    for reduction in ("none", "sum"):
        try:
            other = type(loss).from_config({**config, "reduction": reduction})
            found[reduction] = ops.convert_to_numpy(other(y_true, y_pred))
        except ValueError as error:
            expect("reduction" in str(error), f"reduction={reduction!r} gives: {error}")
    if "none" in found:
        shape = found["none"].shape
        expect(shape[:1] == y_true.shape[:1], f"reduction='none' gives the shape {shape}")
        expect("sum" in found, "reduction='none' is taken, but not 'sum'")
        expect_close(found["none"].sum(), found["sum"], "the terms do not add up to the sum")


def _check_dtypes(loss, y_true, y_pred, value):
    for dtype in ("bfloat16", "float16"):
        result = loss(y_true, ops.cast(y_pred, dtype))
        expect(tuple(result.shape) == (), f"the loss has shape {tuple(result.shape)}, not ()")
        name = keras.backend.standardize_dtype(result.dtype)
        expect(name == "float32", f"the loss of {dtype} predictions is {name}, not float32")
        expect_close(result, value, f"wrong for {dtype} predictions", tolerance=0.05)


def _check_void(loss, y_true, y_pred, void):
    holes = np.array(y_true, dtype=np.result_type(y_true, np.min_scalar_type(void)))
    holes[:, 0] = void
    value, gradient = value_and_gradient(loss, holes, y_pred)
    expect(np.isfinite(gradient).all(), "the gradient is not finite with void pixels")
    expect(not np.any(gradient[:, 0]), "void pixels have a gradient")
    expect(np.any(gradient[:, 1:]), "valid pixels have no gradient beside void ones")
    spoiled = np.array(y_pred)
    spoiled[:, 0] = np.nan
    found = value_and_gradient(loss, holes, spoiled)
    expect_close(found[0], value, "NaN predicted at void pixels changes the value")
    expect_close(found[1], gradient, "NaN predicted at void pixels changes the gradient")
    cut = loss(y_true[:, 1:], y_pred[:, 1:])
    expect_close(value, cut, "void pixels change the value")
    weight = np.ones(y_pred.shape[:-1], "float32")
    weight[:, 0] = 0.0
    weighted, _ = value_and_gradient(loss, y_true, y_pred, weight)
    expect_close(weighted, value, "sample_weight 0 is not the same as void")
    value, gradient = value_and_gradient(loss, np.full_like(holes, void), y_pred)
    expect(value == 0.0, f"a batch of void pixels costs {value}, not 0")
    expect(not np.any(gradient), "a batch of void pixels has a gradient (or NaN)")


def _check_fit(loss, y_true, y_pred):
    inputs = keras.Input(y_pred.shape[1:])
    # The predictions that reach the loss are bfloat16, the weights float32.
    outputs = keras.layers.Dense(y_pred.shape[-1], dtype="mixed_bfloat16")(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(0.1), loss=loss)
    before = [np.array(w) for w in model.get_weights()]
    weight = np.ones(y_true.shape[: y_pred.ndim - 1], "float32")
    history = model.fit(y_pred, y_true, sample_weight=weight, batch_size=2, verbose=0)
    value = history.history["loss"][-1]
    expect(np.isfinite(value), f"the loss is {value} in fit")
    after = model.get_weights()
    moved = any(np.any(a != b) for a, b in zip(after, before, strict=True))
    finite = all(np.isfinite(w).all() for w in after)
    expect(moved and finite, "one step of fit left no finite new weights")
    expect_close(
        reload(model).loss(y_true, y_pred),
        loss(y_true, y_pred),
        "the loss of a model loaded from .keras has another value",
    )

"""The contract of a layer."""

import keras
import numpy as np
from keras import ops, tree

from keras_dense._types import ArrayLike
from keras_dense.testing.expect import expect, expect_close, expect_round_trip, reload
from keras_dense.testing.moves import RecordingSGD, expect_moves


def check_layer(
    layer: keras.layers.Layer, *inputs: ArrayLike, any_size: bool = True, tolerance: float = 1e-5
) -> None:
    """Check that a layer keeps the promises of this package; raise `AssertionError` if not.

    - A copy from its config computes the same with the same weights.
    - `compute_output_shape` gives the shape of the output, for the sizes of `inputs` and with
      batch, height and width unknown; a symbolic call agrees.
    - One gradient step moves every trainable weight that its loss depends on: see `check_model`.
    - With the policy mixed_bfloat16 it computes in bfloat16 and stays finite.
    - A model with this layer has the same output after saving to `.keras` and loading.

    Args:
        layer: a `keras.layers.Layer`; it is built if necessary.
        *inputs: arrays, one for each tensor that `call` takes.
        any_size: bool, whether height and width may be unknown when the layer is built.
        tolerance: float, largest difference after loading, absolute and relative.

    Raises:
        AssertionError: naming the promise that is not kept.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> check_layer(keras.layers.Conv2D(4, 3), np.ones((2, 7, 9, 3), "float32"))
    """
    expect(len(inputs) > 0, "check_layer needs the inputs of the layer")
    inputs = [np.asarray(x, dtype="float32" if _is_float(x) else None) for x in inputs]
    copy = expect_round_trip(layer)
    expect(not copy.built or not copy.weights, "from_config gives a layer that is already built")
    output = _check_copy(layer, copy, [ops.convert_to_tensor(x) for x in inputs])
    _check_shapes(layer, inputs, output, any_size)
    _check_mixed_precision(layer, inputs)
    model = _model(layer, inputs, any_size)
    _check_step(model, inputs)
    expected = tree.flatten(model.predict_on_batch(_argument(inputs)))
    actual = tree.flatten(reload(model).predict_on_batch(_argument(inputs)))
    for a, e in zip(actual, expected, strict=True):
        expect_close(a, e, "a model loaded from .keras has another output", tolerance)


def _check_copy(layer, copy, tensors):
    output = layer(*tensors)
    copy(*tensors)
    copy.set_weights(layer.get_weights())
    for a, b in zip(tree.flatten(copy(*tensors)), tree.flatten(output), strict=True):
        expect_close(
            ops.convert_to_numpy(ops.cast(a, "float32")),
            ops.convert_to_numpy(ops.cast(b, "float32")),
            "a copy from the config has another output with the same weights",
        )
    return output


def _check_shapes(layer, inputs, output, any_size):
    real = [tuple(t.shape) for t in tree.flatten(output)]
    said = _declared_shapes(layer, [x.shape for x in inputs])
    expect(said == real, f"compute_output_shape says {said}, but the output has {real}")
    shapes = [_unknown(layer, x, any_size) for x in inputs]
    symbols = [
        keras.Input(batch_shape=s, dtype=keras.backend.standardize_dtype(x.dtype))
        for s, x in zip(shapes, inputs, strict=True)
    ]
    symbolic = [tuple(t.shape) for t in tree.flatten(_fresh(layer)(*symbols))]
    for name, loose in (
        (f"compute_output_shape of {shapes}", _declared_shapes(layer, shapes)),
        (f"the symbolic output of {shapes}", symbolic),
    ):
        fits = len(loose) == len(real) and all(
            len(a) == len(b) and all(x in (None, y) for x, y in zip(a, b, strict=True))
            for a, b in zip(loose, real, strict=True)
        )
        expect(fits, f"{name} is {loose}, but the output has {real}")


def _declared_shapes(layer, shapes):
    said = _fresh(layer).compute_output_shape(*shapes)
    # A shape is a tuple of numbers; several outputs are a list, tuple or dict of shapes.
    if isinstance(said, dict):
        said = list(said.values())
    elif all(d is None or isinstance(d, (int, np.integer)) for d in said):
        said = [said]
    return [tuple(s) for s in said]


def _check_mixed_precision(layer, inputs):
    config = {**layer.get_config(), "dtype": "mixed_bfloat16"}
    mixed = type(layer).from_config(config)
    for t in tree.flatten(mixed(*[ops.convert_to_tensor(x) for x in inputs])):
        values = ops.convert_to_numpy(ops.cast(t, "float32"))
        expect(np.isfinite(values).all(), "the output is not finite with mixed_bfloat16")
    for w in mixed.trainable_weights:
        dtype = keras.backend.standardize_dtype(w.dtype)
        expect(dtype == "float32", f"{w.path} is {dtype} with mixed_bfloat16, not float32")


def _check_step(model, inputs):
    if not model.trainable_weights:
        return
    random = np.random.default_rng(8191)  # unlikely to be the seed of the inputs too
    targets = [
        random.normal(size=np.shape(t)).astype("float32")
        for t in tree.flatten(model.predict_on_batch(_argument(inputs)))
    ]
    optimizer = RecordingSGD(0.1)
    model.compile(optimizer, loss=_argument(["mse"] * len(targets)))
    before = [np.array(ops.convert_to_numpy(w.value)) for w in model.trainable_weights]
    model.train_on_batch(_argument(inputs), _argument(targets))
    expect_moves(model.trainable_weights, before, optimizer, "a gradient step")


def _model(layer, inputs, any_size):
    """A model of a copy of the layer with its float outputs (indices cannot be trained)."""
    symbols = [
        keras.Input(
            batch_shape=_unknown(layer, x, any_size),
            dtype=keras.backend.standardize_dtype(x.dtype),
        )
        for x in inputs
    ]
    outputs = tree.flatten(_fresh(layer)(*symbols))
    outputs = [t for t in outputs if "float" in keras.backend.standardize_dtype(t.dtype)]
    expect(len(outputs) > 0, "the layer has no float output")
    return keras.Model(_argument(symbols), _argument(outputs))


def _unknown(layer, x, any_size):
    """The shape of an input with batch, and height and width if allowed, unknown."""
    if not any_size:
        return (None,) + x.shape[1:]
    channels = 1 if getattr(layer, "data_format", None) == "channels_first" else x.ndim - 1
    return tuple(size if axis == channels else None for axis, size in enumerate(x.shape))


def _fresh(layer):
    return type(layer).from_config(layer.get_config())


def _argument(values):
    return values[0] if len(values) == 1 else list(values)


def _is_float(x):
    return np.issubdtype(np.asarray(x).dtype, np.floating)

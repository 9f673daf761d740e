"""The contract of a model for pixel-wise prediction."""

import keras
import numpy as np
from keras import ops, tree

from keras_dense.heads import as_heads, map_heads, objectives
from keras_dense.testing.expect import expect, expect_close, reload


def check_model(model, heads, *, sizes=((64, 64), (65, 97)), steps=3, tolerance=1e-5):
    """Check that a model keeps the promises of this package; raise `AssertionError` if not.

    - Images of all `sizes` give float32 predictions of the same height and width (or of the head's
      stride below it) in the structure of `heads`; those of the last size the same for float images
      as for uint8 ones.
    - A few steps of training on random targets move every trainable weight and stay finite; images
      of unknown pixels alone cost nothing and move none.
    - It survives `.keras` with the same predictions, without `custom_objects`.

    Args:
        model: A `keras.Model`, as a builder returns it. It is trained a little.
        heads: The heads it was built with.
        sizes: Heights and widths of images to try.
        steps: Steps of training in which every weight has to move (a network whose last layer
            starts with zeros needs two).
        tolerance: Largest difference between predictions, absolute and relative.

    Raises:
        AssertionError: With what was not kept.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    >>> check_model(kd.fcn32s(backbone, 3), kd.heads.Segmentation(3))
    """
    heads = as_heads(heads)
    rng = np.random.default_rng(0)
    for size in sizes:
        image = rng.integers(0, 256, (1, *size, model.input_shape[-1]), dtype="uint8")
        prediction = model.predict_on_batch(image)
        _check_prediction(prediction, heads, size)
    # Where models are compiled for each type and size, this is compiling most of the time.
    _compare(model.predict_on_batch(image.astype("float32")), prediction, "uint8", tolerance)
    _check_training(model, heads, sizes[0], rng, steps)
    image = rng.integers(0, 256, (1, *sizes[-1], model.input_shape[-1]), dtype="uint8")
    again = reload(model).predict_on_batch(image)
    _compare(again, model.predict_on_batch(image), "loaded from .keras", tolerance)


def _check_prediction(prediction, heads, size):
    expect(
        isinstance(prediction, dict) == isinstance(heads, dict),
        f"the output is {type(prediction).__name__}, but heads are {type(heads).__name__}",
    )

    def check(key, head, y):
        stride = getattr(head, "stride", 1)
        wanted = (1, *(-(-n // stride) for n in size), head.channels)
        expect(y.shape == wanted, f"an image of {size} gives {y.shape}, not {wanted}")
        expect(str(y.dtype) == "float32", f"the prediction {key or ''} is {y.dtype}, not float32")
        expect(np.isfinite(y).all(), f"the prediction {key or ''} is not finite")

    map_heads(check, heads, prediction)


def _compare(actual, wanted, what, tolerance):
    for a, w in zip(tree.flatten(actual), tree.flatten(wanted), strict=True):
        expect_close(a, w, f"predictions differ: {what}", tolerance)


def _targets(heads, size, rng, known=True):
    labels = rng.integers(0, 2, size) if known else np.full(size, 255)
    sample = {
        "image": rng.uniform(0, 255, (*size, 3)) if known else np.full((*size, 3), np.nan),
        "segmentation": labels,
        "depth": np.full((*size, 1), 2.0 if known else 0.0, "float32"),
        "normals": np.full((*size, 3), 3**-0.5 if known else 0.0, "float32"),
    }
    return map_heads(lambda _, head: np.stack([head.encode(sample)] * 2), heads)


def _check_training(model, heads, size, rng, steps):
    model.compile(keras.optimizers.SGD(0.01), **objectives(heads))
    image = rng.integers(0, 256, (2, *size, model.input_shape[-1]), dtype="uint8")
    before = [ops.convert_to_numpy(w.value).copy() for w in model.trainable_weights]
    unknown = model.train_on_batch(image, _targets(heads, size, rng, known=False), return_dict=True)
    expect(unknown["loss"] == 0, f"an image of unknown pixels costs {unknown['loss']}, not 0")
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = ops.convert_to_numpy(weight.value)
        expect(np.array_equal(new, old), f"{weight.path} moved for an image of unknown pixels")
    for _ in range(steps):
        loss = model.train_on_batch(image, _targets(heads, size, rng), return_dict=True)["loss"]
        expect(np.isfinite(loss), f"the loss is {loss}")
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = ops.convert_to_numpy(weight.value)
        expect(np.isfinite(new).all(), f"{weight.path} is not finite after {steps} steps")
        expect(np.any(new != old), f"{weight.path} did not move in {steps} steps")

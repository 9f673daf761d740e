"""The contract of a model for pixel-wise prediction."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dense._types import Array
from keras_dense.heads import Head, Heads, objectives
from keras_dense.heads.model_heads import Given, heads_of
from keras_dense.testing.expect import expect, expect_close, reload
from keras_dense.testing.moves import RecordingSGD, expect_moves


def check_model(
    model: keras.Model,
    heads: Given = None,
    *,
    sizes: Sequence[tuple[int, int]] = ((64, 64), (65, 97)),
    steps: int = 3,
    tolerance: float = 1e-5,
) -> None:
    """Check that a model keeps the promises of this package; raise `AssertionError` if not.

    - Images of all `sizes` give float32 predictions of the same height and width (or of the head's
      stride below it; or one for an image) in the structure of `heads`; those of the last size the
      same for float images as for uint8 ones.
    - A few steps of training on random targets move every trainable weight and stay finite; images
      without known pixels have the loss 0 and move none. A weight may stay where the loss does not
      depend on it, though it is read: its gradient is not zero, but less than 1e-5 of the largest
      in its layer and those before and after it. That is so with the bias of the keys in attention,
      and with an offset before a batch norm.
    - After saving to `.keras` and loading without `custom_objects` it has the same predictions and
      heads.

    Args:
        model: a `keras.Model` of any builder. It is trained for a few steps.
        heads: its heads; default: those that it carries.
        sizes: heights and widths of images to try.
        steps: int, number of training steps in which every weight has to move (a network whose last
            layer starts with zeros needs two).
        tolerance: float, largest difference between predictions, absolute and relative.

    Raises:
        AssertionError: naming the promise that is not kept.

    Example:

    >>> import keras_dense as kd
    >>> backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    >>> check_model(kd.fcn32s(backbone, 3))
    """
    carried, heads = heads is None, heads_of(model, heads)
    rng = np.random.default_rng(0)
    for size in sizes:
        image = _images(1, size, model, rng)
        prediction = model.predict_on_batch(image)
        for key, y in heads.unpack(prediction).items():
            _check_prediction(key, heads[key], y, size)
    # Where models are compiled for each type and size, this is compiling most of the time.
    _compare(model.predict_on_batch(image.astype("float32")), prediction, "uint8", tolerance)
    _check_training(model, heads, sizes[0], rng, steps)
    image = _images(1, sizes[-1], model, rng)
    again = reload(model)
    _compare(
        again.predict_on_batch(image),
        model.predict_on_batch(image),
        "loaded from .keras",
        tolerance,
    )
    if carried:
        loaded = heads_of(again)
        for key, head in heads.items():
            same = loaded[key].get_config() == head.get_config()
            expect(same, f"the head {key or type(head).__name__} is another one after loading")


def _images(count: int, size: tuple, model: keras.Model, rng: np.random.Generator) -> Array:
    return rng.integers(0, 256, (count, *size, model.input_shape[-1]), dtype="uint8")


def _check_prediction(key: str, head: Head, y: Array, size: tuple) -> None:
    cells = () if head.per_image else tuple(-(-n // head.stride) for n in size)
    wanted = (1, *cells, head.channels)
    expect(y.shape == wanted, f"an image of {size} gives {y.shape}, not {wanted}")
    expect(str(y.dtype) == "float32", f"the prediction {key} is {y.dtype}, not float32")
    expect(np.isfinite(y).all(), f"the prediction {key} is not finite")


def _compare(actual, wanted, what, tolerance):
    for a, w in zip(tree.flatten(actual), tree.flatten(wanted), strict=True):
        expect_close(a, w, f"predictions differ: {what}", tolerance)


def _targets(heads: Heads, size: tuple, rng: np.random.Generator, known: bool = True) -> Any:
    return heads.map(lambda _, head: np.stack([head.encode(head.example(size, rng, known))] * 2))


def _check_training(model, heads, size, rng, steps):
    optimizer = RecordingSGD(0.01)
    model.compile(optimizer, **objectives(heads))
    image = _images(2, size, model, rng)
    before = [ops.convert_to_numpy(w.value).copy() for w in model.trainable_weights]
    unknown = model.train_on_batch(image, _targets(heads, size, rng, known=False), return_dict=True)
    expect(
        unknown["loss"] == 0, f"an image without known pixels has the loss {unknown['loss']}, not 0"
    )
    for weight, old in zip(model.trainable_weights, before, strict=True):
        new = ops.convert_to_numpy(weight.value)
        expect(np.array_equal(new, old), f"{weight.path} moved for an image without known pixels")
    for _ in range(steps):
        loss = model.train_on_batch(image, _targets(heads, size, rng), return_dict=True)["loss"]
        expect(np.isfinite(loss), f"the loss is {loss}")
    expect_moves(model.trainable_weights, before, optimizer, f"{steps} steps")

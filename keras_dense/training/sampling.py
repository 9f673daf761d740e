"""Training on a sample of pixels, for predictions that do not fit in memory."""

from typing import Any

import keras
import numpy as np
from keras import ops, tree

from keras_dense import _check
from keras_dense.datasets.passes import Passes, random_numbers
from keras_dense.heads.collection import carried
from keras_dense.layers import CropLike, GatherPixels, HypercolumnMLP
from keras_dense.layers.head_output import HeadOutput
from keras_dense.surgery.graph import functional, walk


def on_sampled_pixels(model: keras.Model) -> keras.Model:
    """A model that predicts at given pixels only, with the same weights.

    A perceptron on hypercolumns (`kd.hypercolumn(mlp=…)`) then runs at these pixels only, and the
    memory of a training step grows with their number. Whole maps of a network are computed as
    before, and read at the pixels. Both models share their layers and weights.

    Args:
        model: a model from images to predictions of the same size, such as any builder returns.

    Returns:
        A `keras.Model` from `{"image": (B, H, W, C), "positions": (B, N, 2)}`, positions being rows
        and columns, to predictions `(B, 1, N, channels)`, maps of one row, in the structure of
        `model.output`. It is compiled with the same `kd.objectives(model)` and trained on the
        targets of these pixels: see `SampledPixels`. Losses of neighbors, such as
        gradients of depth, mean nothing there.

    Raises:
        TypeError: for a model whose graph cannot be read.
        ValueError: for predictions smaller than the image (`kd.heads.Colorization`).

    >>> image = keras.Input((None, None, 3))
    >>> model = keras.Model(image, keras.layers.Conv2D(5, 3, padding="same")(image))
    >>> on_sampled_pixels(model).output_shape
    (None, 1, None, 5)
    """
    model = functional(model)
    (source,) = model.inputs
    image = keras.Input(batch_shape=source.shape, dtype=source.dtype, name="image")
    positions = keras.Input((None, 2), dtype="int32", name="positions")

    def visit(node, *args, **kwargs):
        op = node.operation
        if isinstance(op, HypercolumnMLP):
            return op(args[0], positions)
        if isinstance(op, CropLike) and op.stride > 1:
            raise ValueError(
                f"A prediction at 1/{op.stride} of the image's size is not one of its pixels. "
                "Train such a model on whole images."
            )
        if isinstance(op, CropLike) and len(args[0].shape) == 3:
            return args[0]
        return op(*args, **kwargs)

    def read(x, whole):
        if len(x.shape) == 2:  # one prediction for the image
            return x
        x = GatherPixels()(x, positions) if len(x.shape) == 4 else x
        x, head = ops.expand_dims(x, 1), carried(whole)
        if head is None:
            return x
        return HeadOutput(head, name=f"{whole._keras_history.operation.name}_at_pixels")(x)

    outputs = tree.map_structure(read, walk(model, image, visit, nested=False), model.output)
    inputs = {"image": image, "positions": positions}
    return keras.Model(inputs, outputs, name=f"{model.name}_on_sampled_pixels")


class SampledPixels(Passes):
    """Batches of images with a random sample of pixels each, and the targets of these pixels.

    Data for `on_sampled_pixels(model)`. The pixels of an image are all different and drawn anew in
    every epoch; `seed`, the epoch and the number of the batch decide, and for a loader with `shard`
    the rank of the process.

    Args:
        batches: batches `(images, targets)` by number, with a length: a `kd.datasets.Loader` or
            another `keras.utils.PyDataset`. Targets, in any structure, are maps `(B, H, W)` or
            `(B, H, W, channels)`. Sample weights may follow, as maps or one for each image.
        sample_pixels: int >= 1, number of pixels of each image.
        seed: int >= 0.

    Batches are `({"image": images, "positions": (B, N, 2)}, targets)`, targets `(B, 1, N)` or
    `(B, 1, N, channels)`, as if these pixels were an image of one row.

    Raises:
        ValueError: for a number out of range, or images with fewer pixels.

    >>> images, labels = np.zeros((1, 4, 6, 3)), np.arange(24).reshape(1, 4, 6)
    >>> inputs, targets = SampledPixels([(images, labels)], sample_pixels=5)[0]
    >>> rows, columns = inputs["positions"][0].T
    >>> bool((targets[0, 0] == labels[0, rows, columns]).all()), len(set(targets[0, 0]))
    (True, 5)
    """

    def __init__(self, batches: Any, sample_pixels: int, *, seed: int = 0) -> None:
        self.batches = batches
        self.shard = getattr(batches, "shard", (0, 1))
        self.sample_pixels = _check.integer(sample_pixels, "sample_pixels", low=1)
        self.seed = _check.integer(seed, "seed", low=0)
        super().__init__(len(batches), clock=getattr(batches, "clock", None))

    def batch(self, epoch, number):
        """Batch `number` of `epoch`."""
        if isinstance(self.batches, Passes):
            images, targets, *sample_weight = self.batches.batch(epoch, number)
        else:
            images, targets, *sample_weight = self.batches[number]
        rng = random_numbers(self, self.seed, epoch, number)
        positions = np.stack([self._positions(image, rng) for image in images])

        def at(values):
            if np.ndim(values) < 3:
                return values
            each = zip(values, positions, strict=True)
            return np.stack([v[p[:, 0], p[:, 1]][None] for v, p in each])

        inputs = {"image": images, "positions": positions}
        return (inputs, *(tree.map_structure(at, x) for x in (targets, *sample_weight)))

    def _positions(self, image, rng):
        height, width = image.shape[:2]
        if height * width < self.sample_pixels:
            raise ValueError(
                f"`sample_pixels` must be at most the pixels of an image, {height}·{width}. "
                f"Received: sample_pixels={self.sample_pixels}"
            )
        places = rng.choice(height * width, self.sample_pixels, replace=False)
        return np.stack(np.divmod(places, width), axis=-1).astype("int32")

    def asked(self, number):
        if isinstance(self.batches, Passes):
            self.batches.asked(number)

    def on_epoch_end(self):
        super().on_epoch_end()
        if not isinstance(self.batches, Passes) and hasattr(self.batches, "on_epoch_end"):
            self.batches.on_epoch_end()

"""Drawings of predictions after every epoch."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._optional import require
from keras_dense._types import Array, PathLike
from keras_dense.datasets import check_sample
from keras_dense.heads import Heads, of
from keras_dense.heads.model_heads import Given


class Preview(keras.callbacks.Callback):
    """Draw a few samples after each epoch: image · truth · prediction · error.

    Every head has rows of its own, in the colors of the head; wrong labels are red, for example.

    Args:
        dataset: samples: `len(dataset)`, `dataset[i]`.
        directory: folder of the drawings `epoch_0001.png`, …; made if need be.
        heads: heads of the model; default: those that it carries.
        count: int >= 1, number of samples, spread evenly over the data set.
        every: int >= 1, number of epochs between drawings.
        transform: function `(sample, rng) -> sample`, such as a center crop.
        draw: function `(head, images, truths, predictions) -> drawing` of lists of arrays (encoded
            targets and decoded predictions), to draw in another way, such as `kd.plot.panel`.

    Raises:
        ValueError: if `count` or `every` is not an integer >= 1.

    ```python
    def draw(head, images, truths, predictions):
        names = head.class_names
        return kd.plot.panel(images, truths, predictions, head.palette, class_names=names)

    preview = kd.training.Preview(val, "runs/camvid/preview", count=4, draw=draw)
    model.fit(loader, epochs=60, callbacks=[preview])
    ```
    """

    def __init__(
        self,
        dataset: Any,
        directory: PathLike,
        heads: Given = None,
        *,
        count: int = 4,
        every: int = 1,
        transform: Callable | None = None,
        draw: Callable | None = None,
    ) -> None:
        super().__init__()
        count, every = _check.integer(count, "count", low=1), _check.integer(every, "every", low=1)
        self.heads = None if heads is None else Heads(heads)
        self.directory = pathlib.Path(directory)
        self.every = every
        self._draw = draw or panels
        places = np.linspace(0, len(dataset) - 1, min(count, len(dataset)) + 2)[1:-1]
        self._samples = [
            check_sample(dataset[round(place)], f"Preview: sample {round(place)}")
            for place in places
        ]
        if transform is not None:
            rng = np.random.default_rng(0)
            self._samples = [transform(sample, rng) for sample in self._samples]
        self._image = require("PIL.Image", extra="examples")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._image.fromarray(self.drawing(self.model)).save(
                self.directory / f"epoch_{epoch + 1:04d}.png"
            )

    def drawing(self, model: keras.Model) -> Array:
        """Drawing of a model's predictions: uint8 RGB."""
        images = [sample["image"] for sample in self._samples]
        outputs = [model.predict_on_batch(image[None]) for image in images]
        drawn = []
        heads = self.heads or Heads(of(model))
        for key, head in heads.items():
            if head.per_image:
                continue  # there is no drawing beside the image
            truths = [np.asarray(head.encode(sample)) for sample in self._samples]
            predictions = [
                keras.ops.convert_to_numpy(head.decode(heads.unpack(output)[key], image[None]))[0]
                for output, image in zip(outputs, images, strict=True)
            ]
            drawn.append(self._draw(head, images, truths, predictions))
        return _stack(drawn)


def panels(head, images, truths, predictions):
    """Rows of image, truth, prediction and error, as the head draws them."""
    rows = []
    for image, truth, prediction in zip(images, truths, predictions, strict=True):
        error = head.error(truth, prediction, image)
        rows.append(np.concatenate([image, head.draw(truth), head.draw(prediction), error], axis=1))
    return _stack(rows)


def _stack(drawings, gap=4):
    """One above the other, on white."""
    width = max(drawing.shape[1] for drawing in drawings)
    padded = [
        np.pad(p, ((0, gap), (0, width - p.shape[1]), (0, 0)), constant_values=255)
        for p in drawings
    ]
    return np.concatenate(padded)[:-gap]

"""Pictures of what a network predicts, after every epoch."""

import pathlib

import keras
import numpy as np

from keras_dense._optional import require


class Preview(keras.callbacks.Callback):
    """Draws a few samples after each epoch: image · truth · prediction · error.

    Every head gets a row of its own. In the error panel a wrong pixel is red and a right one shows
    the image, dimmed; pixels of unknown truth are grey.

    Args:
        dataset: What gives samples: `len(dataset)`, `dataset[i]`.
        heads: The head, or the dict of heads, that the model was built with.
        directory: Folder of the pictures `epoch_0001.png`, …; made if need be.
        count: How many samples, spread evenly over the data set.
        every: Draw after every so many epochs.
        transform: Optional callable `(sample, rng) -> sample`, such as a centre crop.

    Raises:
        ValueError: If `count` or `every` is not a positive integer.

    ```python
    preview = kd.training.Preview(val, head, "runs/camvid/preview", count=4)
    model.fit(loader, epochs=60, callbacks=[preview])
    ```
    """

    def __init__(self, dataset, heads, directory, count=4, every=1, transform=None):
        super().__init__()
        for name, value in (("count", count), ("every", every)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"`{name}` must be an integer of at least 1. Received: {name}={value!r}"
                )
        self.heads = heads
        self.directory = pathlib.Path(directory)
        self.every = every
        places = np.linspace(0, len(dataset) - 1, min(count, len(dataset)) + 2)[1:-1]
        self._samples = [dataset[round(place)] for place in places]
        if transform is not None:
            rng = np.random.default_rng(0)
            self._samples = [transform(sample, rng) for sample in self._samples]
        self._image = require("PIL.Image", extra="examples")

    def on_epoch_end(self, epoch, logs=None):
        if (epoch + 1) % self.every == 0:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._image.fromarray(self.draw(self.model)).save(
                self.directory / f"epoch_{epoch + 1:04d}.png"
            )

    def draw(self, model):
        """The picture, uint8 RGB."""
        rows = []
        for sample in self._samples:
            output = model.predict_on_batch(sample["image"][None])
            several = isinstance(self.heads, dict)
            for key, head in (self.heads if several else {"": self.heads}).items():
                value = keras.ops.convert_to_numpy(output[key] if several else output)
                rows.append(np.concatenate(panels(head, sample, value[0]), axis=1))
        width = max(row.shape[1] for row in rows)
        gap = 4
        return np.concatenate(
            [
                np.pad(row, ((0, gap), (0, width - row.shape[1]), (0, 0)), constant_values=255)
                for row in rows
            ]
        )[:-gap]


def panels(head, sample, output):
    """Image, truth, prediction and error of one sample, four uint8 pictures of one size."""
    image = np.asarray(sample["image"], dtype="uint8")
    target = np.asarray(head.encode(sample))
    labels = keras.ops.convert_to_numpy(head.decode(output[None]))[0]
    truth, prediction = head.draw(target), head.draw(labels)
    unknown = target == getattr(head, "ignore_class", None)
    wrong = np.any(truth != prediction, axis=-1)
    if unknown.shape[: wrong.ndim] != wrong.shape:
        unknown = np.zeros_like(wrong)
    unknown = unknown.reshape(*wrong.shape, -1).all(-1)
    error = (0.5 * image.mean(-1, keepdims=True).repeat(3, -1)).astype("uint8")
    error[wrong] = (230, 40, 40)
    error[unknown] = (160, 160, 160)
    return [image, truth, prediction, error]

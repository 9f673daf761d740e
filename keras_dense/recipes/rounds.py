"""Callbacks of a training: a line of progress, validation, candidates for the final weights."""

import math
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_dense.datasets as datasets
import keras_dense.plot as plot
import keras_dense.training as training
from keras_dense._files import whole
from keras_dense._types import Array, PathLike, Sample
from keras_dense.datasets.transforms import CenterCrop
from keras_dense.recipes.numbers import VALIDATION_IN_ROUNDS
from keras_dense.recipes.scores import score

SCORE = "val_score"
_SHOWN = 640  # pixels, the largest side of an image in a drawing


def duration(seconds: float) -> str:
    """Write a duration.

    >>> duration(75), duration(4000)
    ('1:15', '1:06:40')
    """
    minutes, seconds = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def save_weights(path: PathLike, weights: list[Array]) -> None:
    """Write weights to a file that appears when it is complete."""
    with whole(path) as draft, draft.open("wb") as file:
        np.savez(file, *weights)


def load_weights(path: PathLike) -> list[Array]:
    """Read weights that `save_weights` wrote."""
    with np.load(path) as file:
        return [file[name] for name in file.files]


def window(sample: Sample, rng: Any = None, most: int = _SHOWN) -> Sample:
    """Cut the center of an image that is too large to be shown."""
    height, width = sample["image"].shape[:2]
    if max(height, width) <= most:
        return sample
    return CenterCrop((min(height, most), min(width, most)))(sample)


class Rounds(keras.callbacks.Callback):
    """Validate after each round, keep the best and the average weights, and say where it stands.

    Place it before `kd.training.Checkpoint`, which writes the score into the history: a run that
    is killed between the two repeats the round, to the same files.

    Args:
        val: data set for validation.
        heads: heads of the model.
        out: folder of the run.
        rounds: int, number of rounds.
        steps: int, steps of a round.
        average: int, number of the last rounds whose mean is kept.
        history: dict, that of the checkpoint.
        say: function that takes a line, or `None`.
    """

    def __init__(
        self,
        val: Any,
        heads: Any,
        out: pathlib.Path,
        *,
        rounds: int,
        steps: int,
        average: int,
        history: dict[str, list[float]],
        say: Callable[[str], None] | None = print,
    ) -> None:
        super().__init__()
        places = np.linspace(0, len(val) - 1, min(len(val), VALIDATION_IN_ROUNDS))
        self.val = datasets.subset(val, sorted(set(places.round().astype(int).tolist())))
        self.heads, self.out = heads, pathlib.Path(out)
        self.rounds, self.steps, self.average = rounds, steps, average
        self.history = history
        self.say = say
        self.preview = training.Preview(val, self.out / "preview", heads, count=4, transform=window)
        self._line = Line(say is not None)
        self._began: float | None = None
        self._done = 0

    @property
    def best_file(self) -> pathlib.Path:
        """File of the weights of the best round."""
        return self.out / "weights" / "best.npz"

    def average_file(self, number: int) -> pathlib.Path:
        """File of the mean of the weights of the last rounds until round `number`."""
        return self.out / "weights" / f"average_{number}.npz"

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if self._began is None:  # the first step compiles
            self._began = now
            return
        self._done += 1
        number = len(self.history.get("loss", ())) + 1
        self._line.show(self._text(number, batch + 1, now))

    def _text(self, number: int, step: int, now: float) -> str:
        each = (now - (self._began or now)) / max(self._done, 1)
        left = each * (self.steps - step + (self.rounds - number) * self.steps)
        known = [v for v in self.history.get(SCORE, ()) if v == v]
        best = f" · validation {known[-1]:.3f}, best {max(known):.3f}" if known else ""
        return (
            f"round {number}/{self.rounds} · step {step}/{self.steps}{best} · {duration(left)} left"
        )

    def on_epoch_end(self, epoch, logs=None):
        logs = {} if logs is None else logs
        if not math.isfinite(float(logs.get("loss", 0.0))):
            raise ValueError(
                f"the loss of round {epoch + 1} is not finite: give a smaller learning_rate"
            )
        self._line.show(f"round {epoch + 1}/{self.rounds} · validating {len(self.val)} images")
        found = score(self.model, self.val, self.heads)
        logs[SCORE] = found.score
        known = [value for value in self.history.get(SCORE, ())[:epoch] if value == value]
        if not known or found.score > max(known):
            save_weights(self.best_file, self.model.get_weights())
        self._add_to_average(epoch)
        plot.save(
            self.preview.directory / f"round_{epoch + 1:03d}.jpg", self.preview.drawing(self.model)
        )
        self._line.clear()
        if self.say is not None:
            now = time.perf_counter()
            each = (now - (self._began or now)) / max(self._done, 1)
            self.say(
                f"round {epoch + 1}/{self.rounds} · loss {float(logs['loss']):.4f} · validation "
                f"{found.score:.4f}, best {max([*known, found.score]):.4f} · about "
                f"{duration(each * self.steps * (self.rounds - epoch - 1))} left"
            )

    def _add_to_average(self, epoch: int) -> None:
        first = max(self.rounds - self.average, 0)
        if epoch < first:
            return
        count = epoch - first + 1
        weights = self.model.get_weights()
        if count > 1:
            before = load_weights(self.average_file(epoch))
            weights = [
                (old * ((count - 1) / count) + new / count).astype(new.dtype)
                for old, new in zip(before, weights, strict=True)
            ]
        save_weights(self.average_file(epoch + 1), weights)
        self.average_file(epoch - 1).unlink(missing_ok=True)


class Line:
    """One line of progress that is overwritten; nothing where the output is no terminal."""

    def __init__(self, wanted: bool = True) -> None:
        self._on = wanted and sys.stderr.isatty()
        self._last = 0.0

    def show(self, text: str) -> None:
        """Replace the line, some times in a second."""
        now = time.perf_counter()
        if self._on and now - self._last > 0.2:
            self._last = now
            sys.stderr.write(f"\r\x1b[2K{text[:118]}")
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._on:
            sys.stderr.write("\r\x1b[2K")
            sys.stderr.flush()
        self._last = 0.0

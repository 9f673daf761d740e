"""Passes over the data: the epoch of each batch that Keras requests."""

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np

from keras_dense import _check


class Clock:
    """Position of a training in the data, inferred from the calls of Keras.

    The requested batches alone do not determine it: Keras looks at some before it trains;
    TensorFlow prefetches in its own thread; and with `steps_per_epoch` one pass over the data lasts
    for several epochs of `fit`. But this order is fixed:

    - `fit`, `evaluate` and `predict` start by making an adapter, which reads `workers` once
      (`look`). All batches until the next `on_epoch_end` are only inspected.
    - Each pass is a generator, which reads `num_batches` before its first batch (`fresh`), and
      starts after `on_epoch_begin`.

    Args:
        length: int, number of batches in a pass.
        forget: bound method, called to drop the prepared batches of a finished pass.
    """

    def __init__(self, length: int, forget: Callable[[], None]) -> None:
        # A weak reference, so that a loader and its threads end when nothing else refers to it.
        self.length, self._forget = length, weakref.WeakMethod(forget)
        self.lock = threading.RLock()
        self.looking = self.running = self.fresh = False
        self.set(0, 0)

    def set(self, epoch: int, first: int) -> None:
        """Continue with batch `first` of `epoch`."""
        with self.lock:
            forget = self._forget()
            if forget is not None:
                forget()
            self._epoch, self.first = epoch, first
            self._used = False
            self._asked: set[int] = set()

    @property
    def epoch(self) -> int:
        """The current pass, or the next one between two passes."""
        with self.lock:
            return self._epoch + int(self._used and not self.running)

    def look(self) -> None:
        """Note that batches until the next end of a pass are only inspected."""
        self.looking, self.running = True, False

    def end(self) -> None:
        """End a pass if all its batches were requested."""
        with self.lock:
            # Keras may not have trained on all of them yet, but it has fetched them.
            if not self.looking and len(self._asked) >= self.length:
                self._next()
            self.looking = self.running = False

    def _next(self) -> None:
        self.set(self._epoch + 1, self.first)

    def take(self, number: int) -> tuple[int, int]:
        """Return `(epoch, number)` of batch `number`, requested now by Keras or a user."""
        with self.lock:
            if self.fresh and self.running and not self.looking:
                if self._used:  # the last pass was not ended
                    self._next()
                self.fresh, self._used, self._asked = False, True, set()
            if not self.looking:
                self._asked.add(number)
            return self.place(number, self._epoch)

    def place(self, number: int, epoch: int | None = None) -> tuple[int, int]:
        """Return `(epoch, number)` of batch `number` of the pass that starts at `first`."""
        more, number = divmod(self.first + number, self.length)
        return (self._epoch if epoch is None else epoch) + more, number


def random_numbers(batches: Any, seed: int, epoch: int, number: int) -> np.random.Generator:
    """The random numbers of a batch; other ones for each process that has a part of it."""
    rank, count = getattr(batches, "shard", (0, 1))
    return np.random.default_rng(
        (seed, epoch, number) if count == 1 else (seed, epoch, number, rank)
    )


class Passes(keras.utils.PyDataset):
    """Base class of `Loader` and `SampledPixels`: batches that depend only on epoch and number.

    Subclasses implement `batch(epoch, number)`, and may implement `forget`.

    Args:
        length: int >= 1, number of batches in a pass.
        epoch: int >= 0, the first epoch.
        clock: `Clock` of the batches that these are made from, if any.
    """

    def __init__(self, length: int, epoch: int = 0, clock: Clock | None = None) -> None:
        # Workers of Keras replay batches: those fetched when `fit` only inspects the shape of the
        # first batch are used again in the epoch (Keras 3.15, JAX and torch). So Keras requests
        # batches from one thread.
        super().__init__(workers=1, use_multiprocessing=False)
        self._length = length
        self.clock = Clock(length, self.forget) if clock is None else clock
        if clock is None:
            self.resume(epoch)

    def batch(self, epoch: int, number: int) -> Any:
        """Return a batch of an epoch."""
        raise TypeError(f"{type(self).__name__} must implement batch(epoch, number)")

    def forget(self) -> None:
        """Drop the prepared batches of a finished pass."""

    def asked(self, number: int) -> None:
        """Handle the request of a batch; called in the order of requests."""

    @property
    def epoch(self) -> int:
        """int, the current pass, or the next one between two passes; can be set."""
        return self.clock.epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.resume(value)

    def resume(self, epoch: int, batch: int = 0) -> None:
        """Continue with batch `batch` of `epoch`, as if all earlier batches had been used.

        Args:
            epoch: int >= 0.
            batch: int from 0 to `len(self) - 1`. Passes of `fit` then start at this batch, and end
                with the batches before it of the next epoch.

        Raises:
            ValueError: if a number is out of range.
        """
        epoch, batch = _check.integer(epoch, "epoch", low=0), _check.integer(batch, "batch", low=0)
        if batch >= len(self):
            raise ValueError(f"`batch` must be below {len(self)}. Received: batch={batch}")
        self.clock.set(epoch, batch)

    def __len__(self) -> int:
        return self._length

    @property
    def workers(self) -> int:
        """1; Keras reads it only when `fit`, `evaluate` or `predict` start."""
        self.clock.look()
        return 1

    @property
    def num_batches(self) -> int:
        """`len(self)`; Keras reads it before each pass."""
        self.clock.fresh = True
        return len(self)

    def on_epoch_begin(self) -> None:
        self.clock.running = True

    def on_epoch_end(self) -> None:
        """Continue with the next epoch if all batches were requested, by Keras or in a loop."""
        self.clock.end()

    def __getitem__(self, number: int) -> Any:
        number = self._number(number)
        with self.clock.lock:
            epoch, place = self.clock.take(number)
            self.asked(place)
        return self.batch(epoch, place)

    def _number(self, number: int) -> int:
        if not -len(self) <= number < len(self):
            raise IndexError(f"{type(self).__name__}: batch {number} of {len(self)}")
        return int(number) % len(self)

    def __iter__(self) -> Iterator:
        epoch, first = self.clock.epoch, self.clock.first
        for number in range(len(self)):
            yield self.batch(*self.clock.place(number, epoch))
        self.clock.set(epoch + 1, first)

    def __getstate__(self) -> dict[str, Any]:
        clock = self.clock
        return {**self.__dict__, "clock": (clock.epoch, clock.first)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        place = state.pop("clock")
        self.__dict__.update(state)
        self.clock = Clock(self._length, self.forget)
        self.clock.set(*place)

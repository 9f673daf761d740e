"""Which pass over the data a batch belongs to, however Keras asks for it."""

import threading
import weakref

import keras

from keras_dense import _check


class Clock:
    """Where in the data a training is, told from what Keras does.

    Not from the batches that it asks for: it looks at some before it trains; TensorFlow fetches
    ahead of what is trained on, in a thread of its own; and with `steps_per_epoch` one pass over
    the data lasts for several epochs of `fit`. But this order is fixed:

    - `fit`, `evaluate` and `predict` begin by making an adapter, which reads `workers` once
      (`look`). All batches until the next `on_epoch_end` are only looked at.
    - Each pass is a generator of its own, which reads `num_batches` before its first batch
      (`fresh`), and none is begun before `on_epoch_begin`.

    Args:
        length: int, batches in a pass.
        forget: bound method, told to drop what was prepared for a pass that is over.
    """

    def __init__(self, length, forget):
        # Weakly: a loader and its threads end when the last one who uses it lets it go.
        self.length, self._forget = length, weakref.WeakMethod(forget)
        self.lock = threading.RLock()
        self.looking = self.running = self.fresh = False
        self.set(0, 0)

    def set(self, epoch, first):
        """Go on with batch `first` of `epoch`."""
        with self.lock:
            forget = self._forget()
            if forget is not None:
                forget()
            self._epoch, self.first = epoch, first
            self._used, self._asked = False, set()

    @property
    def epoch(self):
        """The pass that batches are taken from, or, between two, the next."""
        with self.lock:
            return self._epoch + int(self._used and not self.running)

    def look(self):
        """Keras begins something: what it asks for until the next end are only looks."""
        self.looking, self.running = True, False

    def end(self):
        """The end of a pass, if all its batches were asked for."""
        with self.lock:
            # Keras may not have trained on all of them yet, but has fetched them.
            if not self.looking and len(self._asked) >= self.length:
                self._next()
            self.looking = self.running = False

    def _next(self):
        self.set(self._epoch + 1, self.first)

    def take(self, number):
        """`(epoch, number)` of what Keras, or a user, takes as batch `number` now."""
        with self.lock:
            if self.fresh and self.running and not self.looking:
                if self._used:  # the last pass was not ended
                    self._next()
                self.fresh, self._used, self._asked = False, True, set()
            if not self.looking:
                self._asked.add(number)
            return self.place(number, self._epoch)

    def place(self, number, epoch=None):
        """`(epoch, number)` of batch `number` of the pass that begins at `first`."""
        more, number = divmod(self.first + number, self.length)
        return (self._epoch if epoch is None else epoch) + more, number


class Passes(keras.utils.PyDataset):
    """Batches that the epoch and their number decide: what `Loader` and `SampledPixels` are.

    Subclasses implement `batch(epoch, number)`, and may `forget` what they have prepared.

    Args:
        length: int >= 1, batches in a pass.
        epoch: int >= 0, the first one.
        clock: of other batches, if these are made of them.
    """

    def __init__(self, length, epoch=0, clock=None):
        # Keras' own workers replay batches: what they had fetched when `fit` only looked at the
        # shape of the first batch is served again in the epoch (Keras 3.15, JAX and torch). So
        # Keras asks from one thread.
        super().__init__(workers=1, use_multiprocessing=False)
        self._length = length
        self.clock = Clock(length, self.forget) if clock is None else clock
        if clock is None:
            self.resume(epoch)

    def batch(self, epoch, number):
        """Batch `number` of `epoch`."""
        raise TypeError(f"{type(self).__name__} must implement batch(epoch, number)")

    def forget(self):
        """Drop what was prepared for a pass that is over."""

    def asked(self, number):
        """Called for each batch, in the order in which they are asked for."""

    @property
    def epoch(self):
        """int: the pass that batches are taken from, or, between two, the next; may be set."""
        return self.clock.epoch

    @epoch.setter
    def epoch(self, value):
        self.resume(value)

    def resume(self, epoch, batch=0):
        """Go on with batch `batch` of `epoch`, as if all before had been seen.

        Args:
            epoch: int >= 0.
            batch: int from 0 to `len(self) - 1`. A pass of `fit` then ends with the batches before
                it, of the next epoch.

        Raises:
            ValueError: if a number is out of range.
        """
        epoch, batch = _check.integer(epoch, "epoch", low=0), _check.integer(batch, "batch", low=0)
        if batch >= len(self):
            raise ValueError(f"`batch` must be below {len(self)}. Received: batch={batch}")
        self.clock.set(epoch, batch)

    def __len__(self):
        return self._length

    @property
    def workers(self):
        """1. Read by Keras when `fit`, `evaluate` or `predict` begin, and at no other time."""
        self.clock.look()
        return 1

    @property
    def num_batches(self):
        """`len(self)`. Read by Keras before each pass."""
        self.clock.fresh = True
        return len(self)

    def on_epoch_begin(self):
        self.clock.running = True

    def on_epoch_end(self):
        """Go on to the next epoch if all batches were asked for, by Keras or in one's own loop."""
        self.clock.end()

    def __getitem__(self, number):
        number = self._number(number)
        with self.clock.lock:
            epoch, place = self.clock.take(number)
            self.asked(place)
        return self.batch(epoch, place)

    def _number(self, number):
        if not -len(self) <= number < len(self):
            raise IndexError(f"{type(self).__name__}: batch {number} of {len(self)}")
        return int(number) % len(self)

    def __iter__(self):
        epoch, first = self.clock.epoch, self.clock.first
        for number in range(len(self)):
            yield self.batch(*self.clock.place(number, epoch))
        self.clock.set(epoch + 1, first)

    def __getstate__(self):
        clock = self.clock
        return {**self.__dict__, "clock": (clock.epoch, clock.first)}

    def __setstate__(self, state):
        place = state.pop("clock")
        self.__dict__.update(state)
        self.clock = Clock(self._length, self.forget)
        self.clock.set(*place)

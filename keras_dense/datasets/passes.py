"""Which pass over the data a batch belongs to, however Keras asks for it."""

import threading

import keras

from keras_dense._arrays import as_integer


class Passes(keras.utils.PyDataset):
    """Batches that the epoch and their number decide: what `Loader` and `SampledPixels` are.

    What a batch is made of must not depend on how Keras fetches it. It looks at batches before it
    trains; TensorFlow fetches ahead of what is trained on, in a thread of its own; with
    `steps_per_epoch` one pass over the data lasts for several epochs of `fit`. So the pass is not
    counted by batches that are asked for, but by what Keras does in a fixed order:

    - `fit`, `evaluate` and `predict` begin by making an adapter, which reads `workers` once. All
      batches until the next `on_epoch_end` are only looked at.
    - Each pass is a generator of its own, which reads `num_batches` before its first batch, and
      none is begun before `on_epoch_begin`.

    Subclasses implement `__len__` and `batch(epoch, number)`, and may `forget` what they have
    prepared.
    """

    def __init__(self, epoch=0):
        # Keras' own workers replay batches: what they had fetched when `fit` only looked at the
        # shape of the first batch is served again in the epoch (Keras 3.15, JAX and torch). So
        # Keras asks from one thread.
        super().__init__(workers=1, use_multiprocessing=False)
        self._start()
        self.resume(epoch)

    def _start(self):
        self._lock = threading.RLock()
        self._looking = self._running = self._fresh = False

    def batch(self, epoch, number):
        """Batch `number` of `epoch`."""
        raise NotImplementedError

    def forget(self):
        """Drop what was prepared for a pass that is over."""

    @property
    def epoch(self):
        """int: the pass that batches are taken from, or, between two, the next; may be set."""
        with self._lock:
            return self._epoch + int(self._used and not self._running)

    @epoch.setter
    def epoch(self, value):
        self.resume(value)

    def resume(self, epoch, batch=0):
        """Go on with batch `batch` of `epoch`, as if all before had been seen.

        Args:
            epoch: int >= 0.
            batch: int from 0 to `len(self) - 1`. The batches before it come at the end of a pass
                of `fit`, as those of the next epoch.

        Raises:
            ValueError: if a number is out of range.
        """
        epoch, batch = as_integer(epoch, "epoch", low=0), as_integer(batch, "batch", low=0)
        if batch and batch >= len(self):
            raise ValueError(f"`batch` must be below {len(self)}. Received: batch={batch}")
        with self._lock:
            self.forget()
            self._epoch, self._first = epoch, batch
            self._used, self._asked = False, set()

    @property
    def workers(self):
        """1. Read by Keras when `fit`, `evaluate` or `predict` begin, and at no other time."""
        self._looking, self._running = True, False
        return 1

    @property
    def num_batches(self):
        """`len(self)`. Read by Keras before each pass."""
        self._fresh = True
        return len(self)

    def on_epoch_begin(self):
        self._running = True

    def on_epoch_end(self):
        """The end of a pass if all its batches were asked for, by Keras or in a loop of one's own.

        Keras may not have trained on all of them yet, but has fetched them.
        """
        with self._lock:
            if not self._looking and len(self._asked) >= len(self):
                self._next_pass()
            self._looking = self._running = False

    def _next_pass(self):
        self.forget()
        self._epoch += 1
        self._used, self._asked = False, set()

    def place(self, number):
        """`(epoch, number)` of what is asked for as batch `number` now."""
        if not -len(self) <= number < len(self):
            raise IndexError(f"{type(self).__name__}: batch {number} of {len(self)}")
        more, number = divmod(self._first + int(number) % len(self), len(self))
        return self._epoch + more, number

    def __getitem__(self, number):
        with self._lock:
            if self._fresh and self._running and not self._looking:
                if self._used:  # the last one was not ended
                    self._next_pass()
                self._fresh, self._used, self._asked = False, True, set()
            epoch, place = self.place(number)
            if not self._looking:
                self._asked.add(place)
            self.asked(place)
        return self.batch(epoch, place)

    def asked(self, number):
        """Called for each batch, in the order in which they are asked for."""

    def __iter__(self):
        epoch, first = self.epoch, self._first
        for number in range(len(self)):
            yield self.batch(*divmod(epoch * len(self) + first + number, len(self)))
        self.resume(epoch + 1, first)

    def __getstate__(self):
        return {key: value for key, value in self.__dict__.items() if key != "_lock"}

    def __setstate__(self, state):
        self.__dict__.update(state)
        self._start()

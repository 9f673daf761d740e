"""Batches of a loader for tf.data, torch and grain."""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import tree

from keras_dense import _check
from keras_dense._optional import require
from keras_dense.datasets.agreement import FirstLabels
from keras_dense.datasets.loader import Loader
from keras_dense.datasets.passes import Passes

# What the loader decides.
_DECIDED = ("batch_size", "shuffle", "drop_last", "sampler", "batch_sampler", "collate_fn")


def as_tf_data(loader: Passes) -> Any:
    """Give the batches of a loader as a `tf.data.Dataset`.

    Each iteration is the next epoch, with the batches of `for batch in loader`; one that ends
    before the last batch is taken does not count. The threads of the loader read ahead (`workers`,
    `prefetch`): a `.prefetch()` behind it is not needed, and may take batches that are not used.

    `fit` takes a loader as it is; this is for training loops and pipelines of tf.data.

    Args:
        loader: a `kd.datasets.Loader`, or batches made from one, such as `kd.datasets.Mixed`.

    Returns:
        A `tf.data.Dataset` of `(images, targets)` or `(images, targets, weights)`, of known length.
        Sizes that agree in the first two batches and the last are static, nearly as in `fit`.

    Raises:
        TypeError: if `loader` is none.
        ImportError: if TensorFlow is not installed.

    Example:

    ```python
    for images, labels in kd.datasets.as_tf_data(loader):
        step(images, labels)
    ```
    """
    _loader_in(loader)
    tf = require("tensorflow", extra="tensorflow")
    epoch = loader.clock.epoch
    last = len(loader) - 1
    # Keras looks at the first two as well: with `pad`, they are told apart by it (Loader.batch).
    batches = [loader.batch(epoch, number) for number in sorted({0, min(1, last), last})]

    def spec(*arrays: Any) -> Any:
        arrays = tuple(map(np.asarray, arrays))
        shapes = zip(*(array.shape for array in arrays), strict=True)
        shape = [sizes[0] if len(set(sizes)) == 1 else None for sizes in shapes]
        return tf.TensorSpec(shape, arrays[0].dtype)

    dataset = tf.data.Dataset.from_generator(
        lambda: _counted(loader, iter(loader)), output_signature=tree.map_structure(spec, *batches)
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(len(loader)))


def as_torch(loader: Passes, workers: int = 0, **settings: Any) -> Any:
    """Give the batches of a loader as a `torch.utils.data.DataLoader`.

    Each iteration is the next epoch, with the batches of `for batch in loader`, in tensors; one
    that ends before the last batch is taken does not count. With `workers`, batches are made in
    processes rather than threads, which helps where transforms are Python code. The random numbers
    of torch stay as they are.

    Processes read with a copy of the loader: samples that it skips (`on_error="skip"`) are not
    in `loader.skipped`, and `kd.datasets.cached` keeps samples in each of them.

    Args:
        loader: a `kd.datasets.Loader`, or batches made from one, such as `kd.datasets.Mixed`.
        workers: int >= 0, number of processes (`num_workers`); with 0, the threads of the loader
            read ahead.
        **settings: other arguments of `DataLoader`, such as `pin_memory`, `persistent_workers`,
            `prefetch_factor`, `multiprocessing_context`.

    Returns:
        A `DataLoader` of `(images, targets)` or `(images, targets, weights)`. Images stay
        `(B, H, W, 3)`, uint8.

    Raises:
        TypeError: if `loader` is none, or a setting is decided by the loader.
        ImportError: if torch is not installed.
        ValueError: if `workers` is negative.

    Example:

    ```python
    for images, labels in kd.datasets.as_torch(loader, workers=4):
        step(images, labels)
    ```
    """
    _loader_in(loader)
    workers = _check.integer(workers, "workers", low=0)
    decided = [name for name in settings if name in _DECIDED]
    if decided:
        raise TypeError(
            f"`settings` must not contain what the loader decides. Received: {', '.join(decided)}. "
            "Give kd.datasets.Loader its batch_size, shuffle and drop_last"
        )
    torch = require("torch", extra="torch")
    base: Any = torch.utils.data.DataLoader

    class Epochs(base):
        def __iter__(self) -> Iterator:
            # Not by the sampler, which is ahead of the batches that were used.
            return _counted(loader, super().__iter__())

    # Its iterators draw a seed, by default from the random numbers of the training.
    settings.setdefault("generator", torch.Generator())
    return Epochs(
        _ByPlace(_apart(loader) if workers else loader),
        batch_size=None,
        sampler=_Places(loader),
        collate_fn=_tensors,
        num_workers=workers,
        **settings,
    )


def as_grain(loader: Passes, epochs: int) -> Any:
    """Give the batches of a loader as a `grain.IterDataset`.

    Each iteration has the same batches: those of `epochs` passes over the data, beginning with the
    epoch of the loader. Its iterators save and restore their position
    (`get_state`, `set_state`), and `mp_prefetch` moves the work to processes. Threads of grain read
    ahead, as many and as far as the loader would (`workers`, `prefetch`).

    Args:
        loader: a `kd.datasets.Loader`, or batches made from one, such as `kd.datasets.Mixed`.
        epochs: int >= 1. For `fit(data, epochs=epochs)` of Keras, also give
            `steps_per_epoch=len(loader)`.

    Returns:
        A `grain.IterDataset` of `epochs * len(loader)` batches `(images, targets)` or
        `(images, targets, weights)`, NumPy arrays.

    Raises:
        TypeError: if `loader` is none.
        ImportError: if grain is not installed.
        ValueError: if `epochs` is below 1.

    Example:

    ```python
    for images, labels in kd.datasets.as_grain(loader, epochs=10):
        state = step(state, images, labels)
    ```
    """
    inner = _loader_in(loader)
    epochs = _check.integer(epochs, "epochs", low=1)
    grain = require("grain", extra="grain")
    threads = inner.threads
    options = grain.ReadOptions(threads, max(inner.prefetch, threads) if threads else 0)
    source = _InARow(_apart(loader), epochs, loader.clock.epoch, loader.clock.first)
    return grain.MapDataset.source(source).to_iter_dataset(options)


def _loader_in(batches: Any) -> Loader:
    """The loader that batches are made from."""
    inner = batches
    while isinstance(inner, Passes) and not isinstance(inner, Loader):
        inner = next((value for value in vars(inner).values() if isinstance(value, Passes)), None)
    if not isinstance(inner, Loader):
        raise TypeError(
            "`loader` must be a kd.datasets.Loader, or made from one, such as kd.datasets.Mixed. "
            f"Received: loader={batches!r:.100}"
        )
    return inner


def _counted(loader: Passes, batches: Iterator) -> Iterator:
    """Move the loader to its next pass with the last batch: `fit` asks for no further one."""
    epoch, first, count = loader.clock.epoch, loader.clock.first, len(loader)

    def counted() -> Iterator:
        for number, batch in enumerate(batches, start=1):
            if number == count:
                loader.clock.set(epoch + 1, first)
            yield batch

    return counted()


def _apart(batches: Passes) -> Passes:
    """Copy a loader for processes and threads of others: no threads, no common locks, same data."""
    own = copy.copy(batches)
    if isinstance(own, Loader):
        own.threads = 0
        own._first = FirstLabels(own.heads, len(own.dataset))
    for name, value in vars(own).items():
        if isinstance(value, Passes):
            setattr(own, name, _apart(value))
    return own


class _ByPlace:
    """A data set of torch: batches by epoch and number."""

    def __init__(self, batches: Passes) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, place: tuple[int, int]) -> tuple:
        return self.batches.batch(*place)


class _Places:
    """A sampler of torch: epochs and numbers of the batches of the next pass."""

    def __init__(self, loader: Passes) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        clock = self.loader.clock
        epoch = clock.epoch
        return iter([clock.place(number, epoch) for number in range(len(self.loader))])


def _tensors(batch: tuple) -> tuple:
    torch = require("torch", extra="torch")
    return tree.map_structure(lambda array: torch.from_numpy(np.asarray(array)), batch)


class _InARow:
    """A source of grain: batches of several epochs, from batch `first` of `epoch` on."""

    def __init__(self, batches: Passes, epochs: int, epoch: int, first: int) -> None:
        self.batches, self.epochs = batches, epochs
        self.start = epoch * len(batches) + first

    def __len__(self) -> int:
        return self.epochs * len(self.batches)

    def __getitem__(self, index: int) -> tuple:
        return self.batches.batch(*divmod(self.start + int(index), len(self.batches)))

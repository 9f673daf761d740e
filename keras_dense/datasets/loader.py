"""Batches of a data set for `fit`."""

import concurrent.futures
import math
import warnings
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np

from keras_dense import _check
from keras_dense._types import Array
from keras_dense.datasets.agreement import FirstLabels, check_classes
from keras_dense.datasets.collate import Collator
from keras_dense.datasets.passes import Passes
from keras_dense.datasets.sample import check_sample
from keras_dense.datasets.together import Together, check_together
from keras_dense.datasets.transforms.arguments import Transform
from keras_dense.datasets.transforms.compose import Compose
from keras_dense.heads.head import Head
from keras_dense.heads.model_heads import heads_from
from keras_dense.ops.replicas import launched_place


class Loader(Passes):
    """Batches `(images, targets)` of a data set, for `fit`, `evaluate` or a `for` loop.

    If samples have a `"weight"`, batches are `(images, targets, weights)`: the weight of each pixel
    in the loss, `(B, H, W)` for every head (see `kd.datasets.transforms.BorderWeights`).

    Threads read, transform and encode samples ahead of time. The samples of a batch and the random
    numbers of the transforms depend only on `seed`, the epoch and the index of the sample. So runs
    are reproducible with any number of workers, and a run that is continued at epoch `k`
    (`Loader(..., epoch=k)`) gets the same batches as an uninterrupted one.

    An epoch is a pass over the data. If `fit(steps_per_epoch=…)` is less than the length of the
    loader, a pass continues in the next epoch of `fit`: training uses every sample once before it
    uses one again. The next `fit` does not continue an unfinished pass of the previous one.

    Give `shuffle=False` to `fit`: by default Keras also shuffles the *order* of the batches, with
    global random numbers of Python, which is not reproducible.

    **Several processes** (docs/scale.md) get a share of each batch each, by `shard`. Shares of a
    batch are disjoint and of equal length, and together they are the batch that one process would
    get, with the same random transforms: process `r` of `n` has the samples `r`, `r + n`, … of it.
    So length, seed and epoch mean the same for any number of processes, and a run can continue with
    another number. `batch_size` is that of all processes together. Of `kd.datasets.together`, each
    process gets its part of both shares. With `pad`, images are padded to the largest of the share.

    Class weights belong to the loss (`class_weight` of the losses), not to
    `fit(class_weight=…)`, which expects a single label for each image.

    Args:
        dataset: object with `len(dataset)` and `dataset[i]`, a sample (see
            `keras_dense.datasets.sample`).
        heads: a head, a dict of heads, or a model that carries heads: they encode the targets, in
            the same structure. `None`: batches are `(images,)`.
        batch_size: int >= 1, of all processes together.
        transforms: callable `(sample, rng) -> sample`, or a sequence of them.
        shuffle: bool, whether to change the order in each epoch.
        seed: int >= 0.
        epoch: int >= 0, the first epoch.
        drop_last: bool, whether to leave out the last batch if it is not full. By default the same
            as `shuffle` (nothing is lost: other samples are last in the next epoch).
        pad: bool, whether to pad images with void, at the bottom and right, to the largest size in
            their batch; an int pads to its next multiple. With `False`, images of different sizes
            are an error.
        missing: `"raise"` or `"unknown"`, for samples without the annotation of a head (its key
            `head.target`). `"raise"` raises an error; with `"unknown"`, the head gets a target of
            unknown pixels, `head.unknown((height, width))`, so the image trains only the other
            heads.
        on_error: `"raise"` or `"skip"`, for samples that cannot be read, transformed or encoded.
            `"raise"` raises an error that names the sample. With `"skip"`, a warning names it and
            the next good sample in the order of the epoch replaces it, so batches keep their size,
            and all other samples their positions. `skipped` lists these samples; more than half of
            the data set is an error.
        workers: int >= 0, number of threads; with 0, samples are read when a batch is requested.
        prefetch: int >= 0, number of batches prepared ahead.
        shard: `None`: whole batches; `(rank, count)`: the share of process `rank` of `count`;
            `"auto"`: that of this process, as `torch.distributed` or `jax.distributed` numbers it.
            With TensorFlow, `"auto"` is the whole batch: `tf.distribute` divides it.

    Raises:
        TypeError: if `dataset` lacks a required method, or `heads` are not heads.
        ValueError: if a number is out of range, there is no batch, the data set has more classes
            (`num_classes`) than a head, a head has no target for unknown pixels with
            `missing="unknown"`, or a batch cannot be divided into equal shares.
        RuntimeError: with `shard="auto"`, if a launcher has started several processes that have not
            found each other.

    Warns:
        DatasetWarning: if the labels of the first samples are 0 and 255 alone, like black-and-white
            masks whose white was read as void, or void alone.

    Attributes:
        skipped: dict from the index of each skipped sample to its error message.
        shard: pair of ints, the rank of the process and the number of processes.

    Example:

    >>> import numpy as np
    >>> dataset = [{"image": np.full((2, 2, 3), i, "uint8")} for i in range(5)]
    >>> loader = Loader(dataset, None, batch_size=2)
    >>> [images[:, 0, 0, 0].tolist() for images, in loader]
    [[0, 1], [2, 3], [4]]
    >>> loader = Loader(dataset, None, batch_size=4, drop_last=True, shard=(1, 2))
    >>> [images[:, 0, 0, 0].tolist() for images, in loader]
    [[1, 3]]
    """

    def __init__(
        self,
        dataset: Any,
        heads: Head | Mapping[str, Head] | keras.Model | None,
        batch_size: int,
        *,
        transforms: Transform | Iterable[Transform] = (),
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        drop_last: bool | None = None,
        pad: bool | int = False,
        missing: str = "raise",
        on_error: str = "raise",
        workers: int = 2,
        prefetch: int = 4,
        shard: tuple[int, int] | str | None = None,
    ) -> None:
        for method in ("__len__", "__getitem__"):
            if not hasattr(dataset, method):
                raise TypeError(f"`dataset` must have {method}. Received: dataset={dataset!r}")
        pad = 1 if pad is True else (_check.integer(pad, "pad", low=1) if pad else 0)
        missing = _check.choice(missing, "missing", ("raise", "unknown"))
        self.dataset = dataset
        self.heads = None if heads is None else heads_from(heads)
        self.collator = Collator(self.heads, missing, pad)
        self.on_error = _check.choice(on_error, "on_error", ("raise", "skip"))
        self.skipped: dict[int, str] = {}
        self.batch_size = _check.integer(batch_size, "batch_size", low=1)
        self.transforms = Compose(transforms)
        check_classes(dataset, self.heads, self.transforms.transforms)
        self._first = FirstLabels(self.heads, len(dataset))
        self.shuffle = _check.flag(shuffle, "shuffle")
        self.seed = _check.integer(seed, "seed", low=0)
        self.drop_last = self.shuffle if drop_last is None else _check.flag(drop_last, "drop_last")
        self.threads = _check.integer(workers, "workers", low=0)
        self.prefetch = _check.integer(prefetch, "prefetch", low=0)
        count = len(dataset)
        batches = count // self.batch_size if self.drop_last else math.ceil(count / self.batch_size)
        if batches == 0:
            raise ValueError(
                "`dataset` must have samples for at least one batch. Received: "
                f"{count} samples, batch_size={self.batch_size}, drop_last={self.drop_last}"
            )
        self.shard = _shard(shard)
        self._check_shares(count)
        check_together(dataset, self.batch_size, self.shard[1])
        self._start()
        super().__init__(batches, epoch)

    def _check_shares(self, samples: int) -> None:
        """Raise an error if a batch cannot be divided into equal shares."""
        count = self.shard[1]
        if self.batch_size % count:
            raise ValueError(
                f"`batch_size` must be a multiple of the {count} processes that share each batch. "
                f"Received: batch_size={self.batch_size}, shard={self.shard}"
            )
        last = 0 if self.drop_last else samples % self.batch_size
        if last % count:
            raise ValueError(
                f"The last batch has {last} samples, which {count} processes cannot share equally. "
                "For training give drop_last=True. For validation leave `shard` out: every process "
                f"then gets all samples, and the same scores. Received: {samples} samples, "
                f"batch_size={self.batch_size}, shard={self.shard}"
            )

    def _start(self) -> None:
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        # From (epoch, batch) to the futures of its samples.
        self._ahead: dict[tuple[int, int], list[concurrent.futures.Future]] = {}
        self._orders: dict[int, Array] = {}
        self._previous: int | None = None

    def forget(self) -> None:
        for futures in self._ahead.values():
            for future in futures:
                future.cancel()
        self._ahead.clear()
        self._previous = None

    def indices(self, batch: int) -> Array:
        """Return the indices of the samples in a batch of this epoch, an int array.

        With `shard`, these are the samples of this process.
        """
        epoch, number = self.clock.place(self._number(batch))
        return self._order(epoch)[self._places(number)]

    def _places(self, number: int) -> slice:
        """Return the positions of a batch, or the share of it, in the order of an epoch."""
        rank, count = self.shard
        # Every `count`-th: so each share has its part of what `together` puts side by side.
        return slice(number * self.batch_size + rank, (number + 1) * self.batch_size, count)

    def _order(self, epoch: int) -> Array:
        order = self._orders.get(epoch)
        if order is None:
            order = self._new_order(epoch)
            self._orders = {**dict(list(self._orders.items())[-1:]), epoch: order}
        return order

    def _new_order(self, epoch: int) -> Array:
        if isinstance(self.dataset, Together):
            return self.dataset.order(self.seed, epoch, self.shuffle)
        order = np.arange(len(self.dataset))
        if not self.shuffle:
            return order
        # The third number of samples is index + 1, so 0 is free for the order.
        return np.random.default_rng((self.seed, epoch, 0)).permutation(order)

    def batch(self, epoch: int, number: int) -> tuple:
        """Return a batch of an epoch: `(images, targets)` or `(images, targets, weights)`."""
        samples = self._samples(epoch, number)
        if self.collator.pad:
            # Keras' TensorFlow backend infers the shape of all batches from the first two: with an
            # even number of steps in batch 0 and an odd one in batch 1, it learns that sizes vary.
            parity = number % 2 if number < 2 and len(self) > 1 else None
            samples = map(self.collator.encode, self.collator.pad_batch(samples, parity))
        self._first.warn()
        return self.collator.stack(list(samples), number)

    def asked(self, number: int) -> None:
        jumped = self._previous is not None and number not in (0, 1, self._previous + 1)
        self._previous = number
        if jumped and self.shuffle and not getattr(self, "_warned", False):
            self._warned = True
            warnings.warn(
                "batches of a Loader with shuffle=True are requested out of order: give "
                "shuffle=False to fit, or the order of the batches is not reproducible",
                stacklevel=4,
            )

    def _samples(self, epoch: int, number: int) -> list:
        """Read the samples of a batch, and submit the next batches to the threads."""
        places = range(len(self.dataset))
        if not self.threads:
            return [self._sample(epoch, place) for place in places[self._places(number)]]
        wanted = range(number, min(number + 1 + self.prefetch, len(self)))
        with self.clock.lock:
            for other in wanted:
                key = (epoch, other)
                if key not in self._ahead and (
                    other == number or len(self._ahead) <= self.prefetch
                ):
                    self._ahead[key] = [
                        self._submit(epoch, place) for place in places[self._places(other)]
                    ]
            futures = self._ahead.pop((epoch, number))
        return [future.result() for future in futures]

    def _submit(self, epoch: int, place: int) -> concurrent.futures.Future:
        if self._pool is None:
            pool = concurrent.futures.ThreadPoolExecutor(self.threads, "keras_dense.Loader")
            weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
            self._pool = pool
        return self._pool.submit(self._sample, epoch, place)

    def _sample(self, epoch: int, place: int) -> Any:
        """Read the sample at a position in the order of an epoch, or its replacement."""
        order = self._order(epoch)
        wanted = int(order[place])
        if self.on_error == "raise":
            return self._read(epoch, wanted, wanted)
        for step in range(len(order)):
            index = int(order[(place + step) % len(order)])
            if self._part(index) != self._part(wanted):
                continue
            try:
                return self._read(epoch, index, wanted)
            except (ImportError, MemoryError):
                raise  # not the sample's fault
            except Exception as error:
                self._skip(index, str(error))
        raise ValueError("Loader: all samples are faulty")

    def _part(self, index: int) -> int:
        """Return the part of `together` that a sample belongs to; 0 for other data sets."""
        return self.dataset.part(index) if isinstance(self.dataset, Together) else 0

    def _skip(self, index: int, text: str) -> None:
        with self.clock.lock:
            known = index in self.skipped
            self.skipped.setdefault(index, text)
            count = len(self.skipped)
        if count > len(self.dataset) / 2:
            raise ValueError(
                f"Loader: {count} of {len(self.dataset)} samples are faulty, more than half. The "
                f"last error: {text}"
            )
        if not known:
            warnings.warn(f"skipped and replaced by another sample: {text}", stacklevel=2)

    def _read(self, epoch: int, index: int, draws: int) -> Any:
        """Read sample `index`, transformed with the random numbers of sample `draws`."""
        try:
            sample = check_sample(self.dataset[index])
            rng = np.random.default_rng((self.seed, epoch, draws + 1))
            sample = self.transforms(sample, rng)
            # Padded samples are encoded again later, but errors must name the sample.
            parts = self.collator.encode(sample)
            with self.clock.lock:
                self._first.look(sample, parts[1])
            return sample if self.collator.pad else parts
        except MemoryError:
            raise
        except Exception as error:
            where = f"Loader: sample {index}{self._describe(index)}"
            kinds = (FileNotFoundError, ImportError, TypeError, ValueError)
            kind = next((k for k in kinds if isinstance(error, k)), RuntimeError)
            raise kind(f"{where}: {error or type(error).__name__}") from error

    def _describe(self, index: int) -> str:
        describe = getattr(self.dataset, "describe", None)
        if describe is None:
            name = getattr(self.dataset, "name", None)
            return f" of {name}" if name else ""
        return f" ({describe(index)})"

    def __getstate__(self) -> dict[str, Any]:
        left_out = ("_pool", "_ahead", "_orders")
        return {key: v for key, v in super().__getstate__().items() if key not in left_out}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start()
        super().__setstate__(state)


def _shard(given: Any) -> tuple[int, int]:
    """Return rank and number of the processes that share each batch.

    >>> _shard((1, 4)), _shard(None)
    ((1, 4), (0, 1))
    """
    if given is None:
        return 0, 1
    if isinstance(given, str) and given == "auto":
        return launched_place()
    try:
        rank, count = _check.integers(given, "shard", low=0, length=2)
        good = rank < count
    except ValueError:
        good = False
    if not good:
        raise _check.fail("shard", "'auto', None or (rank, count) with 0 <= rank < count", given)
    return rank, count

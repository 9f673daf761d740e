"""From samples to batches: what `fit` eats."""

import collections
import concurrent.futures
import math
import warnings
import weakref

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense.datasets.passes import Passes
from keras_dense.datasets.sample import check_sample, pad_sample
from keras_dense.datasets.transforms.compose import Compose
from keras_dense.heads.model_heads import heads_from


class Loader(Passes):
    """Batches `(images, targets)` of a dataset, for `fit`, `evaluate` or a `for` loop.

    Where samples have a `"weight"`, batches are `(images, targets, weights)`: what each pixel
    counts in the loss, `(B, H, W)` for every head (such as `kd.datasets.transforms.BorderWeights`).

    Samples are read, transformed and encoded by threads, ahead of what is asked for. Everything is
    decided by `seed`, the epoch and the sample's index alone: which samples make up a batch, and
    what the transforms draw. So runs repeat exactly whatever the number of workers is, and a run
    that is taken up at epoch `k` (`Loader(..., epoch=k)`) sees what it would have seen.

    The epoch counts passes over the data. With `fit(steps_per_epoch=…)` below the length of the
    loader a pass goes on in the next epoch of `fit`: every sample is trained on once before one
    comes again. A pass that `fit` has begun and not ended is not taken up by the next `fit`.

    Pass `shuffle=False` to `fit`: by default it exchanges the *order* of the batches as well, with
    Python's global random numbers, which nobody can repeat.

    Classes are weighed by the loss (`class_weight` of the losses), not by `fit(class_weight=…)`,
    which knows one label for each image only.

    Args:
        dataset: has `len(dataset)` and `dataset[i]`, a sample (see `keras_dense.datasets.sample`).
        heads: a head, a dict of heads, or a model that carries heads: they encode the targets, in
            their structure. `None`: batches are `(images,)`.
        batch_size: int.
        transforms: callable `(sample, rng) -> sample`, or a sequence of them.
        shuffle: bool, another order in each epoch.
        seed: int >= 0.
        epoch: int >= 0, the first epoch.
        drop_last: bool: leave out the last batch if it is not full. By default exactly if
            `shuffle` is set (nothing is lost: other samples are last in the next epoch).
        pad: images of different sizes are padded by void, at the bottom and right, to the largest
            of their batch; an int pads to the next multiple of it, too. `False`: they are an error.
        missing: what happens where a sample lacks the annotation of a head (its key `head.target`):
            `"raise"`, an error; or `"unknown"`: the head gets a target of which nothing is known,
            `head.unknown((height, width))`, so that the image trains the other heads alone.
        on_error: what happens where a sample cannot be read, transformed or encoded: `"raise"`, an
            error that names it; or `"skip"`: a warning names it, and the next good one in the order
            of the epoch takes its place, so that batches keep their size and all other samples
            their places. What was skipped is in `skipped`. It is an error if that is more than
            half of the data set.
        workers: int, how many threads; 0: the caller does the work.
        prefetch: int, how many batches are prepared ahead.

    Raises:
        TypeError: if `dataset` or a head lacks what is needed.
        ValueError: if a number is out of range or there is not one batch.

    Attributes:
        skipped: dict from the index of each sample that was skipped to what was wrong with it.

    Example:

    >>> import numpy as np
    >>> dataset = [{"image": np.full((2, 2, 3), i, "uint8")} for i in range(5)]
    >>> loader = Loader(dataset, None, batch_size=2)
    >>> [images[:, 0, 0, 0].tolist() for images, in loader]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        dataset,
        heads,
        batch_size,
        *,
        transforms=(),
        shuffle=False,
        seed=0,
        epoch=0,
        drop_last=None,
        pad=False,
        missing="raise",
        on_error="raise",
        workers=2,
        prefetch=4,
    ):
        for method in ("__len__", "__getitem__"):
            if not hasattr(dataset, method):
                raise TypeError(f"Loader: dataset must have {method}. Received: {dataset!r}")
        if missing not in ("raise", "unknown"):
            raise ValueError(
                f'Loader: missing must be "raise" or "unknown". Received: missing={missing!r}'
            )
        if on_error not in ("raise", "skip"):
            raise ValueError(
                f'Loader: on_error must be "raise" or "skip". Received: on_error={on_error!r}'
            )
        self.dataset = dataset
        self.heads = None if heads is None else heads_from(heads)
        if missing == "unknown" and self.heads is not None:
            for head in self.heads.values():
                head.unknown((1, 1))  # An error now for a head that has no such target.
        self.missing = missing
        self.on_error = on_error
        self.skipped = {}
        self.batch_size = _check.integer(batch_size, "batch_size", low=1)
        self.transforms = Compose(transforms)
        self.shuffle = bool(shuffle)
        self.seed = _check.integer(seed, "seed", low=0)
        self.drop_last = self.shuffle if drop_last is None else bool(drop_last)
        self.pad = 1 if pad is True else (_check.integer(pad, "pad", low=1) if pad else 0)
        self.threads = _check.integer(workers, "workers", low=0)
        self.prefetch = _check.integer(prefetch, "prefetch", low=0)
        count = len(dataset)
        batches = count // self.batch_size if self.drop_last else math.ceil(count / self.batch_size)
        if batches == 0:
            raise ValueError(
                f"Loader: there is not one batch: {count} samples, batch_size={self.batch_size}, "
                f"drop_last={self.drop_last}"
            )
        self._start()
        super().__init__(batches, epoch)

    def _start(self):
        self._pool = None
        self._ahead = collections.OrderedDict()  # (epoch, batch) -> futures of its samples
        self._orders = {}
        self._previous = None

    def forget(self):
        for futures in self._ahead.values():
            for future in futures:
                future.cancel()
        self._ahead.clear()
        self._previous = None

    def indices(self, batch):
        """The indices of the samples in `batch` (of this epoch), an int array."""
        epoch, number = self.clock.place(self._number(batch))
        return self._order(epoch)[self._places(number)]

    def _places(self, number):
        """The part of an epoch's order that is batch `number`."""
        return slice(number * self.batch_size, (number + 1) * self.batch_size)

    def _order(self, epoch):
        order = self._orders.get(epoch)
        if order is None:
            order = np.arange(len(self.dataset))
            if self.shuffle:
                # Index + 1 is a sample's third number, so 0 is free for the order.
                order = np.random.default_rng((self.seed, epoch, 0)).permutation(order)
            self._orders = {**dict(list(self._orders.items())[-1:]), epoch: order}
        return order

    def batch(self, epoch, number):
        """Batch `number` of `epoch`: `(images, targets)`, or with weights."""
        return self._collate(number, self._samples(epoch, number))

    def asked(self, number):
        jumped = self._previous is not None and number not in (0, 1, self._previous + 1)
        self._previous = number
        if jumped and self.shuffle and not getattr(self, "_warned", False):
            self._warned = True
            warnings.warn(
                "batches of a shuffling Loader are asked for out of order: pass shuffle=False to "
                "fit, or the order of the batches cannot be repeated",
                stacklevel=4,
            )

    def _samples(self, epoch, number):
        """Samples of a batch; the next batches are sent to the threads, too."""
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

    def _submit(self, epoch, place):
        if self._pool is None:
            pool = concurrent.futures.ThreadPoolExecutor(self.threads, "keras_dense.Loader")
            weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
            self._pool = pool
        return self._pool.submit(self._sample, epoch, place)

    def _sample(self, epoch, place):
        """The sample at a place in the order of an epoch, or the one that stands in for it."""
        order = self._order(epoch)
        wanted = int(order[place])
        if self.on_error == "raise":
            return self._read(epoch, wanted, wanted)
        for step in range(len(order)):
            index = int(order[(place + step) % len(order)])
            try:
                return self._read(epoch, index, wanted)
            except (ImportError, MemoryError):
                raise  # not the sample's fault
            except Exception as error:
                self._skip(index, str(error))
        raise ValueError("Loader: there is not one good sample")

    def _skip(self, index, text):
        with self.clock.lock:
            known = index in self.skipped
            self.skipped.setdefault(index, text)
            count = len(self.skipped)
        if count > len(self.dataset) / 2:
            raise ValueError(
                f"Loader: {count} of {len(self.dataset)} samples are faulty, more than half, the "
                f"last one: {text}"
            )
        if not known:
            warnings.warn(f"skipped, another one takes its place: {text}", stacklevel=2)

    def _read(self, epoch, index, draws):
        """Sample `index`, changed by what the transforms draw for sample `draws`."""
        try:
            sample = check_sample(self.dataset[index])
            rng = np.random.default_rng((self.seed, epoch, draws + 1))
            sample = self.transforms(sample, rng)
            # Where batches are padded targets are made later; what is wrong with one shows here.
            parts = self._parts(sample)
            return sample if self.pad else parts
        except MemoryError:
            raise
        except Exception as error:
            where = f"Loader: sample {index}{self._describe(index)}"
            kinds = (FileNotFoundError, ImportError, TypeError, ValueError)
            kind = next((k for k in kinds if isinstance(error, k)), RuntimeError)
            raise kind(f"{where}: {error or type(error).__name__}") from error

    def _describe(self, index):
        describe = getattr(self.dataset, "describe", None)
        if describe is None:
            name = getattr(self.dataset, "name", None)
            return f" of {name}" if name else ""
        return f" ({describe(index)})"

    def _parts(self, sample):
        """What is stacked: image, targets, and the weights or `None`."""
        return sample["image"], self._encode(sample), sample.get("weight")

    def _encode(self, sample):
        if self.heads is None:
            return {}
        return self.heads.map(lambda _, head: self._target(head, sample))

    def _target(self, head, sample):
        if self.missing == "unknown" and head.target not in sample:
            return np.asarray(head.unknown(sample["image"].shape[:2]))
        return as_array(head.encode(sample), "target")

    def _collate(self, batch, samples):
        if self.pad:
            samples = self._padded(batch, samples)
        images, targets, weights = zip(*samples, strict=True)
        shapes = {np.shape(image) for image in images}
        if len(shapes) > 1:
            sizes = ", ".join(f"{h} x {w}" for h, w, _ in sorted(shapes))
            raise ValueError(
                f"Loader: images of different sizes in batch {batch}: {sizes} (height x width). "
                "Bring them to one size with transforms (RandomCrop, CenterCrop, Resize), or set "
                "pad=True"
            )
        images = np.stack(images)
        if self.heads is None:
            return (images,)
        weighted = sum(weight is not None for weight in weights)
        if 0 < weighted < len(weights):
            raise ValueError(
                f"Loader: {weighted} of the {len(weights)} samples in batch {batch} have a "
                "'weight'. All of them must, or none."
            )
        weights = np.stack(weights).astype("float32") if weighted else None
        parts = [self.heads.unpack(t) for t in targets]
        targets = self.heads.map(lambda key, _: _stack([part[key] for part in parts], key))
        if weights is not None:
            weights = self.heads.map(lambda *_: weights)
        return (images, targets) if weights is None else (images, targets, weights)

    def _padded(self, batch, samples):
        heights, widths = zip(*(s["image"].shape[:2] for s in samples), strict=True)
        # Keras' TensorFlow backend takes the first two batches for what all will look like: give
        # batch 0 an even and batch 1 an odd number of steps, and it knows that sizes vary.
        odd = batch % 2 if batch < 2 and len(self) > 1 else None
        height, width = (self._round_up(max(sizes), odd) for sizes in (heights, widths))
        out = []
        for sample in samples:
            h, w = sample["image"].shape[:2]
            sample = pad_sample(sample, 0, height - h, 0, width - w)
            out.append(self._parts(sample))
        return out

    def _round_up(self, size, odd):
        steps = -(-size // self.pad)
        if odd is not None and steps % 2 != odd:
            steps += 1
        return steps * self.pad

    def __getstate__(self):
        left_out = ("_pool", "_ahead", "_orders")
        return {key: v for key, v in super().__getstate__().items() if key not in left_out}

    def __setstate__(self, state):
        self._start()
        super().__setstate__(state)


def _stack(targets, key):
    shapes = {np.shape(target) for target in targets}
    if len(shapes) > 1:
        raise ValueError(
            f"Loader: targets of {key or 'the head'!r} have different shapes in one batch: {sorted(shapes)}"
        )
    return np.stack(targets)

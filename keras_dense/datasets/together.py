"""Labeled and weakly annotated samples in every batch, in fixed shares."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Sample
from keras_dense.datasets.agreement import DatasetWarning
from keras_dense.datasets.parts import Wrapped, describe
from keras_dense.datasets.sample import VOID, check_sample

# Share of known pixels above which a mask is no scribble.
_MOST = 0.5


class Together(Wrapped):
    """Data set of two data sets, of which a `Loader` takes fixed shares; see `together`.

    Attributes:
        shares: pair of ints, samples of each in a batch.
        parts: pair of data sets.
    """

    name = "together"

    def __init__(self, labeled: Any, weak: Any, shares: tuple[int, int]) -> None:
        super().__init__(labeled)
        self.parts = (labeled, weak)
        self.shares = shares
        sizes = [len(part) for part in self.parts]
        self.batches = max(math.ceil(n / k) for n, k in zip(sizes, shares, strict=True))
        # An epoch uses a shorter part several times, each time with another index: transforms draw
        # their random numbers by it.
        self._rounds = [math.ceil(self.batches * k / n) for n, k in zip(sizes, shares, strict=True)]
        self._first = self._rounds[0] * sizes[0]  # index of the first sample of the second part

    def __len__(self) -> int:
        return self.batches * sum(self.shares)

    def __getitem__(self, index: int) -> Sample:
        which, place = self.place(index)
        sample = check_sample(self.parts[which][place])
        if "weight" in sample:
            return sample
        # Padding has weight 0: it is not filled with labels like void pixels of the image.
        return {**sample, "weight": np.ones(sample["image"].shape[:2], np.float32)}

    def place(self, index: int) -> tuple[int, int]:
        """Return the part of a sample, 0 or 1, and its number there."""
        which = self.part(index)
        return which, (index - which * self._first) % len(self.parts[which])

    def part(self, index: int) -> int:
        """Return 0 for the index of a labeled sample, 1 for that of a weak one."""
        return int(index >= self._first)

    def order(self, seed: int, epoch: int, shuffle: bool) -> Array:
        """Return the indices of an epoch, batch after batch, labeled samples first in each."""
        rows = []
        for which, (rounds, share) in enumerate(zip(self._rounds, self.shares, strict=True)):
            count = len(self.parts[which])
            rng = np.random.default_rng((seed, epoch, 0, which))
            turns = [rng.permutation(count) if shuffle else np.arange(count) for _ in range(rounds)]
            indices = np.concatenate([turn + i * count for i, turn in enumerate(turns)])
            chosen = indices[: self.batches * share] + which * self._first
            rows.append(chosen.reshape(self.batches, share))
        return np.concatenate(rows, axis=1).ravel()

    def describe(self, index: int) -> str:
        """Return a description of a sample, for messages."""
        which, place = self.place(index)
        return f"{('labeled', 'weak')[which]}: {describe(self.parts[which], place)}"

    def __repr__(self) -> str:
        sizes = " + ".join(str(len(part)) for part in self.parts)
        return f"<together: {sizes} samples, {self.shares[0]} + {self.shares[1]} in a batch>"


def together(labeled: Any, weak: Any, *, shares: Sequence[int] = (4, 4)) -> Together:
    """Put samples of two data sets into every batch, in fixed shares.

    For training with few masks and many images that have none, or only tags or scribbles. An epoch
    is a pass over the longer part, measured in batches; the shorter one is repeated, in another
    order and with other random transforms each time.

    ```python
    both = kd.datasets.together(few, many, shares=(4, 4))
    loader = kd.datasets.Loader(both, heads, 8, shuffle=True, missing="unknown", seed=0)
    ```

    The batches depend on the seed and the epoch of the loader only, so a run can be continued.
    Samples get a `"weight"` of 1 for each pixel unless they have one: transforms that pad give the
    padding the weight 0, so it is told from void pixels of the image.

    Masks of the weak data set are used as they are: pixels of scribbles teach. Give
    `kd.datasets.weaken(weak, "tags")` to hide them.

    Args:
        labeled: a data set of samples with masks or other annotations of pixels.
        weak: a data set of samples without, or with few known pixels; it may have tags.
        shares: two ints >= 1, the number of samples of each in a batch. The `batch_size` of the
            loader is their sum.

    Returns:
        A data set for `kd.datasets.Loader`, with the attributes of `labeled`.

    Raises:
        ValueError: if `shares` leave no sample of one of them in a batch, a data set is empty, the
            classes of both differ, or the first labeled sample has no known pixel.

    Warns:
        DatasetWarning: if most pixels of the first weak sample have a label: its masks will be
            used.

    Example:

    >>> from keras_dense.datasets import Loader, scenes, subset, weaken
    >>> world = scenes(10, size=(8, 8))
    >>> both = together(subset(world, 2), weaken(world, "tags"), shares=(1, 3))
    >>> loader = Loader(both, None, 4, shuffle=True)
    >>> len(loader), loader.indices(0)[:1] < 4
    (4, array([ True]))
    """
    pair = _check.integers(shares, "shares", low=1, length=2)
    for name, part in (("labeled", labeled), ("weak", weak)):
        if len(part) == 0:
            raise ValueError(f"`{name}` must have samples. Received: an empty data set")
    _check_classes(labeled, weak)
    first = check_sample(labeled[0])
    if not _has_pixels(first):
        raise ValueError(
            "`labeled` must have masks or other annotations of pixels. Received: a first sample "
            f"with {', '.join(map(repr, first))}, without a known pixel ({describe(labeled, 0)})"
        )
    share = known_share(check_sample(weak[0]))
    if share > _MOST:
        warnings.warn(
            f"The first weak sample has a label at {share:.0%} of its pixels "
            f"({describe(weak, 0)}): masks of `weak` are used for training. Give "
            "kd.datasets.weaken(weak, 'tags') to keep only the tags.",
            DatasetWarning,
            stacklevel=2,
        )
    return Together(labeled, weak, (pair[0], pair[1]))


def check_together(dataset: Any, batch_size: int, processes: int = 1) -> None:
    """Raise if a loader cannot keep the shares of `together`, in each of several processes.

    Raises:
        ValueError: for another size of a batch than the sum of the shares, or shares that cannot be
            divided among the processes.
        TypeError: for a subset or copy of such a data set, which has no order of its own.
    """
    if isinstance(dataset, Together):
        if batch_size != sum(dataset.shares):
            raise ValueError(
                f"`batch_size` must be {sum(dataset.shares)}, the sum of the shares of `together`. "
                f"Received: batch_size={batch_size}, shares={dataset.shares}"
            )
        if any(share % processes for share in dataset.shares):
            raise ValueError(
                f"`shares` of `together` must be multiples of {processes}, so that each of "
                f"{processes} processes gets samples of both in every batch. Received: "
                f"shares={dataset.shares}"
            )
        return
    inner = dataset
    while isinstance(inner, Wrapped):
        inner = inner.dataset
        if isinstance(inner, Together):
            raise TypeError(
                "`dataset` must be the result of `together` itself: give it subsets, or data sets "
                f"in memory, instead. Received: {type(dataset).__name__} of {inner!r}"
            )


def known_share(sample: Sample) -> float:
    """Return the share of pixels of a sample that have a label; 0 without a mask.

    >>> known_share({"segmentation": np.array([[0, 255]])})
    0.5
    """
    labels = sample.get("segmentation")
    return 0.0 if labels is None else float((np.asarray(labels) != VOID).mean())


def _has_pixels(sample: Sample) -> bool:
    others = {"image", "tags", "interactions", "weight", "intrinsics", "segmentation"}
    size = sample["image"].shape[:2]
    arrays = (v for key, v in sample.items() if key not in others)
    return known_share(sample) > 0 or any(np.shape(v)[:2] == size for v in arrays)


def _check_classes(labeled: Any, weak: Any) -> None:
    for name in ("class_names", "num_classes"):
        own, other = getattr(labeled, name, None), getattr(weak, name, None)
        if own is not None and other is not None and own != other:
            raise ValueError(
                f"`labeled` and `weak` must have the same classes. Received: {name}={own!r} and "
                f"{other!r}"
            )

"""Parts of datasets, and datasets in memory."""

import math
import numbers

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array, as_labels


class _Wrapped:
    """Hands on what is known of the dataset inside."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getattr__(self, name):
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class _Subset(_Wrapped):
    def __init__(self, dataset, indices):
        super().__init__(dataset)
        self.indices = indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[int(self.indices[index])]

    def describe(self, index):
        """What sample `index` is, for messages."""
        return describe(self.dataset, int(self.indices[index]))


class _Cached(_Wrapped):
    def __init__(self, dataset):
        super().__init__(dataset)
        self._samples = {}

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        # Two threads may both read a sample the first time: the second one is thrown away.
        if index not in self._samples:
            sample = self.dataset[index]
            for value in sample.values():
                if isinstance(value, np.ndarray):
                    value.flags.writeable = False
            self._samples.setdefault(index, sample)
        return dict(self._samples[index])

    def describe(self, index):
        """What sample `index` is, for messages."""
        return describe(self.dataset, index)


def subset(dataset, indices):
    """Some samples of a dataset, in the order given.

    Args:
        dataset: a dataset.
        indices: integers, a slice, an int `n` for the first `n`, or a bool for each sample.

    Returns:
        A dataset that knows what `dataset` knows (class names, palette ...).

    Raises:
        IndexError: if an index is out of range.
        ValueError: if `indices` are something else.

    Example:

    >>> subset(list("abcdef"), slice(1, None, 2))[0]
    'b'
    """
    count = len(dataset)
    if isinstance(indices, slice):
        indices = range(count)[indices]
    elif np.ndim(indices) == 0:
        indices = range(count)[: _check.integer(indices, "indices")]
    indices = _indices(indices, count)
    if ((indices < -count) | (indices >= count)).any():
        raise IndexError(f"subset: indices must be below {count}. Received: max {indices.max()}")
    return _Subset(dataset, indices % max(count, 1))


def _indices(indices, count):
    """An int array, of integers or of a bool for each sample."""
    if np.size(indices) == 0:
        return np.zeros(0, int)
    indices = as_array(indices, "indices")
    if indices.dtype.kind == "b" and indices.shape == (count,):
        return np.flatnonzero(indices)
    if indices.dtype.kind == "b" or indices.ndim != 1:
        raise ValueError(
            f"subset: indices must be a list of integers, or {count} booleans, one a sample. "
            f"Received: {indices.dtype} of shape {indices.shape}"
        )
    return as_labels(indices, "indices").astype(int)


def split(dataset, fraction=0.8, seed=0):
    """Divide a dataset at random, always alike for a seed.

    Args:
        dataset: a dataset.
        fraction: float between 0 and 1, how much of it is in the first part.
        seed: int.

    Returns:
        Two datasets without a common sample, each in the order of the whole.

    Raises:
        ValueError: if a part would be empty.

    Example:

    >>> [len(part) for part in split(list(range(10)), 0.7)]
    [7, 3]
    """
    number = isinstance(fraction, numbers.Real) and math.isfinite(fraction)
    first = round(len(dataset) * float(fraction)) if number else 0
    if not 0 < first < len(dataset):
        raise ValueError(
            f"split: both parts must have a sample. Received: {len(dataset)} samples, "
            f"fraction={fraction!r}"
        )
    order = np.random.default_rng(_check.integer(seed, "seed", low=0)).permutation(len(dataset))
    return _Subset(dataset, np.sort(order[:first])), _Subset(dataset, np.sort(order[first:]))


def cached(dataset):
    """Keep decoded samples in memory: the first epoch reads, the others do not.

    Their arrays are made read-only. CamVid's training split takes 250 MB so.

    Args:
        dataset: a dataset.

    Returns:
        A dataset that knows what `dataset` knows.

    >>> from keras_dense.datasets import scenes
    >>> world = cached(scenes(2, size=(16, 16)))
    >>> world[0]["image"] is world[0]["image"]
    True
    """
    return _Cached(dataset)


def describe(dataset, index):
    """What sample `index` of a dataset is, for messages."""
    own = getattr(dataset, "describe", None)
    return str(own(index)) if own else getattr(dataset, "name", type(dataset).__name__)

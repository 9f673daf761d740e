"""Subsets of data sets, and the base of data sets around another."""

from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array, as_labels
from keras_dense._types import Array, ArrayLike, Sample
from keras_dense.datasets.samples import Samples


class Wrapped(Samples):
    """Data set with the attributes of the one inside."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "dataset":
            raise AttributeError(name)
        return getattr(self.dataset, name)


class Subset(Wrapped):
    """Samples of a data set by their numbers; see `subset`."""

    def __init__(self, dataset: Any, indices: Array) -> None:
        super().__init__(dataset)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.dataset[int(self.indices[index])]

    def describe(self, index: int) -> str:
        """Return a description of a sample, for messages."""
        return describe(self.dataset, int(self.indices[index]))


def subset(dataset: Any, indices: int | slice | ArrayLike) -> Subset:
    """Select samples of a data set, in the order given.

    Args:
        dataset: a data set.
        indices: integers, a slice, an int `n` for the first `n`, or a bool for each sample.

    Returns:
        A data set with the attributes of `dataset` (class names, palette ...).

    Raises:
        IndexError: if an index is out of range.
        ValueError: if `indices` are of another kind.

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
        raise IndexError(
            f"`indices` must be below {count}. Received: {indices.max()} as the largest"
        )
    return Subset(dataset, indices % max(count, 1))


def _indices(indices: ArrayLike, count: int) -> Array:
    """Convert indices, or a bool for each sample, to an int array."""
    if np.size(indices) == 0:
        return np.zeros(0, int)
    indices = as_array(indices, "indices")
    if indices.dtype.kind == "b" and indices.shape == (count,):
        return np.flatnonzero(indices)
    if indices.dtype.kind == "b" or indices.ndim != 1:
        raise ValueError(
            f"`indices` must be a list of integers, or {count} booleans, one per sample. "
            f"Received: {indices.dtype} of shape {indices.shape}"
        )
    return as_labels(indices, "indices").astype(int)


def split(dataset: Any, fraction: float = 0.8, *, seed: int = 0) -> tuple[Subset, Subset]:
    """Split a data set at random; the same seed gives the same split.

    Args:
        dataset: a data set.
        fraction: float between 0 and 1, share of the samples in the first part.
        seed: int >= 0.

    Returns:
        Two data sets without a common sample, each in the original order.

    Raises:
        ValueError: if a part would be empty.

    Example:

    >>> [len(part) for part in split(list(range(10)), 0.7)]
    [7, 3]
    """
    first = round(len(dataset) * _check.number(fraction, "fraction", 0, 1))
    if not 0 < first < len(dataset):
        raise ValueError(
            "`fraction` must leave a sample in both parts. Received: "
            f"fraction={fraction!r}, with {len(dataset)} samples"
        )
    order = np.random.default_rng(_check.integer(seed, "seed", low=0)).permutation(len(dataset))
    return Subset(dataset, np.sort(order[:first])), Subset(dataset, np.sort(order[first:]))


def describe(dataset: Any, index: int) -> str:
    """Return a description of a sample of a data set, for messages."""
    own = getattr(dataset, "describe", None)
    return str(own(index)) if own else getattr(dataset, "name", type(dataset).__name__)

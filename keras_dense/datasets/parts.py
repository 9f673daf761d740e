"""Parts of datasets, datasets in memory, and datasets that were looked through."""

import concurrent.futures
import numbers
import threading

import numpy as np

from keras_dense.datasets.sample import check_sample


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
        return _describe(self.dataset, int(self.indices[index]))


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
        return _describe(self.dataset, index)


def subset(dataset, indices):
    """Some samples of a dataset, in the order given.

    Args:
        dataset: a dataset.
        indices: integers, a slice, or an int `n` for the first `n`.

    Returns:
        A dataset that knows what `dataset` knows (class names, palette ...).

    Raises:
        IndexError: if an index is out of range.

    Example:

    >>> subset(list("abcdef"), slice(1, None, 2))[0]
    'b'
    """
    count = len(dataset)
    if isinstance(indices, numbers.Integral):
        indices = slice(int(indices))
    if isinstance(indices, slice):
        indices = range(count)[indices]
    indices = np.zeros(0, int) if np.size(indices) == 0 else as_labels(indices, "indices")
    if indices.ndim != 1:
        raise ValueError(f"subset: indices must be a list. Received: shape {indices.shape}")
    if ((indices < -count) | (indices >= count)).any():
        raise IndexError(f"subset: indices must be below {count}. Received: max {indices.max()}")
    return _Subset(dataset, indices % max(count, 1))


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
    first = round(len(dataset) * fraction)
    if not 0 < first < len(dataset):
        raise ValueError(
            f"split: both parts must have a sample. Received: {len(dataset)} samples, "
            f"fraction={fraction!r}"
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
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


def check(dataset, workers=2):
    """Read all samples and report every fault at once.

    Args:
        dataset: a dataset.
        workers: int, how many threads read.

    Returns:
        A dict: `"samples"`, their number; `"sizes"`, a dict from `(height, width)` to how many
        have it; `"pixels"`, an int array of how many pixels each class has, and `"void"`, how many
        have none (the last two only for a dataset with labels and `num_classes`).

    Raises:
        ValueError: if samples are faulty; the message has a line for each.

    Example:

    >>> import keras_dense.datasets
    >>> report = check(keras_dense.datasets.scenes(count=2, size=16))
    >>> report["sizes"], int(report["pixels"].sum())
    ({(16, 16): 2}, 512)
    """
    classes = getattr(dataset, "num_classes", None)
    faults, sizes, lock = [], {}, threading.Lock()
    pixels = np.zeros(256 if classes is None else max(classes, 255) + 1, np.int64)

    def look(index):
        try:
            sample = check_sample(dataset[index])
        except Exception as error:
            with lock:
                faults.append((index, f"sample {index}: {error or type(error).__name__}"))
            return
        size = sample["image"].shape[:2]
        labels = sample.get("segmentation")
        found = {}
        if labels is not None and classes is not None:
            found = dict(zip(*np.unique(labels, return_counts=True), strict=True))
        bad = [int(label) for label in found if label != 255 and not 0 <= label < classes]
        with lock:
            sizes[size] = sizes.get(size, 0) + 1
            if bad:
                where = _describe(dataset, index)
                faults.append((index, f"sample {index}: {where}: labels {bad} of {classes}"))
                return
            for label, count in found.items():
                pixels[label] += count

    with concurrent.futures.ThreadPoolExecutor(max(1, workers)) as pool:
        list(pool.map(look, range(len(dataset))))
    if faults:
        lines = "\n  ".join(text for _, text in sorted(faults))
        raise ValueError(f"{len(faults)} of {len(dataset)} samples are faulty:\n  {lines}")
    report = {"samples": len(dataset), "sizes": dict(sorted(sizes.items()))}
    if classes is not None and pixels.any():
        report.update(pixels=pixels[:classes].copy(), void=int(pixels[255]))
    return report


def _describe(dataset, index):
    describe = getattr(dataset, "describe", None)
    return describe(index) if describe else getattr(dataset, "name", type(dataset).__name__)

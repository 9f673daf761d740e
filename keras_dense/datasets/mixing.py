"""Batches whose images have parts of other images of the batch: CutMix and ClassMix."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import tree

from keras_dense import _check
from keras_dense._types import Array
from keras_dense.datasets.passes import Passes, random_numbers
from keras_dense.datasets.sample import VOID
from keras_dense.datasets.transforms.cut_out import box, shares

# From the size of images, and the labels (H, W) of the other image or `None`, to a bool (H, W):
# the pixels that come from the other image.
Mix = Callable[[tuple[int, int], Array | None, np.random.Generator], Array]


class BoxMix:
    """Take a box from the other image (CutMix).

    Args:
        area: pair of shares of the image; that of the box is drawn uniformly between them.
        probability: float from 0 to 1, share of the images that are changed.

    Raises:
        ValueError: if a number is out of range.

    Reference: Yun et al., "CutMix", ICCV 2019; for labels of pixels, French et al.,
        "Semi-supervised semantic segmentation needs strong, varied perturbations", BMVC 2020.

    Example:

    >>> mix = BoxMix((0.25, 0.25), probability=1)
    >>> int(mix((8, 8), None, np.random.default_rng(0)).sum())
    15
    """

    def __init__(self, area: tuple[float, float] = (0.1, 0.5), *, probability: float = 0.5) -> None:
        self.area = shares(area, "area")
        self.probability = _check.number(probability, "probability", 0, 1)

    def __call__(
        self, size: tuple[int, int], labels: Array | None, rng: np.random.Generator
    ) -> Array:
        chance, draw = rng.random(), rng.random(4)
        taken: Array = np.zeros(size, bool)
        if chance < self.probability:
            taken[box(size, self.area, draw)] = True
        return taken


class ClassMix:
    """Take the pixels of half of the classes of the other image, as far as it has labels.

    Args:
        probability: float from 0 to 1, share of the images that are changed.

    Raises:
        ValueError: if the probability is out of range.

    Reference: Olsson et al., "ClassMix", WACV 2021.

    Example:

    >>> labels = np.array([[0, 0, 1, 255]])
    >>> ClassMix(probability=1)((1, 4), labels, np.random.default_rng(0)).tolist()
    [[False, False, True, False]]
    """

    def __init__(self, *, probability: float = 0.5) -> None:
        self.probability = _check.number(probability, "probability", 0, 1)

    def __call__(
        self, size: tuple[int, int], labels: Array | None, rng: np.random.Generator
    ) -> Array:
        chance, order = rng.random(), rng.random(VOID)
        if chance >= self.probability or labels is None:
            return np.zeros(size, bool)
        classes = np.unique(labels[labels != VOID])
        ranks = np.argsort(order[classes % VOID])
        return np.isin(labels, classes[ranks[: (len(classes) + 1) // 2]])


def mixing_maps(
    images: Array, labels: Array | None, mix: Mix, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Draw for each image of a batch the other one, and the pixels that come from it.

    Args:
        images: `(B, H, W, C)`.
        labels: `(B, H, W)` or `None`.
        mix: see `Mixed`.
        rng: NumPy generator.

    Returns:
        Numbers of the other images, int32 `(B,)`, and bool `(B, H, W)`.
    """
    count, size = len(images), images.shape[1:3]
    partner = np.roll(np.arange(count), 1)  # never itself, if there are two
    order = rng.permutation(count)
    partner = order[partner[np.argsort(order)]]
    taken = [mix(size, None if labels is None else labels[p], rng) for p in partner]
    maps = np.stack(taken).astype(bool)
    if maps.shape != (count, *size):
        raise ValueError(f"`mix` must return a bool (H, W) of {size}. Received: {maps.shape[1:]}")
    return partner.astype(np.int32), maps


def mixed_maps(values: Array, partner: Array, taken: Array) -> Array:
    """Mix maps `(B, H, W, …)`; numbers for images, `(B, …)`, stay.

    >>> maps = np.array([[[1, 1]], [[2, 2]]])
    >>> taken = np.array([[[True, False]], [[False, False]]])
    >>> mixed_maps(maps, np.array([1, 0]), taken).tolist()
    [[[2, 1]], [[2, 2]]]
    """
    values = np.asarray(values)
    if values.shape[:3] != taken.shape:
        return values
    where = taken.reshape(taken.shape + (1,) * (values.ndim - 3))
    return np.where(where, values[partner], values)


def mixed_tags(tags: Array, partner: Array, taken: Array) -> Array:
    """Mix tags `(B, classes)`: of two images, only what is in neither is known to be absent.

    >>> taken = np.array([[[True, False]], [[False, False]]])
    >>> mixed_tags(np.array([[1, 0, 0], [0, 1, 0]]), np.array([1, 0]), taken).tolist()
    [[255, 255, 0], [0, 1, 0]]
    """
    both = np.where((tags == 0) & (tags[partner] == 0), 0, VOID).astype(tags.dtype)
    some = np.asarray(taken.any((1, 2)))[:, None]
    return np.where(some, both, tags)


class Mixed(Passes):
    """Batches of a loader in which images have parts of other images, with their annotations.

    Targets and weights of pixels are mixed like the images. Of tags (targets of a head such as
    `kd.heads.Tags`) only those remain known that are absent from both images. The random numbers
    depend on `seed`, the epoch and the number of the batch only.

    Of a loader with `shard`, images are mixed with others of the same share, by random numbers of
    each process. A share should have at least two images.

    Args:
        loader: a `kd.datasets.Loader` with heads.
        mix: `BoxMix()`, `ClassMix()`, or a function `(size, labels, rng)` that returns the pixels
            to take from the other image, bool `(H, W)`; `labels` are those of the other image,
            `None` if the loader has no segmentation.
        seed: int >= 0.

    Raises:
        TypeError: if `loader` has no heads, or `mix` is not callable.
        ValueError: if the seed is out of range.

    Example:

    >>> from keras_dense.datasets import Loader, scenes
    >>> from keras_dense.heads import Segmentation
    >>> loader = Loader(scenes(4, size=(8, 8)), Segmentation(8), 2, workers=0)
    >>> images, labels = Mixed(loader, BoxMix(probability=1))[0]
    >>> images.shape, labels.shape
    ((2, 8, 8, 3), (2, 8, 8))
    """

    def __init__(self, loader: Any, mix: Mix, *, seed: int = 0) -> None:
        if getattr(loader, "heads", None) is None or not hasattr(loader, "batch"):
            raise TypeError(f"`loader` must be a Loader with heads. Received: loader={loader!r}")
        if not callable(mix):
            raise TypeError(f"`mix` must be BoxMix(), ClassMix() or a function. Received: {mix!r}")
        self.loader, self.mix = loader, mix
        self.heads, self.shard = loader.heads, getattr(loader, "shard", (0, 1))
        self.seed = _check.integer(seed, "seed", low=0)
        super().__init__(len(loader), clock=loader.clock)

    def batch(self, epoch: int, number: int) -> tuple:
        """Return a batch of an epoch, as the loader does."""
        images, *rest = self.loader.batch(epoch, number)
        rng = random_numbers(self, self.seed, epoch, number)
        partner, taken = mixing_maps(images, labels_of(self.heads, rest[0]), self.mix, rng)
        parts = [mixed_targets(self.heads, rest[0], partner, taken)]
        parts += [
            tree.map_structure(lambda w: mixed_maps(w, partner, taken), part) for part in rest[1:]
        ]
        return (mixed_maps(images, partner, taken), *parts)

    def asked(self, number: int) -> None:
        self.loader.asked(number)


def mixed_targets(heads: Any, targets: Any, partner: Array, taken: Array) -> Any:
    """Mix the targets of heads, in their structure."""

    def mixed(_: str, head: Any, values: Array) -> Array:
        return (mixed_tags if head.per_image else mixed_maps)(values, partner, taken)

    return heads.map(mixed, targets)


def labels_of(heads: Mapping, targets: Any) -> Array | None:
    """Return the labels `(B, H, W)` of the first segmentation among targets, or `None`."""
    by_key = heads.unpack(targets)  # type: ignore[attr-defined]
    found = [by_key[k] for k, h in heads.items() if h.mode in ("multiclass", "binary") and h.final]
    return found[0] if found else None

"""Groups of images that show nearly the same: duplicates, near-duplicates, sequences."""

import dataclasses
import re
from collections.abc import Sequence

import numpy as np

from keras_dense._types import Array
from keras_dense.recipes.numbers import NEAR, SEQUENCE

_PAIRS = 4000  # of random images, for the usual distance
_WHOLE = 4000  # images of which all pairs are compared
_BITS = np.array([bin(byte).count("1") for byte in range(256)], np.uint8)


@dataclasses.dataclass
class Groups:
    """Images by what they share.

    Attributes:
        same: list of lists of indices of images that are equal, pixel by pixel.
        group: int array, the number of the group of each image.
        sequences: list of lists of indices of images that follow each other, in order; images of
            several groups, of which neighbors look alike.
        near: int, number of images that are nearly the same as another one.
        usual: float, median number of differing bits of two images.
    """

    same: list[list[int]]
    group: Array
    sequences: list[list[int]]
    near: int
    usual: float


def find_groups(names: Sequence[str], hashes: Sequence[str], looks: Array) -> Groups:
    """Group images by perceptual hashes and by the numbers in their names.

    Args:
        names: stems, in order.
        hashes: of all pixels.
        looks: uint8 `(n, 32)`, see `image_facts`.

    >>> looks = np.random.default_rng(0).integers(0, 256, (4, 32), dtype="uint8")
    >>> looks[3] = looks[0]
    >>> find_groups(["a", "b", "c", "d"], ["w", "x", "y", "z"], looks).group.tolist()
    [0, 1, 2, 0]
    """
    count = len(names)
    parent = list(range(count))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    by_hash: dict[str, list[int]] = {}
    for i, value in enumerate(hashes):
        by_hash.setdefault(value, []).append(i)
    pairs = [(some[0], i) for some in by_hash.values() for i in some[1:]]
    pairs += _near(looks)
    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    roots = np.array([root(i) for i in range(count)], int)
    _, group, sizes = np.unique(roots, return_inverse=True, return_counts=True)
    usual = _usual(looks)
    return Groups(
        [some for some in by_hash.values() if len(some) > 1],
        group.reshape(-1),
        _sequences(names, looks, usual),
        int(sizes[sizes > 1].sum()),
        usual,
    )


def distances(a: Array, b: Array) -> Array:
    """Return the number of bits that differ.

    >>> distances(np.uint8([[0, 3]]), np.uint8([[1, 0]])).tolist()
    [3]
    """
    return _BITS[a ^ b].sum(-1, dtype=int)


def _near(looks: Array) -> list[tuple[int, int]]:
    """Pairs of near-duplicates; beyond many images only those near in the order of names."""
    found = []
    reach = len(looks) if len(looks) <= _WHOLE else 50
    for i in range(len(looks) - 1):
        others = distances(looks[i + 1 : i + 1 + reach], looks[i])
        found += [(i, i + 1 + int(j)) for j in np.flatnonzero(others <= NEAR)]
    return found


def _usual(looks: Array) -> float:
    """Median distance of two images."""
    count = len(looks)
    if count < 2:
        return float("nan")
    a, b = np.random.default_rng(0).integers(0, count, (2, _PAIRS))
    return float(np.median(distances(looks[a[a != b]], looks[b[a != b]])))


def _sequences(names: Sequence[str], looks: Array, usual: float) -> list[list[int]]:
    """Runs of numbered names whose neighbors look alike."""
    runs: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for i, name in enumerate(names):
        found = re.search(r"(\d+)(\D*)$", name)
        if found:
            runs.setdefault((name[: found.start()], found[2]), []).append((int(found[1]), i))
    sequences = []
    for run in runs.values():
        order = [i for _, i in sorted(run)]
        if len(order) < 4:
            continue
        steps = distances(looks[order[1:]], looks[order[:-1]])
        if np.median(steps) < SEQUENCE * usual:
            sequences.append(order)
    return sequences

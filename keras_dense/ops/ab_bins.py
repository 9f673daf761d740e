"""The plane of colors (a, b) of CIE Lab, divided into bins.

Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016, sections 2.2 and 2.3.
"""

import functools
import itertools

import numpy as np
from keras import ops

from keras_dense import _check
from keras_dense._types import Array, ArrayLike, Tensor
from keras_dense.ops.color import to_lab

AB_SCALE = 110.0  # predictions of a regression are (a, b) / 110
_REACH = 110  # largest |a| and |b|: those of sRGB are below 108
_SIDE = 2 * _REACH + 1


@functools.lru_cache(typed=True)
def ab_bins(grid: int = 10) -> Array:
    """The bins of color: 313 for the published grid of 10.

    The plane (a, b) is divided into squares with corners at the multiples of `grid`. Bins are the
    corners of all squares that overlap the convex hull of the colors of sRGB.

    Args:
        grid: int from 1 to 55, distance of neighboring bins.

    Returns:
        int64 `(bins, 2)`, a and b, in the order of the published list: sorted by a, then by b.
        Read-only.

    Raises:
        ValueError: for a grid that is not an int from 1 to 55.

    >>> len(ab_bins()), ab_bins()[0].tolist(), len(ab_bins(20))
    (313, [-90, 50], 101)
    """
    grid = _check.integer(grid, "grid", 1, 55)
    first = -(_REACH // grid + 2)
    cells = np.stack(np.mgrid[first:-first, first:-first], axis=-1) + 0.5
    cells = cells * grid  # their centers
    hull = _hull()
    low, high = hull.min(0), hull.max(0)
    apart = ((cells + grid / 2 <= low) | (cells - grid / 2 >= high)).any(-1)
    for p, q in zip(hull, np.roll(hull, -1, axis=0), strict=True):
        outwards = np.array([q[1] - p[1], p[0] - q[0]])
        apart |= (cells - p) @ outwards >= grid / 2 * np.abs(outwards).sum()
    used = np.zeros(np.add(apart.shape, 1), bool)
    for i, j in itertools.product((0, 1), repeat=2):
        used[i : i + len(apart), j : j + len(apart)] |= ~apart
    bins: Array = (np.argwhere(used) + first) * grid
    bins.flags.writeable = False
    return bins


def _hull(points: int = 33) -> Array:
    """Convex hull of the edges of the RGB cube in the plane (a, b), anticlockwise."""
    line = np.linspace(0.0, 255.0, points)
    edges = [
        np.insert(np.tile(ends, (points, 1)), axis, line, axis=1)
        for axis in range(3)
        for ends in itertools.product((0.0, 255.0), repeat=2)
    ]
    ab = sorted(map(tuple, to_lab(np.concatenate(edges))[:, 1:]))

    def half(points):
        chain = []
        for p in points:
            while len(chain) > 1 and _turn(*chain[-2:], p) <= 0:
                chain.pop()
            chain.append(p)
        return chain[:-1]

    return np.array(half(ab) + half(ab[::-1]))


def _turn(p, q, r):
    return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])


def check_prior(prior: ArrayLike | None, grid: int) -> Array | None:
    """The share of each bin as float64, summing to 1, or `None`.

    Raises:
        ValueError: for another number of bins, or shares that are negative, not finite or all 0.

    >>> check_prior(None, 10) is None, float(check_prior(np.full(313, 2.0), 10).sum().round(6))
    (True, 1.0)
    """
    count = len(ab_bins(grid))
    if prior is None:
        return None
    prior = np.asarray(prior, "float64")
    if prior.shape != (count,):
        raise ValueError(
            f"`prior` must have a share for each of the {count} bins of grid={grid} (see "
            f"kd.training.estimate_ab_prior). Received: prior of shape {prior.shape}"
        )
    if not np.isfinite(prior).all() or (prior < 0).any() or not prior.any():
        raise ValueError(
            "`prior` must be finite and not negative, and not 0 everywhere. "
            f"Received: {prior.min()} to {prior.max()}"
        )
    return prior / prior.sum()


@functools.lru_cache(typed=True)
def _candidates(grid: int, neighbors: int) -> Array:
    """The bins that may be among the nearest of a point, for every (a, b) that it may round to.

    int32 `(221², m)`. Rounding moves a point by √½ at most, so the nearest bins of the point are no
    farther from (a, b) than the k-th nearest bin of (a, b), plus √2.
    """
    bins = ab_bins(grid)
    axis = np.arange(-_REACH, _REACH + 1)
    along_a = (axis[:, None] - bins[:, 0]) ** 2
    along_b = (axis[:, None] - bins[:, 1]) ** 2

    def sorted_part(a, count):
        # Distance and number in one integer: of equally near bins the first comes first.
        keys = (along_a[a] + along_b) * len(bins) + np.arange(len(bins))
        return np.sort(np.partition(keys, count - 1, axis=1)[:, :count], axis=1)

    most = neighbors
    for a in range(_SIDE):
        squared = along_a[a] + along_b
        kth = np.partition(squared, neighbors - 1, axis=1)[:, neighbors - 1, None]
        near = np.sqrt(squared) <= np.sqrt(kth) + 2**0.5 + 1e-6
        most = max(most, int(near.sum(1).max()))
    table = np.stack([sorted_part(a, most) % len(bins) for a in range(_SIDE)])
    return table.reshape(-1, most).astype("int32")


def nearest_bins(ab: ArrayLike, grid: int = 10, neighbors: int = 5) -> tuple[Tensor, Tensor]:
    """The bins nearest to colors: exact, without computing the distances to all bins.

    Args:
        ab: `(…, 2)`; clipped to ±110.
        grid: see `ab_bins`.
        neighbors: int >= 1, how many bins.

    Returns:
        int32 `(…, neighbors)`, numbers of bins, the nearest first, and float32
        `(…, neighbors)`, their squared distances.

    Raises:
        ValueError: for `neighbors` below 1 or above the number of bins.

    >>> index, squared = nearest_bins(np.array([3.0, -1.0]), neighbors=2)
    >>> ab_bins()[ops.convert_to_numpy(index)].tolist(), ops.convert_to_numpy(squared).tolist()
    ([[0, 0], [10, 0]], [10.0, 50.0])
    """
    count = len(ab_bins(grid))
    neighbors = _check.integer(neighbors, "neighbors", 1, count)
    ab = ops.clip(ops.cast(ab, "float32"), -_REACH, _REACH)
    place = ops.cast(ops.round(ab), "int32") + _REACH
    place = place[..., 0] * _SIDE + place[..., 1]
    table = ops.convert_to_tensor(_candidates(grid, neighbors), "int32")
    near = ops.take(table, place, axis=0)
    centers = ops.take(ops.convert_to_tensor(ab_bins(grid), "float32"), near, axis=0)
    squared = ops.sum(ops.square(centers - ops.expand_dims(ab, -2)), axis=-1)
    closest, order = ops.top_k(-squared, neighbors)
    return ops.take_along_axis(near, ops.cast(order, "int32"), axis=-1), -closest


def soft_encode(
    ab: ArrayLike, grid: int = 10, *, neighbors: int = 5, sigma: float = 5.0
) -> tuple[Tensor, Tensor]:
    """Colors as weighted bins: a Gaussian of the distance to each of the nearest bins.

    Args:
        ab: `(…, 2)`.
        grid: see `ab_bins`.
        neighbors: int >= 1, how many bins share a color: 5 in the paper, 10 in its code.
        sigma: float > 0, standard deviation of the Gaussian.

    Returns:
        int32 `(…, neighbors)`, numbers of bins, the nearest first, and float32
        `(…, neighbors)`, their weights, which sum to 1.

    Raises:
        ValueError: see `nearest_bins`.

    Reference: Zhang et al., ECCV 2016, section 2.2 (H⁻¹ of the ground truth).

    >>> index, weight = soft_encode(np.array([0.0, 0.0]), neighbors=5)
    >>> [round(float(w), 3) for w in weight]
    [0.649, 0.088, 0.088, 0.088, 0.088]
    """
    index, squared = nearest_bins(ab, grid, neighbors)
    share = ops.exp((squared[..., :1] - squared) / (2.0 * sigma**2))
    return index, share / ops.sum(share, axis=-1, keepdims=True)


def annealed_mean(logits: ArrayLike, grid: int = 10, *, temperature: float = 0.38) -> Tensor:
    """The color of a distribution over bins: their annealed mean.

    The mean of the bins under `softmax(logits / temperature)`. Temperature 1 gives the mean, which
    is pale; towards 0 the result approaches the most likely bin, which is not smooth in space.

    Args:
        logits: `(…, bins)`.
        grid: see `ab_bins`.
        temperature: float > 0.

    Returns:
        float32 `(…, 2)`.

    Reference: Zhang et al., ECCV 2016, equation 5.

    >>> logits = np.where((ab_bins() == (40, -20)).all(-1), 100.0, 0.0)
    >>> ops.convert_to_numpy(annealed_mean(logits)).tolist()
    [40.0, -20.0]
    """
    share = ops.softmax(ops.cast(logits, "float32") / temperature, axis=-1)
    return ops.matmul(share, ops.convert_to_tensor(ab_bins(grid), "float32"))

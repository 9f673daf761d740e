"""Gaussian filtering in a space of several dimensions, on the permutohedral lattice.

Adams, Baek, Davis, "Fast High-Dimensional Filtering Using the Permutohedral Lattice", Computer
Graphics Forum 29(2), 2010.

The values of points are spread over the corners of the simplex that each point lies in (splat),
corners are blurred along the d + 1 axes, and the points read them again (slice). All shapes are
known beforehand, so that the functions compile: the corners in use are found with hash tables of
fixed sizes.

How the lattice is built: each corner has a key, a hash of its coordinates. Every entry (a point and
one of its d + 1 corners) looks up the place of its key in the first table; the smallest number of
all entries at a place owns it. Entries with the owner's key have found their corner; the others go
on to the next table. Corners are then numbered in the order of their owners, and the neighbors of a
corner are found in the same tables by key plus a constant for each axis.
"""

import math
from typing import Any, NamedTuple

from keras import ops

from keras_dense._types import ArrayLike, Tensor
from keras_dense.ops.rows import (
    exact_size,
    set_rows,
    smallest,
    spread,
    spreading,
    take_rows,
    weighted_rows,
)

# Odd factors of the hash of a corner's coordinates: linear, so that the hash of a neighbor is the
# hash plus a constant. It wraps around at 32 bits.
_FACTORS = (-1640531535, -2048144777, -1028477379, 668265263, 374761393, 1103515245)

# Sizes of the tables over the capacity: a key whose place is taken goes on to the next table.
_TABLES = ((4, 1), (1, 2), (1, 4), (1, 8), (1, 16))

# The least capacity in corners: enough for any image of 148×148 pixels.
_ROOM = 131072

# The least size of a table.
_SMALLEST = 1024

# Odd factors, so that keys that collide in one table do not collide in the next.
_TURNS = (-1640531527, 668265261, -2048144789, 374761397, 1274126177)


class Lattice(NamedTuple):
    """Points in a lattice, and the neighbors of its corners.

    Attributes:
        corners: int32 `(P, d + 1)`, the rows of the corners of each point's simplex.
        weights: `(P, d + 1)`, its barycentric coordinates.
        neighbors: int32 `(d + 1, K + 1, 2)`, for each axis the rows of the neighbors. Row K is
            empty, and stands for missing neighbors.
        spreading: the plan by which `ops.rows.spread` adds points' values to corners.
        used: int32, the number of corners in use.
        fits: bool; all corners had room.
    """

    corners: Tensor
    weights: Tensor
    neighbors: Tensor
    spreading: tuple
    used: Tensor
    fits: Tensor


def permutohedral_lattice(features: ArrayLike, capacity: float | None = None) -> Lattice:
    """Build the lattice of points.

    Args:
        features: `(B, N, d)` floats, in units of the Gaussian's standard deviation; every image of
            the batch has a lattice of its own. d is at most 6.
        capacity: float up to d + 1, corners for each point for which there is room if sizes must
            be known beforehand (in a compiled function on TensorFlow and JAX). Default 2, but at
            least 131,072 corners in all; large photographs need .1 to 1 with the usual widths.

    Returns:
        A `Lattice`. If it does not fit, the results of `lattice_filter` are NaN.

    >>> import numpy as np
    >>> lattice = permutohedral_lattice(np.zeros((1, 4, 2), "float32"))
    >>> tuple(lattice.corners.shape), int(lattice.used)
    ((4, 3), 3)
    """
    features = ops.stop_gradient(ops.convert_to_tensor(features))
    batch, points, d = ops.shape(features)
    features = ops.reshape(features, (-1, d))
    keys, weights = _simplex([features[:, i] for i in range(d)])
    keys, total = ops.reshape(keys, (-1,)), batch * points * (d + 1)
    number = ops.arange(total, dtype="int32")
    image = number // (points * (d + 1))

    rows = _whole(points * capacity) if capacity else _at_least(2 * points, _ROOM)
    rows = _at_most(rows, points * (d + 1))
    tables = [
        _Table(batch, _at_least(_share(rows, share), _SMALLEST), turn)
        for turn, share in enumerate(_TABLES)
    ]
    owner = ops.full_like(number, total)  # the first entry with the same corner
    for table in tables:
        missing = ops.equal(owner, total)
        place = table.place(keys, image)
        table.owners = smallest(ops.where(missing, number, total), place, table.size, total)
        found = take_rows(table.owners, place)
        same = ops.equal(take_rows(keys, ops.minimum(found, total - 1)), keys)
        owner = ops.where(
            ops.logical_and(missing, ops.logical_and(same, found < total)), found, owner
        )
    # Corners are numbered as they come first, so what is near in the image is near in memory.
    first = ops.equal(owner, number)
    rank = ops.cumsum(ops.cast(first, "int32")) - 1
    count = rank[-1] + 1
    everyone = ops.all(owner < total)
    rows = exact_size(count, batch * rows)
    fits = ops.logical_and(everyone, count <= rows)
    rank = ops.minimum(rank, rows)
    corners = take_rows(rank, ops.minimum(owner, total - 1))

    members = set_rows(
        ops.full((rows + 1,), total - 1, dtype="int32"), ops.where(first, rank, rows), number
    )
    corner_keys = take_rows(keys, members)
    corner_images = members // (points * (d + 1))
    for table in tables:
        taken = take_rows(rank, ops.minimum(table.owners, total - 1))
        table.rows = ops.where(table.owners < total, taken, rows)
    here, neighbors = ops.arange(rows + 1, dtype="int32"), []
    for step in _steps(d):
        wanted = corner_keys + step
        neighbor = ops.full_like(here, rows)
        for table in tables:
            found = take_rows(table.rows, table.place(wanted, corner_images))
            same = ops.logical_and(ops.equal(take_rows(corner_keys, found), wanted), found < rows)
            neighbor = ops.where(same, found, neighbor)
        neighbor = ops.where(here < ops.minimum(count, rows), neighbor, rows)
        back = set_rows(ops.full_like(here, rows), neighbor, here)
        neighbors.append(ops.stack([neighbor, ops.where(here < rows, back, rows)], axis=-1))
    return _lattice(ops.reshape(corners, (-1, d + 1)), weights, ops.stack(neighbors), count, fits)


def _lattice(corners, weights, neighbors, count, fits):
    plan = spreading(corners, weights, neighbors.shape[1])
    return Lattice(corners, weights, neighbors, plan, count, fits)


def fitted_lattice(lattice: Lattice) -> Lattice:
    """The lattice without most of its unused rows, so that there is less to blur.

    The number of corners must be known, so this works only outside of compiled functions. Sizes are
    √2 apart, so that functions compiled for one size serve many images.

    >>> import numpy as np
    >>> lattice = permutohedral_lattice(np.random.default_rng(0).normal(size=(1, 9999, 2)))
    >>> lattice = fitted_lattice(lattice)
    >>> int(lattice.used) < lattice.neighbors.shape[1] < 2 * int(lattice.used)
    True
    """
    steps = math.ceil(2 * math.log2(max(int(lattice.used), 1024)))
    rows = math.ceil(2 ** (steps / 2))
    if rows >= lattice.neighbors.shape[1] - 1:
        return lattice
    corners, neighbors = (
        ops.minimum(numbers, rows) for numbers in (lattice.corners, lattice.neighbors)
    )
    # The neighbor of every unused row is the empty one.
    return _lattice(corners, lattice.weights, neighbors[:, : rows + 1], lattice.used, lattice.fits)


def lattice_filter(values: ArrayLike, lattice: Lattice) -> Tensor:
    """The sum over all points, each weighted with exp(-|f_i - f_j|² / 2), on the lattice.

    Differentiable in the values; the gradient is the same filter with the axes in reverse order.

    Args:
        values: `(P, C)` floats, P the points of all images of the batch in turn.
        lattice: of `permutohedral_lattice`.

    Returns:
        `(P, C)`. The sum includes the point's own value. On the lattice the Gaussian is right up to
        a factor, which normalization removes.

    >>> import numpy as np
    >>> points = np.array([[[0.0, 0.0], [0.1, 0.0], [50.0, 0.0]]], "float32")
    >>> lattice = permutohedral_lattice(points)
    >>> sums = ops.convert_to_numpy(lattice_filter(np.ones((3, 1), "float32"), lattice))
    >>> near, too, far = sums.ravel().tolist()
    >>> near > 1.8 * far, abs(near - too) < 0.1 * far
    (True, True)
    """

    # The lattice is an argument, not part of the closure, or JAX has no gradient when compiled.
    @ops.custom_gradient
    def filtered(values, *parts):
        def gradient(*args, upstream=None):
            if upstream is None:
                (upstream,) = args
            return _filter(upstream, *parts, reverse=True), *(None for _ in parts)

        return _filter(values, *parts), gradient

    corners, weights, neighbors, plan, _, fits = lattice
    return filtered(ops.convert_to_tensor(values), corners, weights, neighbors, fits, *plan)


def _filter(values, corners, weights, neighbors, fits, *plan, reverse=False):
    axes, rows = neighbors.shape[0], neighbors.shape[1]
    if rows is None:
        rows = ops.shape(neighbors)[1]
    x = spread(values, plan, rows)
    half = ops.full((rows, 2), 0.5, dtype=x.dtype)

    # A loop, as XLA would compute each axis anew for each use of it.
    def blur(n, x):
        numbers = take_rows(neighbors, axes - 1 - n if reverse else n)
        return x + weighted_rows(x, numbers, half)

    x = ops.fori_loop(0, axes, blur, x)
    # The sum of the blurred weights over a whole lattice, so that large means are kept.
    scale = 1 / (1 + 2.0 ** -(axes - 1))
    out = weighted_rows(x, corners, ops.cast(weights, x.dtype))
    return out * ops.where(fits, ops.cast(scale, x.dtype), math.nan)


class _Table:
    """Places for corners of every image of a batch, by their key."""

    def __init__(self, batch: Any, places: Any, turn: int) -> None:
        self.factor = _TURNS[turn]
        if isinstance(places, int):
            self.bits = max(places - 1, 1).bit_length()
            self.places = 2**self.bits
        else:
            self.bits = ops.cast(ops.ceil(ops.log2(ops.cast(places, "float32"))), "int32")
            self.places = ops.left_shift(ops.ones_like(self.bits), self.bits)
        self.size = batch * self.places
        self.owners: Tensor = None  # for each place the entry that has it
        self.rows: Tensor = None  # for each place the row of its corner

    def place(self, keys, image):
        # The high bits of the product depend on all bits of the key. The mask removes the sign.
        high = ops.right_shift(keys * self.factor, 32 - self.bits)
        return ops.bitwise_and(high, self.places - 1) + image * self.places


def _simplex(coordinates):
    """Keys of the corners `(P, d + 1)` and barycentric coordinates of points, from d vectors."""
    d = len(coordinates)
    e, below = [None] * (d + 1), 0.0
    for i in range(d, 0, -1):
        # So that the blur along all axes has variance 1 in the units of the features.
        scaled = coordinates[i - 1] * (math.sqrt(2 / 3) * (d + 1) / math.sqrt(i * (i + 1)))
        e[i] = below - i * scaled
        below = below + scaled
    e[0] = below
    # The nearest point of remainder 0, then into the hyperplane of sum 0.
    multiple = [ops.round(v / (d + 1)) for v in e]
    excess = ops.cast(sum(multiple), "int32")
    rest = [v - m * (d + 1) for v, m in zip(e, multiple, strict=True)]
    rank = [0] * (d + 1)
    for i in range(d + 1):
        for j in range(i + 1, d + 1):
            behind = ops.cast(rest[i] < rest[j], "int32")
            rank[i], rank[j] = rank[i] + behind, rank[j] + 1 - behind
    base, position = [], []
    for i in range(d + 1):
        shifted = rank[i] + excess
        turn = ops.cast(shifted < 0, "int32") - ops.cast(shifted > d, "int32")
        rank[i] = shifted + turn * (d + 1)
        base.append((ops.cast(multiple[i], "int32") + turn) * (d + 1))
        position.append(rest[i] / (d + 1) - ops.cast(turn, rest[i].dtype))
    zero = ops.zeros_like(position[0])
    weights = []
    for r in range(d + 1):
        w = zero
        for i in range(d + 1):
            w = w + ops.where(ops.equal(rank[i], d - r), position[i], zero)
            w = w - ops.where(ops.equal(rank[i], d + 1 - r), position[i], zero)
        if r == 0:
            for i in range(d + 1):  # the end wraps around to the beginning
                w = w - ops.where(ops.equal(rank[i], 0), position[i], zero)
            w = w + 1.0
        weights.append(w)
    factors = _factors(d)
    keys = []
    for r in range(d + 1):
        key = ops.zeros_like(base[0])
        for i in range(d):
            corner = base[i] + r - (d + 1) * ops.cast(rank[i] > d - r, "int32")
            key = key + corner * factors[i]
        keys.append(key)
    return ops.stack(keys, axis=-1), ops.stack(weights, axis=-1)


def _factors(d):
    if d > len(_FACTORS):
        raise ValueError(f"`features` must have at most {len(_FACTORS)} dimensions. Received: {d}")
    return _FACTORS[:d]


def _steps(d):
    """The difference of the keys of a corner and of its neighbor along each axis, in 32 bits."""
    factors = _factors(d)
    steps = [sum(factors) - (d + 1) * factors[j] for j in range(d)] + [sum(factors)]
    return [(step + 2**31) % 2**32 - 2**31 for step in steps]


def _whole(x):
    return math.ceil(x) if isinstance(x, (int, float)) else ops.cast(ops.ceil(x), "int32")


def _share(x, share):
    return x * share[0] // share[1]


def _at_least(x, least):
    return max(x, least) if isinstance(x, int) else ops.maximum(x, least)


def _at_most(x, most):
    known = isinstance(x, int) and isinstance(most, int)
    return min(x, most) if known else ops.minimum(x, most)

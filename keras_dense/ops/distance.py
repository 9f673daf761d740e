"""Exact Euclidean distances on maps, on every backend and inside compiled graphs."""

from keras import ops

from keras_dense._types import Tensor

_FAR = 1e6  # larger than any distance in pixels


def nearest_distance(sites: Tensor) -> Tensor:
    """The distance of each pixel to the nearest site of its map, in pixels.

    Distances between centers of pixels, as of SciPy's `distance_transform_edt`. The nearest site is
    found along columns, by sorting, then along rows, in W steps over all pixels, so the cost grows
    with the side of an image to the third power. There is no gradient.

    Args:
        sites: bool `(B, H, W, C)`.

    Returns:
        float32 `(B, H, W, C)`; 0 in maps without a site.

    >>> import numpy as np
    >>> sites = np.array([[1, 0, 0], [0, 0, 0]], "bool")[None, ..., None]
    >>> found = ops.convert_to_numpy(nearest_distance(sites))[0, ..., 0]
    >>> (found**2).round(3).tolist()
    [[0.0, 1.0, 4.0], [1.0, 2.0, 5.0]]
    """
    sites = ops.stop_gradient(ops.convert_to_tensor(sites))
    squared = ops.square(_along_columns(sites))
    length = ops.shape(squared)[2]
    place = _places(length, (-1, 1))

    def nearer(k, found):
        column = ops.expand_dims(ops.take(squared, k, axis=2), 2)
        return ops.minimum(found, column + ops.square(place - ops.cast(k, "float32")))

    found = ops.fori_loop(0, length, nearer, ops.full_like(squared, _FAR**2))
    return ops.sqrt(ops.where(found < 0.5 * _FAR**2, found, 0.0))


def _along_columns(sites):
    """The distance to the nearest site in the same column; large if there is none."""
    length = ops.shape(sites)[1]
    place = _places(length, (-1, 1, 1))
    order = ops.sort(ops.where(sites, place, _FAR), axis=1)
    # The number of sites down to here is the rank of the next one.
    rank = ops.cumsum(ops.cast(sites, "int32"), axis=1)
    last = ops.take_along_axis(order, ops.maximum(rank - 1, 0), axis=1)
    following = ops.take_along_axis(order, ops.minimum(rank, length - 1), axis=1)
    return ops.minimum(ops.abs(place - last), ops.abs(place - following))


def _places(length, shape):
    return ops.reshape(ops.cast(ops.arange(length, dtype="int32"), "float32"), shape)

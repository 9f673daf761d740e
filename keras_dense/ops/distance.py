"""Exact Euclidean distances on maps, on every backend and inside compiled graphs."""

from keras import ops

from keras_dense._types import Tensor

_FAR = 1e12  # larger than any square of a distance in pixels


def nearest_distance(sites: Tensor) -> Tensor:
    """The distance of each pixel to the nearest site of its map, in pixels.

    Distances between centers of pixels, as of SciPy's `distance_transform_edt`. The nearest site is
    found along columns, then along rows: (H + W) steps over all pixels, so the cost grows with the
    side of an image to the third power. There is no gradient.

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
    squared = ops.where(sites, 0.0, _FAR)
    for axis in (1, 2):
        squared = _nearest_along(ops.stop_gradient(squared), axis)
    return ops.sqrt(ops.where(squared < 0.5 * _FAR, squared, 0.0))


def _nearest_along(squared, axis):
    """The least of a squared distance plus the square of the way to it along an axis."""
    length = ops.shape(squared)[axis]
    place = ops.reshape(
        ops.cast(ops.arange(length, dtype="int32"), "float32"),
        (-1, 1, 1) if axis == 1 else (-1, 1),
    )

    def nearer(k, found):
        way = ops.square(place - ops.cast(k, "float32"))
        return ops.minimum(found, ops.expand_dims(ops.take(squared, k, axis=axis), axis) + way)

    return ops.fori_loop(0, length, nearer, ops.full_like(squared, _FAR))

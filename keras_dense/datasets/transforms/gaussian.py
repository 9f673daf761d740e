"""Gaussian smoothing of arrays in NumPy."""

import numpy as np

from keras_dense._types import Array

_REACH = 4.0  # of the kernel, in standard deviations


def smoothed(array: Array, sigma: float) -> Array:
    """Return an array `(H, W, …)` smoothed along its first two axes, mirrored at the borders.

    The values of SciPy's `gaussian_filter(…, mode="reflect")`, in float32.

    >>> smoothed(np.array([[0.0, 0.0, 4.0, 0.0, 0.0]]), 0.5).round(1).astype("float64").round(1)
    array([[0. , 0.4, 3.1, 0.4, 0. ]])
    """
    found = np.asarray(array, np.float32)
    radius = int(_REACH * sigma + 0.5)
    if radius == 0:
        return found
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = (kernel / kernel.sum()).astype(np.float32)
    for axis in (0, 1):
        count = found.shape[axis]
        pad = [(0, 0)] * found.ndim
        pad[axis] = (radius, radius)
        wide = np.moveaxis(np.pad(found, pad, mode="symmetric"), axis, 0)
        total = np.zeros((count, *wide.shape[1:]), np.float32)
        for i, weight in enumerate(kernel):
            total += weight * wide[i : i + count]
        found = np.moveaxis(total, 0, axis)
    return found

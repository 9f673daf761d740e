"""Weights that teach a network to separate touching objects."""

import math

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array
from keras_dense._optional import require
from keras_dense._types import Array, ArrayLike

# Smaller border terms are ignored.
_NEGLIGIBLE = 1e-6


def border_weights(
    instances: ArrayLike,
    *,
    w0: float = 10.0,
    sigma: float = 5.0,
    class_weight: tuple[float, float] = (1.0, 1.0),
) -> Array:
    """Compute the weight map of U-Net: background between two close objects counts more.

        w = w_c + w0 exp(-(d1 + d2)² / (2 σ²))

    with d1 and d2 the distances of a background pixel to the nearest and the second nearest
    object, in pixels. Pixels of objects have only w_c, so there must be background between objects
    that touch: see `separate_instances`.

    `kd.datasets.Loader` passes it to the loss as the `"weight"` of a sample.

    Args:
        instances: ints `(H, W)`: 0 is background, every object has its own number.
        w0: float >= 0, weight of the border term.
        sigma: float > 0, width of the border term, in pixels.
        class_weight: two floats >= 0, w_c of background and of objects.

    Returns:
        A float32 array `(H, W)`.

    Raises:
        TypeError: if instances are not ints.
        ValueError: if instances are not `(H, W)`, or `w0`, `sigma` or a weight is out of range.
        ImportError: without SciPy.

    Reference: Ronneberger et al., MICCAI 2015, equation 2.

    >>> cells = np.array([[1, 1, 0, 0, 2, 2]])
    >>> [round(float(w), 2) for w in border_weights(cells, w0=10, sigma=3)[0]]
    [1.0, 1.0, 7.07, 7.07, 1.0, 1.0]
    """
    instances = _check_instances(instances)
    w0, sigma, (background, objects) = check_weights(w0, sigma, class_weight)
    weights = np.where(instances == 0, background, objects).astype("float32")
    if w0 > _NEGLIGIBLE:
        # The border term is negligible farther than this from the second object.
        reach = math.ceil(sigma * math.sqrt(2 * math.log(w0 / _NEGLIGIBLE)))
        nearest, second = _two_distances(instances, reach)
        border = w0 * np.exp(-np.square(nearest + second) / (2 * sigma**2))
        weights += np.where(instances == 0, border, 0).astype("float32")
    return weights


def check_weights(
    w0: float, sigma: float, class_weight: tuple[float, float]
) -> tuple[float, float, tuple[float, float]]:
    """Return the numbers of `border_weights` as floats, or raise an error.

    >>> check_weights(10, 5, (1, 1))
    (10.0, 5.0, (1.0, 1.0))
    """
    if np.shape(class_weight) != (2,):
        wanted = "two numbers, for background and objects"
        raise _check.fail("class_weight", wanted, class_weight)
    background, objects = (_check.number(w, "class_weight", 0) for w in class_weight)
    w0, sigma = _check.number(w0, "w0", 0), _check.number(sigma, "sigma", above=0)
    return w0, sigma, (background, objects)


def _two_distances(instances: Array, reach: int) -> tuple[Array, Array]:
    """Return distances to the nearest and the second nearest object; infinite beyond `reach`.

    Each object matters only within `reach`, so the cost grows with the area around the objects, not
    with pixels times objects.
    """
    ndimage = require("scipy.ndimage", extra="scipy")
    # Renumbered consecutively.
    names, numbered = np.unique(instances, return_inverse=True)
    numbered = numbered.reshape(instances.shape) + int(names[0] > 0)
    nearest = np.full(instances.shape, np.inf, "float32")
    second = nearest.copy()
    for number, box in enumerate(ndimage.find_objects(numbered), start=1):
        around = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in box)
        distance = ndimage.distance_transform_edt(numbered[around] != number).astype("float32")
        distance[distance > reach] = np.inf
        second[around] = np.minimum(second[around], np.maximum(nearest[around], distance))
        nearest[around] = np.minimum(nearest[around], distance)
    return nearest, second


def separate_instances(instances: ArrayLike) -> Array:
    """Set a line of background between objects that touch, so that a network can separate them.

    A pixel of an object becomes background if its neighbor to the right or below belongs to another
    object; of two objects that then touch only at a corner, the upper pixel does. The result is a
    line of one pixel along every contact.

    Args:
        instances: ints `(H, W)`: 0 is background, every object has its own number.

    Returns:
        A copy with the lines between objects set to 0.

    Raises:
        TypeError: if instances are not ints.
        ValueError: if instances are not `(H, W)`.

    Reference: Ronneberger et al., MICCAI 2015, section 3 ("separation border").

    >>> separate_instances(np.array([[1, 1, 2, 2, 0, 3]])).tolist()
    [[1, 0, 2, 2, 0, 3]]
    """
    instances = _check_instances(instances)
    height, width = instances.shape
    for neighbors in (((0, 1), (1, 0)), ((1, -1), (1, 1))):
        padded = np.pad(instances, ((0, 1), (1, 1)))
        touches = np.zeros(instances.shape, bool)
        for down, across in neighbors:
            other = padded[down : down + height, 1 + across : 1 + across + width]
            touches |= (other != 0) & (other != instances)
        instances = np.where(touches, 0, instances)
    return instances


def _check_instances(instances: ArrayLike) -> Array:
    instances = as_array(instances, "instances")
    if not np.issubdtype(instances.dtype, np.integer):
        raise TypeError(f"`instances` must be ints. Received: dtype={instances.dtype}")
    if instances.ndim != 2 or instances.size == 0 or instances.min() < 0:
        raise ValueError(
            "`instances` must have shape (height, width), with a number >= 0 for each pixel. "
            f"Received: shape={instances.shape}, smallest={instances.min(initial=0)}"
        )
    return instances

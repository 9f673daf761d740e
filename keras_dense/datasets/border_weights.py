"""Weights that teach a network to keep touching objects apart."""

import math
import numbers

import numpy as np

from keras_dense._arrays import as_array
from keras_dense._optional import require

# Smaller than this the border's part of a weight counts as none.
_NOTHING = 1e-6


def border_weights(instances, w0=10.0, sigma=5.0, class_weight=(1.0, 1.0)):
    """The weight map of U-Net: background between two close objects counts more.

        w = w_c + w0 exp(-(d1 + d2)² / (2 σ²))

    with d1 and d2 the distances of a background pixel to the nearest and the second nearest
    object, in pixels. Pixels of objects have w_c alone. So there must be background between
    objects that touch: see `separate_instances`.

    As a sample's `"weight"` it reaches the loss by way of `kd.datasets.Loader`.

    Args:
        instances: ints `(H, W)`: 0 is background, every object has a number of its own.
        w0: weight of the border term.
        sigma: its width, in pixels.
        class_weight: w_c of background and of objects.

    Returns:
        A float32 array `(H, W)`.

    Raises:
        TypeError: for instances that are not ints.
        ValueError: for instances that are not `(H, W)`, or `w0`, `sigma` or weights out of range.
        ImportError: without SciPy.

    Reference: Ronneberger et al., MICCAI 2015, equation 2.

    >>> cells = np.array([[1, 1, 0, 0, 2, 2]])
    >>> [round(float(w), 2) for w in border_weights(cells, w0=10, sigma=3)[0]]
    [1.0, 1.0, 7.07, 7.07, 1.0, 1.0]
    """
    instances = _check(instances)
    w0, sigma, (background, objects) = check_weights(w0, sigma, class_weight)
    weights = np.where(instances == 0, background, objects).astype("float32")
    if w0 > _NOTHING:
        # Farther than this from the second object the border's part is nothing.
        reach = math.ceil(sigma * math.sqrt(2 * math.log(w0 / _NOTHING)))
        nearest, second = _two_distances(instances, reach)
        border = w0 * np.exp(-np.square(nearest + second) / (2 * sigma**2))
        weights += np.where(instances == 0, border, 0).astype("float32")
    return weights


def check_weights(w0, sigma, class_weight):
    """The numbers of `border_weights` as floats, or an error that says what would do.

    >>> check_weights(10, 5, (1, 1))
    (10.0, 5.0, (1.0, 1.0))
    """
    w0 = _number("w0", w0, 0)
    if _number("sigma", sigma, 0) == 0:
        raise ValueError(f"`sigma` must be above 0. Received: sigma={sigma!r}")
    if np.shape(class_weight) != (2,):
        raise ValueError(
            "`class_weight` must be two numbers, of background and of objects. "
            f"Received: class_weight={class_weight!r}"
        )
    background, objects = (_number("class_weight", w, 0) for w in class_weight)
    return w0, float(sigma), (background, objects)


def _two_distances(instances, reach):
    """Distances to the nearest and to the second nearest object; infinite beyond `reach`.

    Only the surroundings of an object can have it as one of the two, so the work grows with the
    area of all of these, not with pixels times objects.
    """
    ndimage = require("scipy.ndimage", extra="scipy")
    # Consecutive numbers, whatever the objects are called.
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


def separate_instances(instances):
    """Background where two objects touch, so that a network can learn to keep them apart.

    A pixel of an object becomes background if its neighbor to the right or below belongs to
    another object; of what then touches over a corner only, the upper pixel does. That makes a line
    of one pixel along every contact.

    Args:
        instances: ints `(H, W)`: 0 is background, every object has a number of its own.

    Returns:
        A copy with the lines between objects set to 0.

    Raises:
        TypeError, ValueError: for instances that are not ints `(H, W)`.

    Reference: Ronneberger et al., MICCAI 2015, section 3 ("separation border").

    >>> separate_instances(np.array([[1, 1, 2, 2, 0, 3]])).tolist()
    [[1, 0, 2, 2, 0, 3]]
    """
    instances = _check(instances)
    height, width = instances.shape
    for neighbors in (((0, 1), (1, 0)), ((1, -1), (1, 1))):
        padded = np.pad(instances, ((0, 1), (1, 1)))
        touches = np.zeros(instances.shape, bool)
        for down, across in neighbors:
            other = padded[down : down + height, 1 + across : 1 + across + width]
            touches |= (other != 0) & (other != instances)
        instances = np.where(touches, 0, instances)
    return instances


def _check(instances):
    instances = as_array(instances, "instances")
    if not np.issubdtype(instances.dtype, np.integer):
        raise TypeError(f"`instances` must be ints. Received: dtype={instances.dtype}")
    if instances.ndim != 2 or instances.size == 0 or instances.min() < 0:
        raise ValueError(
            "`instances` must have shape (height, width), with a number ≥ 0 for each pixel. "
            f"Received: shape={instances.shape}, smallest={instances.min(initial=0)}"
        )
    return instances


def _number(name, value, low):
    real = isinstance(value, (numbers.Real, np.number)) and not isinstance(value, bool)
    if not real or not low <= value < math.inf:
        raise ValueError(f"`{name}` must be a number ≥ {low}. Received: {name}={value!r}")
    return float(value)

"""What a sample is, and what stands where nothing is known.

A sample is a dict of NumPy arrays over one height and width:

| key | type | unknown |
|---|---|---|
| `"image"` | uint8 `(H, W, 3)`, RGB | |
| `"segmentation"` | uint8 or int32 `(H, W)`, class indices | 255 |
| `"depth"` | float32 `(H, W, 1)`, meters along the optical axis | not finite or <= 0 |
| `"normals"` | float32 `(H, W, 3)`, x right, y down, z forward, facing the camera | 0, not finite |
| `"weight"` | float32 `(H, W)`, >= 0, what a pixel counts in the loss, of every head | 0 |
| `"intrinsics"` | float `(3, 3)`, the camera: `depth · (u, v, 1) = K · point` | |

The center of the pixel in row v, column u is `(u, v)`. Intrinsics follow what is done to the
picture (`kd.ops.crop_intrinsics` and its kin). A sample has the keys that the data has. Other
arrays over the same height and width travel along (moved by nearest neighbor, filled with 0),
anything else is left alone.

Whoever takes a sample calls `check_sample` first: tensors, nested lists and Pillow images become
arrays of these types there, or are refused.
"""

import numpy as np

from keras_dense._arrays import as_array, as_image, as_labels
from keras_dense.ops.geometry import crop_intrinsics

VOID = 255

# The mean color of ImageNet: what a pretrained network takes for "nothing here".
MEAN_COLOR = (124, 116, 104)

CHANNELS = {"image": (3,), "segmentation": (), "depth": (1,), "normals": (3,), "weight": ()}


def check_sample(sample, where="sample"):
    """Return a sample whose arrays are NumPy arrays of the types in this module's table.

    Arrays of the right type are handed on as they are; only `"weight"` is looked at pixel by pixel,
    so it is cheap enough for every sample of every epoch. Numbers change their type where that is
    exact (labels given as floats or `int64`) or loses digits only (depth as float64).

    Args:
        sample: what a dataset or a transform returned.
        where: str, how the message begins.

    Returns:
        `sample` itself if nothing had to be converted, else a new dict.

    Raises:
        TypeError: if it is no dict, has no `"image"`, or holds something that is no array of
            numbers under one of the keys above.
        ValueError: if an array has another rank, number of channels, height or width; an image
            that is not uint8; labels that are not whole numbers; depth or normals that are not
            floats; a weight that is negative or not finite.

    >>> sample = {"image": np.zeros((4, 5, 3), "uint8"), "segmentation": np.zeros((4, 5), "uint8")}
    >>> check_sample(sample) is sample
    True
    >>> check_sample({**sample, "segmentation": [[1.0] * 5] * 4})["segmentation"].dtype
    dtype('int32')
    """
    if not isinstance(sample, dict) or "image" not in sample:
        keys = sorted(map(str, sample)) if isinstance(sample, dict) else type(sample).__name__
        raise TypeError(f"{where}: must be a dict with an 'image'. Received: {keys}")
    found = {}
    for key, value in sample.items():
        try:
            found[key] = _KINDS[key](value, key) if key in _KINDS else value
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from error
        if key in CHANNELS:
            _check_channels(found[key], key, where)
    size = found["image"].shape[:2]
    if 0 in size:
        raise ValueError(f"{where}: the image is empty, its shape is {found['image'].shape}")
    for key, value in found.items():
        if key in CHANNELS and value.shape[:2] != size:
            raise ValueError(
                f"{where}: {key!r} is {value.shape[0]} x {value.shape[1]} pixels (height x width), "
                f"but the image is {size[0]} x {size[1]}. They must be the same size."
            )
        if key not in _KINDS and _lies_over(value, size):
            try:
                found[key] = as_array(value, key)
            except TypeError as error:
                raise TypeError(f"{where}: {error}") from error
    return sample if all(found[key] is sample[key] for key in sample) else found


def _check_channels(array, key, where):
    channels = CHANNELS[key]
    if array.ndim != 2 + len(channels) or array.shape[2:] != channels:
        wanted = ", ".join(["height", "width", *map(str, channels)])
        raise ValueError(f"{where}: {key!r} must have shape ({wanted}). Received: {array.shape}")


def _image(value, key):
    image = as_array(value, key)
    if image.ndim == 3 and image.shape[2] != 3 and image.shape[0] in (1, 3, 4):
        raise ValueError(
            f"`{key}` must have shape (height, width, 3), channels last. Received: {image.shape}; "
            "np.moveaxis(image, 0, -1) moves the channels"
        )
    return as_image(image, key)


def _labels(value, key):
    labels = as_labels(value, key)
    # Void is 255, which int8 does not hold.
    return labels if labels.dtype == np.uint8 else labels.astype(np.int32, copy=False)


def _floats(value, key):
    array = as_array(value, key)
    if array.dtype.kind != "f":
        raise ValueError(
            f"`{key}` must be floats. Received: {array.dtype}{span(array)}; " + _REMEDIES[key]
        )
    return array.astype(np.float32, copy=False)


_REMEDIES = {
    "depth": "divide by the units of a meter (kd.datasets.depth_from_png16), or call "
    ".astype('float32') if these are meters",
    "normals": "bring them to unit vectors (kd.datasets.depth_folder reads them from files), or "
    "call .astype('float32') if they are",
}


def _weight(value, key):
    weight = as_array(value, key).astype(np.float32, copy=False)
    # Comparisons with NaN are false.
    wrong = ~((weight >= 0) & (weight < np.inf))
    if wrong.any():
        raise ValueError(
            f"`{key}` must be finite and >= 0. Received: {weight[wrong][0]:.6g} "
            f"({int(wrong.sum())} of {weight.size} pixels)"
        )
    return weight


def _intrinsics(value, key):
    matrix = as_array(value, key)
    if matrix.shape != (3, 3):
        raise ValueError(f"{key!r} must have shape (3, 3). Received: {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{key!r} must be finite. Received: {matrix.tolist()}")
    return matrix if matrix.dtype.kind == "f" and matrix.dtype.isnative else matrix.astype(float)


_KINDS = {
    "image": _image,
    "segmentation": _labels,
    "depth": _floats,
    "normals": _floats,
    "weight": _weight,
    "intrinsics": _intrinsics,
}


def span(array):
    """` from 0 to 255`, for messages; nothing of an empty array.

    >>> span(np.array([3, 5]))
    ' from 3 to 5'
    """
    return f" from {array.min():.6g} to {array.max():.6g}" if array.size else ""


def _lies_over(value, size):
    """Whether something that is not yet an array of NumPy has a value for each pixel."""
    if isinstance(value, np.ma.MaskedArray):
        return value.shape[:2] == size
    if isinstance(value, np.ndarray):
        return False
    if isinstance(value, (list, tuple)):
        rows = len(value) == size[0] and all(
            isinstance(row, (list, tuple, np.ndarray)) for row in value
        )
        return rows and all(len(row) == size[1] for row in value)
    if type(value).__module__.startswith("PIL.") and hasattr(value, "mode"):
        return value.size == (size[1], size[0])
    shape = getattr(value, "shape", None)
    return shape is not None and tuple(shape)[:2] == size


def fill_value(key, color=MEAN_COLOR):
    """What an unknown pixel of `sample[key]` holds."""
    return {"image": color, "segmentation": VOID}.get(key, 0)


def planes(sample):
    """The keys of the arrays that lie over the image's pixels."""
    size = sample["image"].shape[:2]
    arrays = {k: v for k, v in sample.items() if isinstance(v, np.ndarray) and k != "intrinsics"}
    return [k for k, v in arrays.items() if v.shape[:2] == size]


def follow(sample, change, *arguments, **named):
    """The sample with what `change(intrinsics, …)` makes of its intrinsics, if it has any.

    >>> follow({"intrinsics": np.eye(3)}, crop_intrinsics, top=0, left=2)["intrinsics"][0].tolist()
    [1.0, 0.0, -2.0]
    """
    if "intrinsics" not in sample:
        return sample
    return {**sample, "intrinsics": change(sample["intrinsics"], *arguments, **named)}


def pad_sample(sample, top, bottom, left, right, color=MEAN_COLOR):
    """Surround a sample by unknown pixels (its image by `color`)."""
    if not (top or bottom or left or right):
        return sample
    out = dict(sample)
    for key in planes(sample):
        array = sample[key]
        height, width = array.shape[:2]
        shape = (height + top + bottom, width + left + right, *array.shape[2:])
        padded = np.empty(shape, array.dtype)
        padded[...] = fill_value(key, color)
        padded[top : top + height, left : left + width] = array
        out[key] = padded
    return follow(out, crop_intrinsics, -top, -left)


def crop_sample(sample, top, left, height, width):
    """Cut a window that lies inside a sample."""
    window = (slice(top, top + height), slice(left, left + width))
    out = {**sample, **{key: sample[key][window] for key in planes(sample)}}
    return follow(out, crop_intrinsics, top, left)

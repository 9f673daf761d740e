"""Samples: their arrays, and the values of unknown pixels.

A sample is a dict of NumPy arrays over one height and width, and of facts about the image:

| key | type | unknown |
|---|---|---|
| `"image"` | uint8 `(H, W, 3)`, RGB | |
| `"segmentation"` | uint8 or int32 `(H, W)`, class indices | 255 |
| `"depth"` | float32 `(H, W, 1)`, meters along the optical axis | not finite or <= 0 |
| `"normals"` | float32 `(H, W, 3)`, x right, y down, z forward, facing the camera | 0, not finite |
| `"instances"` | int32 `(H, W)`, 0 for background, a number for each object | < 0 |
| `"tags"` | uint8 `(classes,)`, 1 = the image contains the class, 0 = it does not | 255 |
| `"interactions"` | uint8 `(classes, classes, actions)`: subject, object, action | 255 |
| `"weight"` | float32 `(H, W)`, >= 0, weight of a pixel in the loss of every head | 0 |
| `"intrinsics"` | float `(3, 3)`, the camera: `depth · (u, v, 1) = K · point` | |

The center of the pixel in row v, column u is `(u, v)`. Intrinsics change with the image
(`kd.ops.crop_intrinsics` and similar). A sample has only the keys for which there is data. Other
arrays over the same height and width are transformed, too (moved by nearest neighbor, padded with
0); all other values stay as they are.

Code that takes a sample calls `check_sample` first: it converts tensors, nested lists and Pillow
images to arrays of these types, or raises an error.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_dense._arrays import as_array, as_image, as_labels
from keras_dense._types import Array, Sample
from keras_dense.ops.geometry import crop_intrinsics

VOID = 255
UNKNOWN = {"segmentation": VOID, "instances": -1}

# The mean color of ImageNet, which is zero to a pretrained network.
MEAN_COLOR = (124, 116, 104)

# Arrays that are no maps, even if they have as many entries as the image has pixels.
_NO_MAPS = ("intrinsics", "tags", "interactions")

CHANNELS: dict[str, tuple[int, ...]] = {
    "image": (3,),
    "segmentation": (),
    "depth": (1,),
    "normals": (3,),
    "instances": (),
    "weight": (),
}


def check_sample(sample: Sample, where: str = "sample") -> Sample:
    """Return a sample whose NumPy arrays have the types of this module's table.

    Arrays of the right type are returned as they are, and only `"weight"` is checked pixel by
    pixel, so this is cheap enough for every sample of every epoch. Numbers are converted only if
    that is exact (labels given as floats or `int64`) or loses nothing but digits (depth as
    float64).

    Args:
        sample: dict returned by a dataset or a transform.
        where: str, start of the message of an error.

    Returns:
        `sample` itself if nothing had to be converted, else a new dict.

    Raises:
        TypeError: if it is not a dict, has no `"image"`, or one of the keys above does not contain
            an array of numbers.
        ValueError: if the rank, number of channels, height or width of an array is wrong; an image
            is not uint8; labels are not whole numbers; depth or normals are not floats; a weight is
            negative or not finite.

    >>> sample = {"image": np.zeros((4, 5, 3), "uint8"), "segmentation": np.zeros((4, 5), "uint8")}
    >>> check_sample(sample) is sample
    True
    >>> check_sample({**sample, "segmentation": [[1.0] * 5] * 4})["segmentation"].dtype
    dtype('int32')
    """
    if not isinstance(sample, dict) or "image" not in sample:
        keys = sorted(map(str, sample)) if isinstance(sample, dict) else type(sample).__name__
        raise TypeError(f"{where}: must be a dict with the key 'image'. Received: {keys}")
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
        if key not in _KINDS and _has_pixels(value, size):
            try:
                found[key] = as_array(value, key)
            except TypeError as error:
                raise TypeError(f"{where}: {error}") from error
    return sample if all(found[key] is sample[key] for key in sample) else found


def _check_channels(array: Array, key: str, where: str) -> None:
    channels = CHANNELS[key]
    if array.ndim != 2 + len(channels) or array.shape[2:] != channels:
        wanted = ", ".join(["height", "width", *map(str, channels)])
        raise ValueError(f"{where}: {key!r} must have shape ({wanted}). Received: {array.shape}")


def _image(value: Any, key: str) -> Array:
    image = as_array(value, key)
    if image.ndim == 3 and image.shape[2] != 3 and image.shape[0] in (1, 3, 4):
        raise ValueError(
            f"`{key}` must have shape (height, width, 3), channels last. Received: {image.shape}; "
            "np.moveaxis(image, 0, -1) moves the channels"
        )
    return as_image(image, key)


def _labels(value: Any, key: str) -> Array:
    labels = as_labels(value, key)
    # int8 has no 255, which is void.
    return labels if labels.dtype == np.uint8 else labels.astype(np.int32, copy=False)


def _numbers(value: Any, key: str) -> Array:
    # int32 has -1, which is unknown.
    return as_labels(value, key).astype(np.int32, copy=False)


def _floats(value: Any, key: str) -> Array:
    array = as_array(value, key)
    if array.dtype.kind != "f":
        raise ValueError(
            f"`{key}` must be floats. Received: {array.dtype}{span(array)}; " + _REMEDIES[key]
        )
    return array.astype(np.float32, copy=False)


_REMEDIES = {
    "depth": "divide by the units in a meter (kd.datasets.depth_from_png16), or call "
    ".astype('float32') if these are meters",
    "normals": "convert them to unit vectors (kd.datasets.depth_folder reads them from files), or "
    "call .astype('float32') if they already are",
}


def _weight(value: Any, key: str) -> Array:
    weight: Array = as_array(value, key).astype(np.float32, copy=False)
    # Comparisons with NaN are false.
    wrong = ~((weight >= 0) & (weight < np.inf))
    if wrong.any():
        raise ValueError(
            f"`{key}` must be finite and >= 0. Received: {weight[wrong][0]:.6g} "
            f"({int(wrong.sum())} of {weight.size} pixels)"
        )
    return weight


def _intrinsics(value: Any, key: str) -> Array:
    matrix = as_array(value, key)
    if matrix.shape != (3, 3):
        raise ValueError(f"{key!r} must have shape (3, 3). Received: {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError(f"{key!r} must be finite. Received: {matrix.tolist()}")
    return matrix if matrix.dtype.kind == "f" and matrix.dtype.isnative else matrix.astype(float)


def _tags(value: Any, key: str) -> Array:
    tags = as_labels(value, key)
    if tags.ndim != 1 or not np.isin(tags, (0, 1, VOID)).all():
        raise ValueError(
            f"`{key}` must be 1, 0 or {VOID} (unknown) for each class. Received: shape "
            f"{tags.shape}, values {np.unique(tags)[:5].tolist()}"
        )
    return tags.astype(np.uint8, copy=False)


def _interactions(value: Any, key: str) -> Array:
    found = as_labels(value, key)
    if found.ndim != 3 or len(found) != found.shape[1] or not np.isin(found, (0, 1, VOID)).all():
        raise ValueError(
            f"`{key}` must be 1, 0 or {VOID} (unknown) for each subject, object and action. "
            f"Received: shape {found.shape}, values {np.unique(found)[:5].tolist()}"
        )
    return found.astype(np.uint8, copy=False)


_KINDS: dict[str, Callable[[Any, str], Array]] = {
    "image": _image,
    "segmentation": _labels,
    "depth": _floats,
    "normals": _floats,
    "instances": _numbers,
    "weight": _weight,
    "intrinsics": _intrinsics,
    "tags": _tags,
    "interactions": _interactions,
}


def span(array: Array) -> str:
    """Return the range of an array for messages; an empty string for an empty array.

    >>> span(np.array([3, 5]))
    ' from 3 to 5'
    """
    return f" from {array.min():.6g} to {array.max():.6g}" if array.size else ""


def _has_pixels(value: Any, size: tuple[int, int]) -> bool:
    """Return whether a value that is not yet a NumPy array has an entry for each pixel."""
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


def fill_value(key: str, color: Sequence[int] = MEAN_COLOR) -> int | Sequence[int]:
    """Return the value of an unknown pixel in `sample[key]`."""
    if key == "image":
        return color
    return UNKNOWN.get(key, 0)


def pixel_keys(sample: Sample) -> list[str]:
    """Return the keys of the arrays with a value for each pixel of the image."""
    size = sample["image"].shape[:2]
    arrays = {k: v for k, v in sample.items() if isinstance(v, np.ndarray) and k not in _NO_MAPS}
    return [k for k, v in arrays.items() if v.shape[:2] == size]


def change_intrinsics(
    sample: Sample, change: Callable[..., Array], *args: Any, **kwargs: Any
) -> Sample:
    """Return a sample with `change(intrinsics, ...)` as its intrinsics, if it has any.

    >>> moved = change_intrinsics({"intrinsics": np.eye(3)}, crop_intrinsics, top=0, left=2)
    >>> moved["intrinsics"][0].tolist()
    [1.0, 0.0, -2.0]
    """
    if "intrinsics" not in sample:
        return sample
    return {**sample, "intrinsics": change(sample["intrinsics"], *args, **kwargs)}


def less_sure(sample: Sample) -> Sample:
    """Sample of which a part was removed: a class that was there may be gone.

    >>> less_sure({"tags": np.array([1, 0, 255], "uint8")})["tags"].tolist()
    [255, 0, 255]
    """
    found: Sample = {
        key: np.where(sample[key] == 1, VOID, sample[key]).astype(sample[key].dtype)
        for key in ("tags", "interactions")
        if key in sample
    }
    return {**sample, **found} if found else sample


def pad_sample(
    sample: Sample,
    top: int,
    bottom: int,
    left: int,
    right: int,
    color: Sequence[int] = MEAN_COLOR,
) -> Sample:
    """Pad a sample with unknown pixels, its image with `color`."""
    if not (top or bottom or left or right):
        return sample
    out = dict(sample)
    for key in pixel_keys(sample):
        array = sample[key]
        height, width = array.shape[:2]
        shape = (height + top + bottom, width + left + right, *array.shape[2:])
        padded = np.empty(shape, array.dtype)
        padded[...] = fill_value(key, color)
        padded[top : top + height, left : left + width] = array
        out[key] = padded
    return change_intrinsics(out, crop_intrinsics, -top, -left)


def crop_sample(sample: Sample, top: int, left: int, height: int, width: int) -> Sample:
    """Crop a window inside a sample; classes that were there may be gone."""
    if (height, width) != sample["image"].shape[:2]:
        sample = less_sure(sample)
    window = (slice(top, top + height), slice(left, left + width))
    out = {**sample, **{key: sample[key][window] for key in pixel_keys(sample)}}
    return change_intrinsics(out, crop_intrinsics, top, left)

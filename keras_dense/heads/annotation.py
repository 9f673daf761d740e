"""Checks of annotations: arrays of a sample that a head encodes."""

import numpy as np

from keras_dense._arrays import as_array, as_labels
from keras_dense._types import Array, Sample


def annotation(sample, key):
    """`sample[key]` as an array of numbers, or an error that says what the sample has.

    >>> annotation({"depth": [[1.0, 2.0]]}, "depth").tolist()
    [[1.0, 2.0]]
    """
    return as_array(entry(sample, key), key)


def entry(sample, key):
    """`sample[key]` as it is, or an error that says what the sample has.

    >>> entry({"image": 0}, "depth")
    Traceback (most recent call last):
    KeyError: "The sample has no 'depth' to train this head on. It has: 'image'."
    """
    if key not in sample:
        raise KeyError(
            f"The sample has no {key!r} to train this head on. It has: "
            f"{', '.join(map(repr, sample))}."
        )
    return sample[key]


def float_annotation(sample, key, remedy):
    """`sample[key]` as float32; whole numbers are refused, since files hold other units so.

    Args:
        sample: dict.
        key: str.
        remedy: what the error says is to be done.

    >>> float_annotation({"depth": np.array([[1500]], "uint16")}, "depth", "divide by 1000")
    Traceback (most recent call last):
    ValueError: `depth` must be floats. Received: uint16 from 1500 to 1500; divide by 1000
    """
    array = annotation(sample, key)
    if array.dtype.kind != "f":
        span = f" from {array.min()} to {array.max()}" if array.size else ""
        raise ValueError(f"`{key}` must be floats. Received: {array.dtype}{span}; {remedy}")
    return array.astype("float32", copy=False)


def label_annotation(sample, key, count, ignore_class, remedy=""):
    """`sample[key]` as int32 labels, each from 0 to `count` - 1 or `ignore_class`.

    >>> label_annotation({"parts": [[0, 1, 255]]}, "parts", 2, 255).tolist()
    [[0, 1, 255]]
    """
    labels = as_labels(entry(sample, key), key)
    check_labels(labels, key, count, ignore_class, remedy)
    return labels.astype("int32", copy=False)


def check_labels(labels, name, count, ignore_class, remedy=""):
    """Raise unless labels are from 0 to `count` - 1, or `ignore_class`.

    >>> check_labels(np.array([[0, 7]]), "labels", 3, 255)
    Traceback (most recent call last):
    ValueError: `labels` must be from 0 to 2, or 255 (void). Received: 7 (1 of 2 pixels)
    """
    wrong = (labels < 0) | (labels >= count)
    if ignore_class is not None:
        wrong &= labels != ignore_class
    if wrong.any():
        found = np.unique(labels[wrong])
        shown = ", ".join(map(str, found[:8].tolist())) + (", …" if len(found) > 8 else "")
        void = "" if ignore_class is None else f", or {ignore_class} (void)"
        raise ValueError(
            f"`{name}` must be from 0 to {count - 1}{void}. Received: {shown} "
            f"({int(wrong.sum())} of {labels.size} pixels){remedy}"
        )


def rgb_image(value, name):
    """An RGB image `(H, W, 3)` from 0 to 255, as it is; what is not finite is unknown.

    >>> rgb_image(np.full((1, 1, 3), 0.5), "image")
    Traceback (most recent call last):
    ValueError: `image` must be RGB from 0 to 255. Received: float64 from 0.5 to 0.5
    """
    image = as_array(value, name)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"`{name}` must have shape (height, width, 3). Received: {image.shape}")
    if image.dtype == np.uint8:
        return image
    known = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    low, high = (known.min(), known.max()) if known.size else (0, 0)
    small = image.dtype.kind == "b" or (image.dtype.kind == "f" and 0 < high <= 1)
    if small or low < 0 or high > 255:
        raise ValueError(
            f"`{name}` must be RGB from 0 to 255. Received: {image.dtype} from {low:g} to {high:g}"
        )
    return image


def meters_of(sample: Sample, key: str) -> Array:
    """The depth of a sample, float32 `(H, W, 1)`.

    Raises:
        KeyError: if the sample has no depth.
        TypeError, ValueError: if it is no array of floats, or of another shape.
    """
    meters = float_annotation(
        sample,
        key,
        "divide by the units of a meter (kd.datasets.depth_from_png16), or call "
        ".astype('float32') if these are meters",
    )
    meters = meters[..., None] if meters.ndim == 2 else meters
    if meters.ndim != 3 or meters.shape[2] != 1:
        raise ValueError(
            f"The sample's {key!r} must be depth of shape (height, width, 1). "
            f"Received: shape {meters.shape}"
        )
    return meters

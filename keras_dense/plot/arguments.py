"""What pictures are made of, checked."""

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_array, as_pixel_values


def rgb(image, who):
    """An image as uint8 RGB `(H, W, 3)`; floats from 0 to 255 are rounded, gray becomes RGB."""
    image = as_array(image, f"{who}: image")
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"{who}: the image must have shape (height, width, 3). Received: {image.shape}"
        )
    image = as_pixel_values(image, f"{who}: image")
    if image.dtype != np.uint8:
        image = np.rint(image).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3))


def pixels(value, name, who):
    """A number of pixels as an int."""
    try:
        return _check.integer(value, name, low=1)
    except ValueError as error:
        raise ValueError(
            f"{who}: {name} must be at least 1, a whole number. Received: {name}={value!r}"
        ) from error


def class_map(labels, who, size=None):
    """Labels as an int `(H, W)`; `(H, W, 1)` is accepted."""
    labels = as_array(labels, f"{who}: labels")
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[..., 0]
    if labels.ndim != 2 or not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise ValueError(
            f"{who}: labels must be integers of shape (height, width). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    if size is not None and labels.shape != size:
        raise ValueError(
            f"{who}: labels of {labels.shape[0]} x {labels.shape[1]} pixels do not fit a picture "
            f"of {size[0]} x {size[1]} (height x width)"
        )
    return labels.astype(np.int64)


def _from_0_to_255(x):
    # NaN is neither.
    return not x.size or (x.min() >= 0 and x.max() <= 255)


def colors(palette, who):
    """A palette as uint8 `(classes, 3)`."""
    palette = as_array(palette, f"{who}: palette")
    if palette.dtype.kind == "f" and palette.size and 0 < palette.max() <= 1:
        raise ValueError(
            f"{who}: palette must be (classes, 3) colors from 0 to 255. Received: "
            f"{palette.dtype} to {palette.max():.6g}; multiply by 255"
        )
    if palette.ndim != 2 or palette.shape[1] != 3 or not _from_0_to_255(palette):
        raise ValueError(
            f"{who}: palette must be (classes, 3) colors from 0 to 255. "
            f"Received: shape {palette.shape}"
        )
    return np.rint(palette).astype(np.uint8)

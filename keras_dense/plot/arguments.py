"""Checks of images, labels and palettes."""

import numpy as np

from keras_dense._arrays import as_array, as_pixel_values
from keras_dense._types import Array, ArrayLike


def rgb(image: ArrayLike, name: str = "image") -> Array:
    """An image as uint8 RGB `(H, W, 3)`; floats from 0 to 255 are rounded, gray becomes RGB."""
    image = as_array(image, name)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(f"`{name}` must have shape (height, width, 3). Received: {image.shape}")
    image = as_pixel_values(image, name)
    if image.dtype != np.uint8:
        image = np.rint(image).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3))


def class_map(labels: ArrayLike, name: str = "labels", size: tuple | None = None) -> Array:
    """Labels as int64 `(H, W)`, of `size` if given; `(H, W, 1)` is accepted."""
    labels = as_array(labels, name)
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[..., 0]
    if labels.ndim != 2 or not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == bool):
        raise ValueError(
            f"`{name}` must be integers of shape (height, width). "
            f"Received: {labels.dtype} of shape {labels.shape}"
        )
    if size is not None and labels.shape != size:
        raise ValueError(
            f"`{name}` must have the height and width {size[0]} x {size[1]}. "
            f"Received: {labels.shape[0]} x {labels.shape[1]}"
        )
    return labels.astype(np.int64)


def colors(palette: ArrayLike) -> Array:
    """A palette as uint8 `(classes, 3)`."""
    palette = as_array(palette, "palette")
    wanted = "`palette` must be (classes, 3) colors from 0 to 255. Received: "
    if palette.dtype.kind == "f" and palette.size and 0 < palette.max() <= 1:
        raise ValueError(f"{wanted}{palette.dtype} to {palette.max():.6g}; multiply by 255")
    if palette.ndim != 2 or palette.shape[1] != 3:
        raise ValueError(f"{wanted}shape {palette.shape}")
    # NaN is not in the range.
    if palette.size and not (palette.min() >= 0 and palette.max() <= 255):
        raise ValueError(f"{wanted}from {palette.min():.6g} to {palette.max():.6g}")
    return np.rint(palette).astype(np.uint8)

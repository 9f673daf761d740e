"""What pictures are made of, checked."""

import numpy as np


def rgb(image, who):
    """An image as uint8 RGB `(H, W, 3)`; floats are taken as 0 to 255, grey becomes RGB."""
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise ValueError(
            f"{who}: the image must have shape (height, width, 3). Received: {image.shape}"
        )
    if image.dtype != np.uint8:
        image = np.clip(np.nan_to_num(image) + 0.5, 0, 255).astype(np.uint8)
    return np.broadcast_to(image, (*image.shape[:2], 3))


def class_map(labels, who, size=None):
    """Labels as an int `(H, W)`; `(H, W, 1)` is accepted."""
    labels = np.asarray(labels)
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


def colors(palette, who):
    """A palette as uint8 `(classes, 3)`."""
    palette = np.asarray(palette)
    if palette.ndim != 2 or palette.shape[1] != 3 or palette.min() < 0 or palette.max() > 255:
        raise ValueError(
            f"{who}: palette must be (classes, 3) colours from 0 to 255. "
            f"Received: shape {palette.shape}"
        )
    return palette.astype(np.uint8)

"""Predictions as colors: labels, errors, normals. Unknown pixels are hatched gray."""

import numpy as np

from keras_dense._arrays import as_array
from keras_dense.heads.picture import hatch
from keras_dense.plot.arguments import class_map, colors, rgb

RIGHT, WRONG = (64, 160, 110), (224, 58, 44)


def colorize(labels, palette, ignore_class=255):
    """Labels in their colors.

    Args:
        labels: int `(H, W)`.
        palette: `(classes, 3)`.
        ignore_class: int or `None`; such pixels are hatched.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if a shape is wrong or a label has no color.

    Example:

    >>> colorize([[0, 1]], [[0, 0, 0], [9, 8, 7]]).tolist()
    [[[0, 0, 0], [9, 8, 7]]]
    """
    labels, palette = class_map(labels, "colorize"), colors(palette, "colorize")
    void = np.zeros(labels.shape, bool) if ignore_class is None else labels == ignore_class
    strange = labels[~void & ((labels < 0) | (labels >= len(palette)))]
    if len(strange):
        raise ValueError(
            f"colorize: label {strange[0]} has no color: the palette has {len(palette)}, "
            f"0 to {len(palette) - 1}, and ignore_class is {ignore_class}"
        )
    picture = palette[np.where(void, 0, labels)]
    return np.where(void[..., None], hatch(*labels.shape), picture)


def error_map(truth, prediction, image=None, ignore_class=255):
    """Where a prediction is right (green) and wrong (red); void is hatched.

    Args:
        truth: int `(H, W)`.
        prediction: int `(H, W)`.
        image: `(H, W, 3)`, shimmers through if given.
        ignore_class: int or `None`.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if shapes differ.

    Example:

    >>> error_map([[0, 1]], [[0, 0]]).tolist()
    [[[64, 160, 110], [224, 58, 44]]]
    """
    truth = class_map(truth, "error_map")
    prediction = class_map(prediction, "error_map", truth.shape)
    picture = np.where((truth == prediction)[..., None], np.uint8(RIGHT), np.uint8(WRONG))
    if image is not None:
        gray = rgb(image, "error_map").astype(float) @ (0.299, 0.587, 0.114)
        if gray.shape != truth.shape:
            raise ValueError(
                f"error_map: image {gray.shape} and labels {truth.shape} differ in size"
            )
        picture = (picture * (0.45 + 0.55 * gray[..., None] / 255)).astype(np.uint8)
    if ignore_class is not None:
        void = (truth == ignore_class)[..., None]
        picture = np.where(void, hatch(*truth.shape), picture)
    return picture


def normals(vectors):
    """Normals as colors: red to the right, green up, blue towards the camera.

    Args:
        vectors: `(H, W, 3)`, x right, y down, z forward; shorter than 0.5, or not
            finite, is hatched.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if the shape is wrong.

    Example:

    >>> normals([[[0.0, 0.0, -1.0]]]).tolist()
    [[[128, 128, 255]]]
    """
    vectors = as_array(vectors, "normals: vectors").astype(float)
    if vectors.ndim != 3 or vectors.shape[2] != 3:
        raise ValueError(f"normals: must have shape (height, width, 3). Received: {vectors.shape}")
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    with np.errstate(invalid="ignore"):
        known = (length >= 0.5) & np.isfinite(length)
    unit = np.where(known, vectors, 0) / np.where(known, length, 1)
    picture = (127.5 + 127.5 * unit * (1, -1, -1) + 0.5).astype(np.uint8)
    return np.where(known, picture, hatch(*vectors.shape[:2]))

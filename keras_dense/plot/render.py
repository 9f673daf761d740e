"""Labels, errors and normals as colors. Unknown pixels are hatched."""

import numpy as np

from keras_dense._arrays import as_array
from keras_dense._types import Array, ArrayLike
from keras_dense.heads.drawing import label_colors, normal_colors, right_and_wrong
from keras_dense.plot.arguments import class_map, colors, rgb


def colorize(labels: ArrayLike, palette: ArrayLike, *, ignore_class: int | None = 255) -> Array:
    """Labels in their colors.

    Args:
        labels: int `(H, W)`.
        palette: `(classes, 3)`, 0 to 255.
        ignore_class: int or `None`, the label of void; void pixels are hatched.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if a shape is wrong or a label has no color.

    Example:

    >>> colorize([[0, 1]], [[0, 0, 0], [9, 8, 7]]).tolist()
    [[[0, 0, 0], [9, 8, 7]]]
    """
    labels, palette = class_map(labels), colors(palette)
    void = np.zeros(labels.shape, bool) if ignore_class is None else labels == ignore_class
    strange = labels[~void & ((labels < 0) | (labels >= len(palette)))]
    if len(strange):
        also = "" if ignore_class is None else f", or ignore_class={ignore_class}"
        raise ValueError(
            f"`labels` must be from 0 to {len(palette) - 1}, the last color of the palette{also}. "
            f"Received: {strange[0]}"
        )
    return label_colors(np.where(void, -1, labels), palette)


def error_map(
    truth: ArrayLike,
    prediction: ArrayLike,
    *,
    image: ArrayLike | None = None,
    ignore_class: int | None = 255,
) -> Array:
    """Right pixels of a prediction in green and wrong ones in red; void is hatched.

    Args:
        truth: int `(H, W)`.
        prediction: int `(H, W)`.
        image: `(H, W, 3)`, 0 to 255; its brightness shows through if given.
        ignore_class: int or `None`, the label of void.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if shapes differ.

    Example:

    >>> error_map([[0, 1]], [[0, 0]]).tolist()
    [[[64, 160, 110], [224, 58, 44]]]
    """
    truth = class_map(truth, "truth")
    prediction = class_map(prediction, "prediction", truth.shape)
    if image is not None:
        image = rgb(image)
        if image.shape[:2] != truth.shape:
            raise ValueError(
                f"`image` must have the size of the labels, {truth.shape}. "
                f"Received: {image.shape[:2]}"
            )
    known = np.ones(truth.shape, bool) if ignore_class is None else truth != ignore_class
    return right_and_wrong(truth != prediction, known, image)


def normals(vectors: ArrayLike) -> Array:
    """Normals as colors: red to the right, green up, blue towards the camera.

    Args:
        vectors: `(H, W, 3)`, x right, y down, z forward. Vectors that are shorter than 0.5 or not
            finite are hatched.

    Returns:
        uint8 `(H, W, 3)`.

    Raises:
        ValueError: if the shape is wrong.

    Example:

    >>> normals([[[0.0, 0.0, -1.0]]]).tolist()
    [[[128, 128, 255]]]
    """
    vectors = as_array(vectors, "vectors").astype(float)
    if vectors.ndim != 3 or vectors.shape[2] != 3:
        raise ValueError(f"`vectors` must have shape (height, width, 3). Received: {vectors.shape}")
    return normal_colors(vectors)

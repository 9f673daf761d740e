"""Tags of images from labels."""

import numpy as np

from keras_dense._types import Array


def tags_of_labels(
    labels: Array, num_classes: int, void: int | None, partial: bool = False
) -> Array:
    """Tags of labels: 1 for classes that occur, else 0; all 255 if no label is known.

    Args:
        labels: ints of any shape.
        num_classes: int, number of classes.
        void: int, the label of unknown pixels, or `None`.
        partial: bool, whether classes that do not occur are unknown, 255, instead.

    Returns:
        uint8 `(num_classes,)`.

    Raises:
        ValueError: for labels that are no class.

    >>> tags_of_labels(np.array([[0, 2, 255]]), 3, 255).tolist()
    [1, 0, 1]
    >>> tags_of_labels(np.array([[255]]), 2, 255).tolist()
    [255, 255]
    """
    found = np.unique(labels)
    known = found[found != void] if void is not None else found
    wrong = known[(known < 0) | (known >= num_classes)]
    if wrong.size:
        raise ValueError(
            f"labels must be from 0 to {num_classes - 1}, or {void} (void). Received: {wrong[0]}"
        )
    tags: Array = np.full(num_classes, 255 if partial or not known.size else 0, np.uint8)
    tags[known.astype(int)] = 1
    return tags

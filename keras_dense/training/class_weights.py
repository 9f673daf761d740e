"""Shares of classes, and weights for rare ones."""

import warnings
from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_labels


def median_frequency(
    dataset: Any, num_classes: int | None = None, *, ignore_class: int | None = 255
) -> list[float]:
    """Class weights by median frequency balancing.

        f_c = pixels of c / pixels of the images in which c occurs
        weight_c = median(f) / f_c

    Args:
        dataset: samples with a `"segmentation"`: `len(dataset)`, `dataset[i]`.
        num_classes: int >= 1, number of classes; default: that of the dataset.
        ignore_class: int, the label of void.

    Returns:
        A list of floats, one for each class. A class that never occurs has 0, and a warning names
        it: nothing keeps a network from predicting that class anywhere.

    Raises:
        TypeError: if labels are no array of numbers.
        ValueError: if a label is not whole or out of range, or there is no labeled pixel.

    Reference: Eigen and Fergus, ICCV 2015 (arXiv 1411.4734), section 6.3.2; Badrinarayanan et al.,
        "SegNet".

    >>> import numpy as np
    >>> samples = [{"segmentation": np.array([[0, 0, 0, 1]])}, {"segmentation": np.array([[0]])}]
    >>> [round(weight, 4) for weight in median_frequency(samples, 2)]
    [0.6562, 2.1]
    """
    images = _pixels(dataset, num_classes, ignore_class)
    pixels = images.sum(0)
    never = np.flatnonzero(pixels == 0)
    if never.size:
        warnings.warn(
            f"{never.size} of {pixels.size} classes never occur in the data set and have weight 0: "
            f"{never.tolist()}",
            stacklevel=2,
        )
    present = ((images > 0) * images.sum(1, keepdims=True)).sum(0)
    frequency = pixels / np.maximum(present, 1)
    median = np.median(frequency[pixels > 0])
    return [float(median / f) if f else 0.0 for f in frequency]


def class_shares(
    dataset: Any, num_classes: int | None = None, *, ignore_class: int | None = 255
) -> np.ndarray:
    """The share of an image that each class covers where it is, on average.

    A measure for the `floor` of `self_training`: a part of it is a safe guess of what a class
    covers in an image whose tags say that it is there.

    Args:
        dataset: samples with a `"segmentation"`: `len(dataset)`, `dataset[i]`.
        num_classes: int >= 1, number of classes; default: that of the dataset.
        ignore_class: int, the label of void, which is not counted.

    Returns:
        float64 `(C,)`, from 0 to 1; 0 for classes that never occur.

    Raises:
        TypeError: if labels are no array of numbers.
        ValueError: if a label is not whole or out of range, or there is no labeled pixel.

    >>> import numpy as np
    >>> samples = [{"segmentation": np.array([[0, 0, 0, 1]])}, {"segmentation": np.array([[0]])}]
    >>> class_shares(samples, 3).tolist()
    [0.875, 0.25, 0.0]
    """
    images = _pixels(dataset, num_classes, ignore_class)
    shares = images / np.maximum(images.sum(1, keepdims=True), 1)
    return shares.sum(0) / np.maximum((images > 0).sum(0), 1)


def _pixels(dataset, num_classes, ignore_class):
    """Known pixels of each class `(images, C)`."""
    count = _check.integer(
        dataset.num_classes if num_classes is None else num_classes, "num_classes", low=1
    )
    pixels = np.zeros((len(dataset), count))
    for index in range(len(dataset)):
        labels = as_labels(dataset[index]["segmentation"], f"segmentation of sample {index}")
        labels = labels[labels != ignore_class]
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(
                f"Sample {index} has labels from {labels.min()} to {labels.max()}, and there are "
                f"{count} classes (ignore_class={ignore_class})."
            )
        pixels[index] = np.bincount(labels.ravel(), minlength=count)
    if not pixels.any():
        raise ValueError("There is no labeled pixel in `dataset`.")
    return pixels

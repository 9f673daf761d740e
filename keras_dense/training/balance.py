"""Weights for classes that are rare."""

import warnings

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_labels


def median_frequency(dataset, num_classes=None, ignore_class=255):
    """Class weights by median frequency balancing.

        f_c = pixels of c / pixels of the images in which c occurs
        weight_c = median(f) / f_c

    Args:
        dataset: What gives samples with a `"segmentation"`: `len(dataset)`, `dataset[i]`.
        num_classes: Number of classes; the dataset's own if not given.
        ignore_class: Label of pixels that count nowhere.

    Returns:
        A list of floats, one a class. A class that never occurs has 0, and a warning names it:
        with that weight a network may say it anywhere.

    Raises:
        TypeError: If labels are no array of numbers.
        ValueError: If a label is not whole or out of range, or there is no labeled pixel.

    Source: Eigen and Fergus, ICCV 2015 (arXiv 1411.4734), §6.3.2; Badrinarayanan et al., SegNet.

    >>> import numpy as np
    >>> samples = [{"segmentation": np.array([[0, 0, 0, 1]])}, {"segmentation": np.array([[0]])}]
    >>> [round(weight, 4) for weight in median_frequency(samples, 2)]
    [0.6562, 2.1]
    """
    count = _check.integer(
        dataset.num_classes if num_classes is None else num_classes, "num_classes", low=1
    )
    pixels = np.zeros(count)
    present = np.zeros(count)
    for index in range(len(dataset)):
        labels = as_labels(dataset[index]["segmentation"], f"segmentation of sample {index}")
        labels = labels[labels != ignore_class]
        if labels.size and not 0 <= labels.min() <= labels.max() < count:
            raise ValueError(
                f"Sample {index} has labels from {labels.min()} to {labels.max()}, and there are "
                f"{count} classes (ignore_class={ignore_class})."
            )
        found = np.bincount(labels.ravel(), minlength=count)
        pixels += found
        present += labels.size * (found > 0)
    if not pixels.any():
        raise ValueError("There is no labeled pixel in `dataset`.")
    never = np.flatnonzero(pixels == 0)
    if never.size:
        warnings.warn(
            f"{never.size} of {count} classes never occur in the data set, and weigh 0: "
            f"{never.tolist()}",
            stacklevel=2,
        )
    frequency = pixels / np.maximum(present, 1)
    median = np.median(frequency[pixels > 0])
    return [float(median / f) if f else 0.0 for f in frequency]

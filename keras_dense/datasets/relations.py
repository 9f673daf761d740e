"""Relations of the classes of an image, computed from its labels and depth."""

from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._arrays import as_labels
from keras_dense._types import Array, ArrayLike, Sample
from keras_dense.datasets.parts import Wrapped, describe
from keras_dense.datasets.sample import VOID, check_sample

RELATIONS = ("touches", "above", "in front of")
_APART = 0.05  # of the height, by which the middle of one class must be above another's
_NEARER = 0.9  # of the other's depth


def relations_of(labels: ArrayLike, depth: ArrayLike | None, num_classes: int) -> Array:
    """Relations of every pair of classes: touches, above, in front of.

    A flip from left to right changes none of them. A class touches another if pixels of both are
    next to each other; it is above it if its mean row is smaller by a twentieth of the height, and
    in front of it if its median depth is less than 0.9 times the other's.

    Args:
        labels: ints `(H, W)`, 255 = void.
        depth: meters `(H, W)` or `(H, W, 1)`, not finite or <= 0 where unknown; or `None`.
        num_classes: int >= 1.

    Returns:
        uint8 `(num_classes, num_classes, 3)`: 1, 0, or 255 where it is unknown: for a class and
        itself, for depth that is unknown, and for all of a mask without a known pixel. Classes
        that are not there have no relation, 0.

    Raises:
        ValueError: for labels that are no class, or depth of another size.

    Example:

    >>> relations_of([[0, 0], [1, 1]], [[9.0, 9.0], [2.0, 2.0]], 2)[0, 1].tolist()
    [1, 1, 0]
    """
    labels = as_labels(labels, "labels").astype(int)
    count = _check.integer(num_classes, "num_classes", low=1)
    known = labels != VOID
    wrong = labels[known & ((labels < 0) | (labels >= count))]
    if wrong.size:
        raise ValueError(f"`labels` must be from 0 to {count - 1}. Received: {wrong[0]}")
    found: Array = np.zeros((count, count, len(RELATIONS)), np.uint8)
    found[np.arange(count), np.arange(count)] = VOID
    if not known.any():
        return np.full_like(found, VOID)
    for one, other in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
        near = (one != other) & (one != VOID) & (other != VOID)
        found[one[near], other[near], 0] = found[other[near], one[near], 0] = 1
    there = np.unique(labels[known])
    rows = np.array([np.nonzero(labels == k)[0].mean() for k in there])
    far = np.array([_depth(depth, labels == k) for k in there])
    pairs: Array = ~np.eye(len(there), dtype=bool)
    above = rows[:, None] < rows[None] - _APART * len(labels)
    before = far[:, None] < _NEARER * far[None]
    unknown = np.isnan(far[:, None] + far[None])
    one, other = np.meshgrid(there, there, indexing="ij")
    found[one[pairs], other[pairs], 1] = above[pairs]
    found[one[pairs], other[pairs], 2] = np.where(unknown, VOID, before)[pairs]
    return found


def _depth(depth: ArrayLike | None, mask: Array) -> float:
    """Median depth of a class; NaN where it is unknown."""
    if depth is None:
        return np.nan
    meters = np.asarray(depth, float)
    if meters.shape[:2] != mask.shape or meters.size != mask.size:
        raise ValueError(
            f"`depth` must be of the size of the labels, {mask.shape}. Received: {meters.shape}"
        )
    values = meters.reshape(mask.shape)[mask]
    values = values[np.isfinite(values) & (values > 0)]
    return float(np.median(values)) if values.size else np.nan


class Related(Wrapped):
    """Samples with the relations of their classes, see `with_relations`."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = check_sample(self.dataset[index])
        if "segmentation" not in sample:
            raise ValueError(
                "with_relations: a sample must have 'segmentation'. Received: "
                f"{', '.join(map(repr, sample))} ({describe(self.dataset, index)})"
            )
        relations = relations_of(
            sample["segmentation"], sample.get("depth"), self.dataset.num_classes
        )
        return {**sample, "interactions": relations}


def with_relations(dataset: Any) -> Related:
    """Add the relations of classes to samples, as targets of `kd.heads.Interactions`.

    Samples get `"interactions"`, see `relations_of`, computed from their labels and, if they have
    it, their depth. The actions are `kd.datasets.RELATIONS`.

    Args:
        dataset: a data set with masks, and `num_classes`.

    Returns:
        A data set of the same samples.

    Example:

    >>> import keras_dense as kd
    >>> world = with_relations(kd.datasets.scenes(2, 16))
    >>> world[0]["interactions"].shape
    (8, 8, 3)
    """
    if not isinstance(getattr(dataset, "num_classes", None), int):
        raise ValueError(
            "`dataset` must have num_classes, as those of kd.datasets have. Received: "
            f"{type(dataset).__name__}"
        )
    return Related(dataset)

"""Weak annotation made of masks: scribbles, points, boxes, tags."""

from typing import Any

import numpy as np

from keras_dense import _check
from keras_dense._types import Array, Sample
from keras_dense.datasets.marks import boxes_of_labels, marks_of_labels
from keras_dense.datasets.parts import Wrapped, describe
from keras_dense.datasets.sample import VOID, check_sample
from keras_dense.ops.tags import tags_of_labels

_KEPT = ("image", "weight", "tags", "interactions")
KINDS = ("scribbles", "points", "boxes", "tags", "image")


class Weakened(Wrapped):
    """Data set whose masks are weakened when a sample is read; see `weaken`."""

    def __init__(
        self, dataset: Any, kind: str, seed: int, radius: int, core: float, background: int
    ) -> None:
        super().__init__(dataset)
        self.kind, self.seed = kind, seed
        self.radius, self.core, self.background = radius, core, background

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = check_sample(self.dataset[index])
        if "segmentation" not in sample:
            raise ValueError(
                "weaken: a sample must have 'segmentation', of which weak annotation is made. "
                f"Received: {', '.join(map(repr, sample))} ({self.describe(index)})"
            )
        labels = sample["segmentation"]
        known = ("image", "weight") if self.kind == "image" else _KEPT
        sample = {k: v for k, v in sample.items() if k in known}
        if self.kind == "image":
            return sample
        sample.setdefault("tags", self._tags(labels))
        if self.kind == "tags":
            return sample
        rng = np.random.default_rng((self.seed, index % max(len(self), 1)))
        if self.kind == "boxes":
            sample["segmentation"] = boxes_of_labels(labels, self.background, self.core)
        else:
            sample["segmentation"] = marks_of_labels(labels, self.kind, self.radius, rng)
        return sample

    def _tags(self, labels: Array) -> Array:
        return tags_of_labels(labels, self.dataset.num_classes, VOID)

    def describe(self, index: int) -> str:
        """Return a description of a sample, for messages."""
        return describe(self.dataset, index)


def weaken(
    dataset: Any,
    kind: str,
    *,
    seed: int = 0,
    radius: int = 1,
    core: float = 0.2,
    background: int = 0,
) -> Weakened:
    """Replace masks by weaker annotation that is made of them, to find out what is needed.

    | `kind` | annotation |
    |---|---|
    | `"scribbles"` | a wavy line through each region of a class; other pixels are void |
    | `"points"` | a disk in each region; other pixels are void |
    | `"boxes"` | void within the boxes around regions (but for a core), background outside |
    | `"tags"` | only the classes that the image contains |
    | `"image"` | nothing |

    Samples keep the image, its weight, and have the tags of the whole mask (except for `"image"`).
    A region is a connected part of a class. The same seed gives the same marks.

    Args:
        dataset: a data set of samples with `"segmentation"`, and with `num_classes`.
        kind: see above.
        seed: int >= 0.
        radius: int >= 0, half the width of scribbles, radius of points, in pixels.
        core: float from 0 to below 1, side of the part around the center of a box that gets the
            label of its region, relative to the box.
        background: int, the class outside boxes; regions of it have none.

    Returns:
        A data set with the attributes of `dataset`.

    Raises:
        ValueError: for another kind or a number out of range; reading a sample, if it has no mask.
        ImportError: reading a sample with regions, without SciPy.

    Example:

    >>> from keras_dense.datasets import scenes
    >>> world = scenes(2, size=(24, 32))
    >>> sorted(weaken(world, "tags")[0]), sorted(weaken(world, "image")[0])
    (['image', 'tags'], ['image'])
    """
    kind = _check.choice(kind, "kind", KINDS)
    seed = _check.integer(seed, "seed", low=0)
    radius = _check.integer(radius, "radius", low=0)
    core = _check.number(core, "core", 0, below=1)
    background = _check.integer(background, "background", low=0)
    if kind not in ("image",) and getattr(dataset, "num_classes", None) is None:
        raise ValueError(
            f"`dataset` must have `num_classes`, for tags. Received: dataset={dataset!r}"
        )
    return Weakened(dataset, kind, seed, radius, core, background)

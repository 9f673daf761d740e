"""Heads and the labels of a data set that do not go together."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from keras_dense._types import Array, Sample
from keras_dense.datasets import transforms
from keras_dense.datasets.findings import BLACK_AND_WHITE, black_and_white
from keras_dense.heads.collection import Heads
from keras_dense.heads.head import Head
from keras_dense.heads.segmentation import Segmentation

# Targets that are looked at before labels of one class and void are called suspicious.
ENOUGH = 64


class DatasetWarning(UserWarning):
    """Warning about a data set that is valid, but probably not as intended.

    ```python
    warnings.simplefilter("error", kd.datasets.DatasetWarning)  # raise an error instead
    ```
    """


def check_classes(dataset: Any, heads: Heads | None, changes: Iterable[Callable] = ()) -> None:
    """Raise if a data set declares more classes than a head of classes knows.

    Args:
        dataset: a data set, which may have `num_classes`.
        heads: `Heads`, or `None`.
        changes: transforms of the samples. Those of the user may change labels; then the labels
            alone decide, sample by sample.

    Raises:
        ValueError: if there are more.

    >>> from keras_dense.datasets import scenes
    >>> check_classes(scenes(1, 16), Heads(Segmentation(5)))
    Traceback (most recent call last):
    ValueError: `heads` must know all classes of the data set: scenes has 8. Received: a head \
of 5. Give kd.heads.Segmentation(8), or map labels to fewer classes (remap=, or a transform)
    """
    declared = getattr(dataset, "num_classes", None)
    own = tuple(getattr(transforms, name) for name in transforms.__all__)
    if declared is None or not all(isinstance(change, own) for change in changes):
        return
    for key, head in ({} if heads is None else heads).items():
        count = known_classes(head)
        if head.target == "segmentation" and count is not None and declared > count:
            what = f"head {key!r}" if key else "a head"
            raise ValueError(
                "`heads` must know all classes of the data set: "
                f"{getattr(dataset, 'name', 'it')} has {declared}. Received: {what} of {count}. "
                f"Give kd.heads.Segmentation({declared}), or map labels to fewer classes (remap=, "
                "or a transform)"
            )


def known_classes(head: Head) -> int | None:
    """Number of values of a label of this head; `None` if its targets are no plain labels.

    >>> known_classes(Segmentation(1)), known_classes(Segmentation(3, mode="multilabel"))
    (2, None)
    """
    # A head that encodes in its own way may regroup labels.
    plain = getattr(type(head), "encode", None) is Segmentation.encode
    return len(head.class_names) if plain and head.mode in ("multiclass", "binary") else None


class FirstLabels:
    """The labels of the first targets: a warning if they teach nothing.

    Args:
        heads: `Heads`, or `None`.
        count: int, number of samples of the data set.
    """

    def __init__(self, heads: Heads | None, count: int) -> None:
        self._seen: dict[str, set[int]] = {
            key: set()
            for key, head in ({} if heads is None else heads).items()
            if (known_classes(head) or 0) >= 2 and head.ignore_class is not None
        }
        self._heads: Mapping[str, Head] = {} if heads is None else heads
        self._left = min(count, ENOUGH)

    def look(self, sample: Sample, targets: dict[str, Array]) -> None:
        """Note the targets of a sample, by the keys of the heads, before anything is padded."""
        for key in list(self._seen):
            if self._heads[key].target in sample and key in targets:
                self._seen[key].update(np.unique(targets[key]).tolist())
            if self._seen[key] - {0, self._heads[key].ignore_class}:
                del self._seen[key]  # It has labels to learn.
        self._left -= 1

    def warn(self) -> None:
        """Warn once, when enough samples were looked at.

        Warns:
            DatasetWarning: if the labels of all of them are 0 and 255, or void alone.
        """
        if self._left <= 0 and self._seen:
            texts = self._texts()
            self._seen.clear()
            for text in texts:
                warnings.warn(text, DatasetWarning, stacklevel=2)

    def _texts(self) -> list[str]:
        found = []
        for key, seen in self._seen.items():
            void = self._heads[key].ignore_class
            if black_and_white(seen, void):
                found.append(BLACK_AND_WHITE)
            elif seen == {void}:
                found.append(
                    f"Every pixel of the first targets is void ({void}), so there is "
                    "nothing to learn. Check the values in the files (remap, encoding, palette)."
                )
        return found

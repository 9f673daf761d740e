"""Scores of numbered objects over a data set."""

from collections.abc import Sequence

import numpy as np

from keras_dense._arrays import as_labels
from keras_dense._types import Array, ArrayLike
from keras_dense.metrics.instances import (
    THRESHOLDS,
    aggregated_jaccard,
    check_thresholds,
    matched,
    overlaps,
)


def instance_scores(
    truth: ArrayLike,
    found: ArrayLike,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    void: int | None = -1,
) -> dict[str, float | Array]:
    """Scores of the numbered objects of one image; see `InstanceScores`.

    Args:
        truth: ints `(H, W)`: 0 is background, every object has its own number.
        found: the same, of the prediction; numbers need not agree.
        thresholds: IoUs above which objects match, increasing.
        void: int, number of void pixels in the truth, or `None`.

    Returns:
        Dict of the scores of `InstanceScores.scores()`.

    Raises:
        TypeError, ValueError: if a map is not of whole numbers >= 0, or shapes differ.

    >>> truth = np.array([[1, 1, 1, 1, 0, 2, 2]])
    >>> found = np.array([[3, 3, 3, 0, 0, 5, 5]])  # IoUs of 3/4 and 1
    >>> scores = instance_scores(truth, found)
    >>> scores["ap50"], scores["ap75"], scores["pq"], round(scores["aji"], 3)
    (1.0, 0.3333333333333333, 0.875, 0.833)
    """
    scores = InstanceScores(thresholds=thresholds, void=void)
    scores.update(truth, found)
    return scores.scores()


class InstanceScores:
    """Average precision, panoptic quality and aggregated Jaccard index of numbered objects.

    | score | |
    |---|---|
    | `ap` | mean over images and thresholds of TP / (TP + FP + FN) |
    | `ap50`, `ap75` | the same at an IoU of 0.5, of 0.75, if among the thresholds |
    | `ap_per_threshold` | the same at each threshold, an array |
    | `pooled_ap`, `pooled_ap50`, … | the same of the TP, FP, FN of all images together |
    | `pq`, `sq`, `rq` | panoptic quality of all images together, SQ · RQ: the mean IoU of matched objects times their F1, at an IoU above 0.5 |
    | `precision`, `recall` | of objects at an IoU above 0.5, all images together |
    | `image_pq` | mean over images of the panoptic quality of each |
    | `aji`, `aji_plus` | mean over images of the aggregated Jaccard index: each true object with its best partner, or one-to-one |

    This AP is the one of the 2018 Data Science Bowl, Cellpose and StarDist (which calls it
    accuracy): objects have no confidence, so there is no curve of precision and recall, and it is
    not the AP of COCO. Objects match if their IoU is *above* the threshold, so a pair of exactly
    0.5 does not; at 0.5 and more every object has one partner at most.

    An image without objects in truth and prediction says nothing about objects: it is in no mean.
    With objects in only one of them all its scores are 0. Pixels whose number in the truth is
    `void` count nowhere, and a predicted object that is void by more than half is left out.

    `kd.training.bootstrap(scores)` gives intervals, `kd.training.paired_bootstrap` compares two.

    Args:
        thresholds: IoUs above which objects match, increasing, above 0 and below 1.
        void: int, number of void pixels in the truth, or `None`.

    Raises:
        ValueError: for thresholds out of range.
        ImportError: when updated, without SciPy.

    Reference: Caicedo et al., "Nucleus segmentation across imaging experiments: the 2018 Data
    Science Bowl", Nature Methods 2019; Kirillov et al., "Panoptic Segmentation", CVPR 2019,
    section 4; Kumar et al., TMI 2017, algorithm 1; Graham et al., "HoVer-Net", MedIA 2019.

    >>> scores = InstanceScores()
    >>> scores.update([[1, 1, 0, 2, 2]], [[7, 7, 0, 0, 0]])
    >>> scores.update([[1, 1, 0, 0, 0]], [[1, 1, 0, 0, 0]])
    >>> found = scores.scores()
    >>> found["ap50"], round(found["pooled_ap50"], 3), round(found["rq"], 3)
    (0.75, 0.667, 0.8)
    """  # noqa: E501

    def __init__(self, *, thresholds: Sequence[float] = THRESHOLDS, void: int | None = -1):
        self.thresholds = check_thresholds(thresholds)
        self.void = void
        self._rows: list[Array] = []

    def update(self, truth: ArrayLike, found: ArrayLike) -> None:
        """Measure an image, `(H, W)`, or a batch of them, `(B, H, W)`.

        Raises:
            TypeError, ValueError: if a map is not of whole numbers >= 0, or shapes differ.
        """
        truth, found = as_labels(truth, "truth"), as_labels(found, "found")
        if truth.ndim == 3 and truth.shape == found.shape:
            self._rows += [self._measured(*pair) for pair in zip(truth, found, strict=True)]
        else:
            self._rows.append(self._measured(truth, found))

    def _measured(self, truth, found):
        """Sums of one image: counts, values of means and how many, in the order of `of_sums`."""
        objects = overlaps(truth, found, void=self.void)
        wanted, got = len(objects.truth), len(objects.found)
        counts = []
        for threshold in self.thresholds:
            hits = len(matched(objects, threshold))
            counts += [hits, wanted + got - hits]
        iou = matched(objects, 0.5)
        seen = float(wanted + got > 0)
        pq = 2 * iou.sum() / max(wanted + got, 1)
        aji = [aggregated_jaccard(objects, one_to_one=x) if seen else 0.0 for x in (False, True)]
        ap = np.divide(counts[::2], np.maximum(counts[1::2], 1))
        return np.array([*counts, len(iou), iou.sum(), wanted, got, seen, pq, *aji, *ap], float)

    def rows(self) -> Array:
        """Sums of each image, float64 `(images, n)`, for `of_sums`."""
        return np.stack(self._rows) if self._rows else np.zeros((0, 8 + 3 * len(self.thresholds)))

    def of_sums(self, sums: Array) -> dict[str, float | Array]:
        """The scores of a weighted sum of `rows()`; see `kd.training.bootstrap`."""
        n = len(self.thresholds)
        hits, union = sums[: 2 * n : 2], sums[1 : 2 * n : 2]
        matches, iou, wanted, got, images, pq, aji, aji_plus = sums[2 * n : 2 * n + 8]

        def divide(a, b):
            return float(a / b) if b else float("nan")

        each = np.array([divide(x, images) for x in sums[2 * n + 8 :]])
        pooled = np.array([divide(x, y) for x, y in zip(hits, union, strict=True)])
        scores: dict[str, float | Array] = {"ap": float(each.mean())}
        scores.update(self._at(each, "ap"))
        scores |= {"ap_per_threshold": each, "pooled_ap": float(pooled.mean())}
        scores.update(self._at(pooled, "pooled_ap"))
        rq = divide(2 * matches, wanted + got)
        sq = divide(iou, matches) if matches else (float("nan") if not wanted + got else 0.0)
        return scores | {
            "pq": divide(2 * iou, wanted + got),
            "sq": sq,
            "rq": rq,
            "precision": divide(matches, got),
            "recall": divide(matches, wanted),
            "image_pq": divide(pq, images),
            "aji": divide(aji, images),
            "aji_plus": divide(aji_plus, images),
        }

    def _at(self, values, name):
        usual = {0.5: f"{name}50", 0.75: f"{name}75"}
        pairs = zip(self.thresholds, values, strict=True)
        return {usual[t]: float(value) for t, value in pairs if t in usual}

    def scores(self) -> dict[str, float | Array]:
        """Every score so far: a dict of floats, and an array.

        Raises:
            ValueError: if no image was measured.
        """
        if not self._rows:
            raise ValueError("`InstanceScores` has measured no image: call update(truth, found).")
        return self.of_sums(self.rows().sum(0))

    def reset(self) -> None:
        """Forget all images."""
        self._rows = []

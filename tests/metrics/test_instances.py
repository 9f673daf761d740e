"""Scores of numbered objects against plain loops, and against figures of other packages."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import linear_sum_assignment

from keras_dense.metrics import InstanceScores, instance_scores
from keras_dense.metrics.instances import THRESHOLDS, aggregated_jaccard, overlaps

pytestmark = pytest.mark.once


def cells(seed, size=(64, 80), count=14):
    """Overlapping disks, numbered."""
    rng = np.random.default_rng(seed)
    ys, xs = rng.uniform(0, size[0], count), rng.uniform(0, size[1], count)
    radii = rng.uniform(2.5, 6.0, count)
    y, x = np.mgrid[: size[0], : size[1]]
    away = [np.hypot(y - a, x - b) / r for a, b, r in zip(ys, xs, radii, strict=True)]
    away = np.stack(away)
    return np.where(away.min(0) < 1, away.argmin(0) + 1, 0)


def moved(truth, seed):
    """Cells that are moved, shrunk, missing, one more, and of other numbers."""
    rng = np.random.default_rng(seed)
    found = np.zeros_like(truth)
    for n in np.unique(truth[truth > 0]):
        if rng.random() < 0.15:
            continue
        mask = np.roll(truth == n, rng.integers(-2, 3, 2), (0, 1))
        if rng.random() < 0.3:
            mask = ndimage.binary_erosion(mask)
        found[mask] = 3 * n + 7
    found[40:44, 3:8] = 999
    return found


def pairs(seeds=(1, 2, 3)):
    return [(cells(seed), moved(cells(seed), seed + 100)) for seed in seeds]


def table(truth, found):
    """IoU, intersection and union of all objects."""
    wanted = [truth == n for n in np.unique(truth[truth > 0])]
    got = [found == n for n in np.unique(found[found > 0])]
    shared = np.array([[(a & b).sum() for b in got] for a in wanted]).reshape(len(wanted), len(got))
    union = np.array([[(a | b).sum() for b in got] for a in wanted]).reshape(shared.shape)
    areas = [np.array([m.sum() for m in masks], int) for masks in (wanted, got)]
    return shared / np.maximum(union, 1), shared, union, areas


def kumar(truth, found):
    """Algorithm 1 of Kumar et al."""
    iou, shared, union, (wanted, got) = table(truth, found)
    c, u, used = 0, 0, set()
    for i in range(len(wanted)):
        j = int(iou[i].argmax()) if len(got) else 0
        if len(got) and iou[i, j] > 0:
            c, u = c + shared[i, j], u + union[i, j]
            used.add(j)
        else:
            u += wanted[i]
    return (c / (u + sum(got[j] for j in range(len(got)) if j not in used))).item()


def plus(truth, found):
    """One-to-one, with the largest sum of IoUs, over the whole table."""
    iou, shared, union, (wanted, got) = table(truth, found)
    rows, columns = linear_sum_assignment(iou, maximize=True)
    on = iou[rows, columns] > 0
    rows, columns = rows[on], columns[on]
    rest = np.delete(wanted, rows).sum() + np.delete(got, columns).sum()
    return shared[rows, columns].sum() / (union[rows, columns].sum() + rest)


def loops(truth, found):
    iou, *_, (wanted, got) = table(truth, found)
    each = []
    for t in THRESHOLDS:
        hits = sum(1 for i, j in np.ndindex(iou.shape) if iou[i, j] > t + 1e-9)
        each.append(hits / (len(wanted) + len(got) - hits))
    matched = iou[iou > 0.5 + 1e-9]
    return {
        "ap": np.mean(each),
        "ap50": each[0],
        "ap75": each[5],
        "ap_per_threshold": np.array(each),
        "pq": 2 * matched.sum() / (len(wanted) + len(got)),
        "sq": matched.mean() if len(matched) else 0.0,
        "rq": 2 * len(matched) / (len(wanted) + len(got)),
        "precision": len(matched) / len(got),
        "recall": len(matched) / len(wanted),
        "aji": kumar(truth, found),
        "aji_plus": plus(truth, found),
    }


@pytest.mark.parametrize("seed", range(5))
def test_an_image_against_loops(seed):
    ((truth, found),) = pairs((seed,))
    scores = instance_scores(truth, found)
    for name, wanted in loops(truth, found).items():
        np.testing.assert_allclose(scores[name], wanted, rtol=1e-12, err_msg=name)
    renumbered = np.where(found > 0, 5000 - found, 0)
    again = instance_scores(truth.astype("uint16"), renumbered)
    for name, value in scores.items():
        np.testing.assert_allclose(again[name], value, err_msg=name)


def test_many_images_pooled_and_by_image():
    scores = InstanceScores()
    scores.update(*pairs()[0])
    scores.update(*(np.stack(x) for x in zip(*pairs((2, 3)), strict=True)))  # a batch
    scores.update(np.zeros((5, 7), int), np.zeros((5, 7), int))  # says nothing
    found, each = scores.scores(), [loops(*p) for p in pairs()]
    for name in ("ap", "ap50", "aji", "aji_plus"):
        assert found[name] == pytest.approx(np.mean([x[name] for x in each]))
    assert found["image_pq"] == pytest.approx(np.mean([x["pq"] for x in each]))
    hits = wanted = got = iou = 0
    for pair in pairs():
        t, *_, areas = table(*pair)
        matched = t[t > 0.5 + 1e-9]
        hits, iou = hits + len(matched), iou + matched.sum()
        wanted, got = wanted + len(areas[0]), got + len(areas[1])
    assert found["pooled_ap50"] == pytest.approx(hits / (wanted + got - hits))
    assert found["sq"] == pytest.approx(iou / hits)
    assert found["rq"] == pytest.approx(2 * hits / (wanted + got))
    assert found["pq"] == pytest.approx(found["sq"] * found["rq"])
    assert (found["precision"], found["recall"]) == pytest.approx((hits / got, hits / wanted))
    scores.reset()
    with pytest.raises(ValueError, match="has measured no image"):
        scores.scores()


# Figures of other packages for `pairs((2, 3))`, none of whose IoUs is 0.5: average_precision of
# Cellpose 4.2.1 by image, matching_dataset of StarDist 0.9.2 at 0.3; PQ, SQ and RQ of panoptica
# 2.1.7 by image, and PQ of MONAI 1.6.1 for `pairs()`.
CELLPOSE = [
    [0.28571430, 0.17391305, 0.08, 0.08, 0.08, 0.03846154, 0, 0, 0, 0],
    [0.13636364, 0.13636364, 0.08695652, 0.08695652, 0.04166667, 0, 0, 0, 0, 0],
]
STARDIST = 0.6875
PANOPTICA = [(0.2724966862, 0.6131175440, 0.4444444444), (0.1593453453, 0.6639389389, 0.24)]
MONAI = [0.3287759125, 0.2724966705, 0.1593453437]


def test_values_of_other_packages():
    for pair, ap, panoptic in zip(pairs((2, 3)), CELLPOSE, PANOPTICA, strict=True):
        found = instance_scores(*pair)
        np.testing.assert_allclose(found["ap_per_threshold"], ap, rtol=1e-6)
        assert (found["pq"], found["sq"], found["rq"]) == pytest.approx(panoptic, rel=1e-8)
    low = InstanceScores(thresholds=[0.3])
    for pair in pairs():
        low.update(*pair)
    assert low.scores()["pooled_ap"] == pytest.approx(STARDIST)
    # In the first image a pair of exactly 0.5: a match for Cellpose and StarDist, none for MONAI.
    assert [instance_scores(*p)["pq"] for p in pairs()] == pytest.approx(MONAI, rel=1e-6)


def test_panoptic_quality_of_monai():
    torch, monai = pytest.importorskip("torch"), pytest.importorskip("monai.metrics")
    for seed in range(6):
        ((truth, found),) = pairs((seed,))
        numbers = [np.unique(x, return_inverse=True)[1].reshape(x.shape) for x in (truth, found)]
        wanted = monai.compute_panoptic_quality(
            *(torch.tensor(x) for x in reversed(numbers)), metric_name="pq"
        )
        assert instance_scores(truth, found)["pq"] == pytest.approx(float(wanted), abs=1e-6)


def test_an_iou_of_a_half_is_no_match():
    scores = instance_scores([[1, 1, 0]], [[1, 0, 0]])
    assert (scores["ap50"], scores["pq"], scores["sq"], scores["aji"]) == (0, 0, 0, 0.5)
    assert instance_scores([[1, 1, 1, 0]], [[1, 1, 0, 0]])["ap50"] == 1


def test_empty_images():
    none, one = np.zeros((4, 5), int), np.eye(4, 5, dtype=int)
    assert all(np.isnan(x).all() for x in instance_scores(none, none).values())
    for truth, found in ((none, one), (one, none)):
        scores = instance_scores(truth, found)
        counts = {k: v for k, v in scores.items() if k not in ("precision", "recall")}
        assert not any(np.any(x) for x in counts.values())
    assert np.isnan(instance_scores(none, one)["recall"])
    right = instance_scores(one, 7 * one)
    assert all(np.all(np.equal(x, 1)) for x in right.values())
    assert np.isnan(aggregated_jaccard(overlaps(none, none)))


def test_void_counts_nowhere():
    truth = np.array([[1, 1, 1, -1, -1, -1, -1, 2]])
    found = np.array([[5, 5, 5, 5, 6, 6, 0, 8]])  # the second is void alone
    scores = instance_scores(truth, found)
    assert scores["ap"] == scores["pq"] == scores["aji"] == 1.0
    with pytest.raises(ValueError, match="`truth` must be numbers of objects >= 0, .*with -1"):
        instance_scores(truth, found, void=None)
    half = instance_scores([[0, 0, -1, -1, 1]], [[4, 4, 4, 4, 1]])  # half of it is known
    assert half["precision"] == 0.5


def test_low_thresholds_have_the_most_pairs():
    truth = np.array([[1] * 5 + [2] * 5])
    found = np.array([[1] * 4 + [2] * 2 + [3] * 4])
    found[0, :4] = 2  # one object over most of the first, and a part of the second
    scores = instance_scores(truth, found, thresholds=[0.1, 0.5])
    assert scores["ap_per_threshold"].tolist() == [1.0, 1.0]
    rng = np.random.default_rng(0)
    truth, found = rng.integers(0, 6, (2, 9, 11))
    iou, *_ = table(truth, found)
    rows, columns = linear_sum_assignment(-(iou > 0.05).astype(float))
    hits = (iou[rows, columns] > 0.05).sum()
    scores = instance_scores(truth, found, thresholds=[0.05])
    assert scores["ap"] == pytest.approx(hits / (10 - hits))


def test_bad_input():
    with pytest.raises(ValueError, match="`thresholds` must be increasing numbers"):
        InstanceScores(thresholds=[0.5, 0.5])
    with pytest.raises(ValueError, match="`thresholds` must be a number > 0 and < 1"):
        InstanceScores(thresholds=[1.5])
    with pytest.raises(ValueError, match="`found` must have the shape of the truth"):
        instance_scores(np.zeros((2, 3), int), np.zeros((3, 2), int))
    with pytest.raises(ValueError, match="`found` must be numbers of objects >= 0"):
        instance_scores(np.zeros((2, 3), int), np.full((2, 3), -1))
    with pytest.raises(ValueError, match="`truth` must be whole numbers"):
        instance_scores(np.full((2, 3), 0.5), np.zeros((2, 3), int))

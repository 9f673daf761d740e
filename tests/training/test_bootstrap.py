"""Intervals and paired differences against a loop of NumPy, and against the metrics themselves."""

import keras
import numpy as np
import pytest

from keras_dense import metrics
from keras_dense.heads import Depth, Segmentation
from keras_dense.metrics import ConfusionMatrix, InstanceScores
from keras_dense.metrics.scores import scores as scores_of
from keras_dense.training import ImageScores, bootstrap, evaluate, paired_bootstrap, score_images

RNG = np.random.default_rng(0)
CONFUSION = RNG.integers(0, 50, (12, 3, 3)) + 100 * np.eye(3, dtype=int)
IMAGES = RNG.random(20)


def drawings(number, resamples=200, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, number, number) for _ in range(resamples)]


def identity(channels):
    image = keras.Input((None, None, channels))
    return keras.Model(image, keras.layers.Activation("linear")(image))


def batches(seed, sizes=((2, 7, 9), (1, 5, 8), (2, 7, 9)), classes=3):
    random = np.random.default_rng(seed)
    found = []
    for size in sizes:
        labels = random.integers(0, classes, size)
        labels[random.random(size) < 0.1] = 255
        logits = random.normal(size=(*size, classes)) + np.eye(classes)[labels % classes]
        found.append((logits.astype("float32"), labels))
    return found


@pytest.mark.once
def test_the_mean_of_images():
    found = bootstrap(IMAGES, resamples=200)
    wanted = np.percentile([IMAGES[d].mean() for d in drawings(20)], [2.5, 97.5])
    assert found == pytest.approx((IMAGES.mean(), *wanted))
    assert found == bootstrap(IMAGES.tolist(), resamples=200)
    assert found != bootstrap(IMAGES, resamples=200, seed=1)
    wide, narrow = (bootstrap(IMAGES, level=level) for level in (0.99, 0.5))
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.once
def test_scores_of_images_and_classes_with_gaps():
    table = RNG.random((15, 4))
    table[RNG.random(table.shape) < 0.2] = np.nan
    table[:, 3] = np.nan
    found = bootstrap(table, resamples=200)
    drawn = [
        np.nanmean(np.where(np.isnan(table), np.nan, table)[d][:, :3], 0) for d in drawings(15)
    ]
    np.testing.assert_allclose(found.value[:3], np.nanmean(table[:, :3], 0))
    np.testing.assert_allclose(
        [found.low[:3], found.high[:3]], np.percentile(drawn, [2.5, 97.5], 0)
    )
    assert np.isnan([found.value[3], found.low[3], found.high[3]]).all()


@pytest.mark.once
@pytest.mark.parametrize("score", ["mean_iou", "iou"])
def test_pooled_scores_of_confusion_matrices(score):
    found = bootstrap(CONFUSION, score=score, resamples=200)
    drawn = [scores_of(CONFUSION[d].sum(0).astype(float), np)[score] for d in drawings(12)]
    np.testing.assert_allclose(found.value, scores_of(CONFUSION.sum(0).astype(float), np)[score])
    np.testing.assert_allclose(found[1:], np.percentile(drawn, [2.5, 97.5], axis=0))


@pytest.mark.once
def test_pairs_are_drawn_together():
    """Two models differ by little, images by much: only the paired interval tells them apart."""
    better = IMAGES + 0.02 + 0.01 * RNG.normal(size=20)
    found = paired_bootstrap(IMAGES, better, resamples=200)
    drawn = [better[d].mean() - IMAGES[d].mean() for d in drawings(20)]
    assert found[:3] == pytest.approx(
        (np.mean(better - IMAGES), *np.percentile(drawn, [2.5, 97.5]))
    )
    assert found.low > 0 and found.p == pytest.approx(2 / 201)
    one, other = bootstrap(IMAGES), bootstrap(better)
    assert one.high > other.low
    nothing = paired_bootstrap(IMAGES, IMAGES)
    assert nothing == (0, 0, 0, 1)
    back = paired_bootstrap(better, IMAGES, resamples=200)
    assert back[:3] == pytest.approx((-found.value, -found.high, -found.low))
    more = CONFUSION + 5 * np.eye(3, dtype=int)
    pooled = paired_bootstrap(CONFUSION, more, resamples=200)
    a, b = (
        [scores_of(x[d].sum(0).astype(float), np)["mean_iou"] for d in drawings(12)]
        for x in (CONFUSION, more)
    )
    np.testing.assert_allclose(pooled[1:3], np.percentile(np.subtract(b, a), [2.5, 97.5]))


@pytest.mark.exhaustive
def test_intervals_hold_the_truth_as_often_as_they_say():
    random = np.random.default_rng(3)
    inside = 0
    for seed in range(200):
        found = bootstrap(random.normal(2.0, 1.0, 60), resamples=100, level=0.9, seed=seed)
        inside += found.low <= 2.0 <= found.high
    assert 160 <= inside <= 195  # 177 of 200 on average


@pytest.mark.once
def test_every_score_of_evaluate(tmp_path):
    """Scores of the sums of all images are those of `evaluate`, for every metric."""
    head = Segmentation(3)
    more = [
        metrics.BoundaryIoU(3),
        metrics.CalibrationError(3),
        metrics.DicePerImage(3),
        metrics.HausdorffDistance(3),
    ]
    found = score_images(identity(3), batches(0), head, metrics=more)
    wanted = evaluate(identity(3), batches(0), head, metrics=more)
    assert len(found) == 5 and set(found.scores()) == set(wanted) >= {"iou", "boundary_iou"}
    for name, value in wanted.items():
        np.testing.assert_allclose(found.scores()[name], value, rtol=1e-6, err_msg=name)
    intervals = bootstrap(found, resamples=20)
    assert set(intervals) == set(wanted)
    loaded = ImageScores.load(found.save(tmp_path / "run" / "images.npz"))
    same = paired_bootstrap(found, loaded, resamples=5)
    assert set(same) == set(wanted)
    assert all(not np.nan_to_num(d.value).any() for d in same.values())
    # Pooled over the images of a drawing, as one confusion matrix of them.
    each = []
    for images, labels in batches(0):
        for n in range(len(labels)):
            metric = ConfusionMatrix(3)
            metric.update_state(labels[n : n + 1], images[n : n + 1])
            each.append(metric.matrix())
    own = bootstrap(np.stack(each), resamples=20)
    assert intervals["mean_iou"] == pytest.approx(own, rel=1e-6)
    other = score_images(identity(3), batches(1), head)
    difference = paired_bootstrap(found, other, resamples=20)
    assert set(difference) == set(other.scores())
    assert difference["mean_iou"].value == pytest.approx(
        other.scores()["mean_iou"] - wanted["mean_iou"]
    )


@pytest.mark.once
def test_several_heads_and_large_counts():
    image = keras.Input((None, None, 1))
    heads = {"a": Segmentation(1), "b": Depth()}
    model = keras.Model(image, {k: keras.layers.Activation("softplus")(image) for k in heads})
    truth = {"a": RNG.integers(0, 2, (3, 6, 7)), "b": RNG.uniform(1, 5, (3, 6, 7, 1))}
    data = [(RNG.normal(size=(3, 6, 7, 1)).astype("float32"), truth)]
    found, wanted = score_images(model, data, heads), evaluate(model, data, heads)
    for key, scores in wanted.items():
        for name, value in scores.items():
            np.testing.assert_allclose(found.scores()[key][name], value, rtol=1e-5, err_msg=name)
    intervals = bootstrap(found, resamples=20)
    assert intervals["b"]["abs_rel"].low <= wanted["b"]["abs_rel"] <= intervals["b"]["abs_rel"].high
    # Sums of low words beyond 32 bits.
    metric = ConfusionMatrix(2)
    metric.assign_sums([np.full(7, 0) + [2**24 * 1000 + 5, 0, 0, 0, 0, 0, 0], np.zeros(7)])
    assert metric.matrix()[0, 0] == 2**24 * 1000 + 5


@pytest.mark.once
def test_objects():
    one, two = InstanceScores(), InstanceScores()
    for n in range(6):
        truth = np.zeros((8, 12), int)
        truth[1:4, 1:5], truth[5:7, 2 : 5 + n] = 1, 2
        found = np.where(truth == 1, 1, 0)
        one.update(truth, found)
        two.update(truth, truth if n % 2 else found)
    found = bootstrap(two, resamples=100)
    assert found["ap50"].value == two.scores()["ap50"] == 0.75
    assert found["ap50"].low >= 0.5 and found["ap_per_threshold"].low.shape == (10,)
    assert paired_bootstrap(one, two, resamples=100)["pq"].low > 0


@pytest.mark.once
def test_metrics_that_do_not_add_up():
    @keras.saving.register_keras_serializable("tests")
    class Largest(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="largest")
            self.largest = self.add_variable((), "zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(y_pred)))

        def result(self):
            return self.largest.value

    with pytest.raises(ValueError, match="`metrics` must keep sums over images.*'largest'"):
        score_images(identity(3), batches(0), Segmentation(3), metrics=Largest())


@pytest.mark.once
def test_bad_input(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="must be a file of ImageScores.save"):
        ImageScores.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match="`images` must be at least 2"):
        bootstrap([0.5])
    with pytest.raises(ValueError, match=r"confusion matrices \(N, C, C\). Received: shape"):
        bootstrap(np.zeros((3, 2, 4)))
    with pytest.raises(ValueError, match="`score` must be one of"):
        bootstrap(CONFUSION, score="f1")
    with pytest.raises(ValueError, match="`level` must be a number > 0 and < 1"):
        bootstrap(IMAGES, level=95)
    with pytest.raises(ValueError, match="must be of the same images.*20 and 19 images"):
        paired_bootstrap(IMAGES, IMAGES[1:])
    with pytest.raises(ValueError, match="`metrics` must be keras.metrics.Metric instances"):
        evaluate(identity(3), batches(0), Segmentation(3), metrics=["iou"])
    both = {"a": Segmentation(3)}
    with pytest.raises(ValueError, match="`metrics` must be a dict by head"):
        evaluate(identity(3), batches(0), both, metrics=[ConfusionMatrix(3)])

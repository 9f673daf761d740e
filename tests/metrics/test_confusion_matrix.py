import keras
import numpy as np
import pytest
from keras import ops

from keras_dense.metrics import ConfusionMatrix
from keras_dense.metrics.scores import SCORES
from keras_dense.ops.count import count as count_cells
from keras_dense.testing import check_metric


def batch(shape=(3, 5, 7), classes=4, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, shape)
    labels[random.random(shape) < 0.2] = 255
    return labels, random.normal(size=(*shape, classes)).astype("float32")


def count(labels, predicted, classes, weight=None):
    """The definition, a pixel at a time."""
    matrix = np.zeros((classes, classes), "int64")
    weight = np.ones(labels.shape) if weight is None else weight
    for i, j, w in zip(labels.ravel(), predicted.ravel(), weight.ravel(), strict=True):
        if i != 255 and w:
            matrix[i, j] += 1
    return matrix


def put(metric, matrix):
    """Pretend that the metric has counted `matrix`."""
    counts = np.zeros(metric.variables[0].shape, "int64")
    counts[: np.size(matrix)] = np.ravel(matrix)
    metric._low.assign((counts & (2**24 - 1)).astype("int32"))
    metric._high.assign((counts >> 24).astype("int32"))


@pytest.mark.parametrize(
    "score", [SCORES[0], *(pytest.param(s, marks=pytest.mark.once) for s in SCORES[1:])]
)
def test_contract(score):
    check_metric(ConfusionMatrix(4, score=score), *batch())


@pytest.mark.parametrize("mode", ["binary", pytest.param("multilabel", marks=pytest.mark.once)])
def test_contract_of_other_modes(mode):
    labels, logits = batch(classes=2)
    if mode == "binary":
        check_metric(ConfusionMatrix(1), labels, logits[..., :1])
    else:
        hot = np.stack([labels, labels[::-1]], -1)
        check_metric(ConfusionMatrix(2, mode=mode), hot, logits)


@pytest.mark.everywhere
@pytest.mark.parametrize(
    "shape",
    [
        (3, 5, 7),
        pytest.param((1, 1, 1), marks=pytest.mark.once),
        pytest.param((2, 64, 33), marks=pytest.mark.once),
    ],
)
def test_counts_and_every_form_of_a_target(shape):
    labels, logits = batch(shape)
    expected = count(labels, logits.argmax(-1), 4)
    hot = np.eye(4)[np.where(labels == 255, 0, labels)] * (labels != 255)[..., None]
    forms = [labels, labels[..., None], labels.astype("uint8"), labels.astype("float32"), hot]
    for form in forms:
        metric = ConfusionMatrix(4)
        metric.update_state(form, logits)
        np.testing.assert_array_equal(metric.matrix(), expected)
        assert metric.matrix().dtype == np.int64


@pytest.mark.everywhere
def test_scores_by_the_definitions():
    metric = ConfusionMatrix(4)
    labels, logits = batch()
    labels[labels == 2] = 255
    logits[..., 3] = -9.0  # class 2 is only predicted, class 3 only in the truth
    metric.update_state(labels, logits)
    n = count(labels, logits.argmax(-1), 4).astype("float64")
    t, p, hit = n.sum(1), n.sum(0), np.diag(n)
    iou = hit / (t + p - hit)
    scores = metric.scores()
    np.testing.assert_allclose(scores["iou"], iou)
    np.testing.assert_allclose(scores["accuracy"], [hit[0] / t[0], hit[1] / t[1], np.nan, 0])
    np.testing.assert_allclose(scores["precision"], [*(hit[:3] / p[:3]), np.nan])
    np.testing.assert_allclose(scores["dice"], 2 * hit / (t + p))
    expected = {
        "mean_iou": iou.mean(),
        "pixel_accuracy": hit.sum() / n.sum(),
        "mean_accuracy": (hit[0] / t[0] + hit[1] / t[1]) / 3,
        "frequency_weighted_iou": (t * iou).sum() / t.sum(),
        "mean_dice": (2 * hit / (t + p)).mean(),
        "mean_precision": (hit[:3] / p[:3]).mean(),
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value)
        assert type(scores[name]) is float
        chosen = ConfusionMatrix(4, score=name)
        chosen.update_state(labels, logits)
        assert float(chosen.result()) == pytest.approx(value, rel=1e-6)


def test_absent_classes_are_nan_and_in_no_mean():
    metric = ConfusionMatrix(30)
    metric.update_state(np.array([[[0, 1, 1, 255]]]), np.eye(30)[[[[0, 1, 1, 7]]]])
    scores = metric.scores()
    assert scores["mean_iou"] == scores["mean_accuracy"] == float(metric.result()) == 1.0
    assert np.isnan(scores["iou"][2:]).all()


def test_nothing_counted_is_nan():
    for mode, classes in [("multiclass", 3), ("binary", 1), ("multilabel", 3)]:
        metric = ConfusionMatrix(classes, mode=mode)
        assert np.isnan(float(metric.result()))
        shape = (1, 2, 2) if mode == "multiclass" else (1, 2, 2, classes)
        metric.update_state(np.full(shape, 255), np.zeros((1, 2, 2, classes)))
        assert np.isnan(float(metric.result()))
        assert np.isnan(metric.scores()["pixel_accuracy"])
        assert metric.matrix().sum() == 0


def test_binary():
    labels, logits = batch(classes=2)
    logits = logits[..., :1]
    for threshold in (0.5, 0.8):
        metric = ConfusionMatrix(1, threshold=threshold)
        metric.update_state(labels, logits)
        positive = (1 / (1 + np.exp(-logits[..., 0])) > threshold).astype(int)
        expected = count(labels, positive, 2)
        np.testing.assert_array_equal(metric.matrix(), expected)
        assert metric.scores()["iou"].shape == (2,)
        of_probabilities = ConfusionMatrix(1, threshold=threshold, from_logits=False)
        of_probabilities.update_state(labels[..., None], 1 / (1 + np.exp(-logits)))
        np.testing.assert_array_equal(of_probabilities.matrix(), expected)


def test_extreme_thresholds():
    labels, logits = batch(classes=2)
    for threshold, always in [(0.0, 1), (1.0, 0)]:
        metric = ConfusionMatrix(1, threshold=threshold)
        metric.update_state(labels, logits[..., :1])
        assert metric.matrix()[:, 1 - always].sum() == 0


def test_multilabel():
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, (2, 5, 7, 3))
    labels[random.random(labels.shape) < 0.2] = 255
    logits = random.normal(size=labels.shape)
    metric = ConfusionMatrix(3, mode="multilabel")
    metric.update_state(labels, logits)
    for c in range(3):
        expected = count(labels[..., c], (logits[..., c] > 0).astype(int), 2)
        np.testing.assert_array_equal(metric.matrix()[c], expected)
    m = metric.matrix()
    iou = m[:, 1, 1] / (m[:, 1, 1] + m[:, 0, 1] + m[:, 1, 0])
    np.testing.assert_allclose(metric.scores()["iou"], iou)
    assert float(metric.result()) == pytest.approx(iou.mean())
    right = m[:, 0, 0].sum() + m[:, 1, 1].sum()
    assert metric.scores()["pixel_accuracy"] == pytest.approx(right / m.sum())


def test_integers_name_the_one_label_that_is_present():
    labels, logits = batch(classes=3)
    hot = np.where(labels[..., None] == 255, 255, np.eye(3)[labels % 3])
    a, b = (ConfusionMatrix(3, mode="multilabel") for _ in range(2))
    a.update_state(labels, logits)
    b.update_state(hot, logits)
    np.testing.assert_array_equal(a.matrix(), b.matrix())


def test_sample_weight_0_is_not_counted():
    labels, logits = batch()
    weight = np.random.default_rng(1).integers(0, 3, labels.shape).astype("float32")
    expected = count(labels, logits.argmax(-1), 4, weight)
    for w in (weight, weight[..., None], weight > 0):
        metric = ConfusionMatrix(4)
        metric.update_state(labels, logits, w)
        np.testing.assert_array_equal(metric.matrix(), expected)
    metric = ConfusionMatrix(4)
    metric.update_state(labels, logits, np.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(metric.matrix(), count(labels[:1], logits[:1].argmax(-1), 4))


def test_ignore_class_may_be_a_class_or_none():
    labels, logits = batch()
    labels = np.where(labels == 255, 1, labels)
    expected = count(np.where(labels == 0, 255, labels), logits.argmax(-1), 4)
    for form in (labels, np.eye(4)[labels]):
        metric = ConfusionMatrix(4, ignore_class=0)
        metric.update_state(form, logits)
        np.testing.assert_array_equal(metric.matrix(), expected)
    metric = ConfusionMatrix(4, ignore_class=None)
    metric.update_state(labels, logits)
    np.testing.assert_array_equal(metric.matrix(), count(labels, logits.argmax(-1), 4))


@pytest.mark.everywhere
@pytest.mark.parametrize("start", [2**24 - 3, 2**31 - 3, 6 * 10**9, 2**53 - 10**6])
def test_counts_never_wrap_nor_lose_a_pixel(start):
    """Beyond float32's 2^24, int32's 2^31, a Cityscapes epoch: one pixel more is one more."""
    labels, logits = batch()
    seen = count(labels, logits.argmax(-1), 4)
    metric = ConfusionMatrix(4)
    put(metric, np.full((4, 4), start))
    metric.update_state(labels, logits)
    np.testing.assert_array_equal(metric.matrix(), seen + start)
    metric.update_state(labels, logits)
    np.testing.assert_array_equal(metric.matrix(), 2 * seen + start)
    assert float(metric.result()) == pytest.approx(metric.scores()["mean_iou"], rel=1e-6)


def test_scores_of_large_counts():
    metric = ConfusionMatrix(2)
    put(metric, [[5 * 10**9, 10**9], [1, 2 * 10**9]])
    iou = [5e9 / (6e9 + 1), 2e9 / (3e9 + 1)]
    assert metric.scores()["mean_iou"] == pytest.approx(np.mean(iou), rel=1e-12)
    assert float(metric.result()) == pytest.approx(np.mean(iou), rel=1e-6)


def test_a_cell_of_2_24_pixels_in_one_batch():
    """Torch sums segments in float32: the partial sums keep every pixel."""
    metric = ConfusionMatrix(2)
    cell = ops.zeros((2**24 + 5,), dtype="int32")
    metric.add(count_cells(cell, metric.variables[0].shape[0] + 1)[:-1])
    assert metric.matrix()[0, 0] == 2**24 + 5


def test_one_batch_and_many_of_any_size_give_the_same():
    metric, parts = ConfusionMatrix(4), []
    for seed, shape in enumerate([(2, 5, 7), (1, 31, 3), (4, 2, 2)]):
        labels, logits = batch(shape, seed=seed)
        metric.update_state(labels, logits)
        parts.append(count(labels, logits.argmax(-1), 4))
    np.testing.assert_array_equal(metric.matrix(), sum(parts))


def test_labels_of_no_class_are_not_dropped_silently():
    labels, logits = batch(classes=3)
    for value in (37, 3, -1):
        wrong = np.where(labels == 0, value, labels)
        metric = ConfusionMatrix(3)
        metric.update_state(wrong, logits)
        assert np.isnan(float(metric.result()))
        number = (wrong == value).sum()
        with pytest.raises(ValueError, match=f"{number} pixels of y_true name no class"):
            metric.scores()
        metric.reset_state()
        metric.update_state(labels, logits)
        assert np.isfinite(float(metric.result()))
    metric = ConfusionMatrix(3, mode="multilabel")
    metric.update_state(np.full(logits.shape, 2), logits)
    with pytest.raises(ValueError, match="name no class"):
        metric.matrix()
    metric = ConfusionMatrix(3)
    metric.update_state(np.ones(logits.shape), logits)  # all classes at once
    with pytest.raises(ValueError, match="name no class"):
        metric.matrix()


def test_weighted_metrics_in_fit():
    labels, logits = batch()
    model = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Activation("linear")])
    model.compile(loss="mse", weighted_metrics=[ConfusionMatrix(4, score="pixel_accuracy")])
    weight = (labels % 2 == 0).astype("float32")
    hot = np.eye(4)[labels % 4] * (labels != 255)[..., None]
    values = model.evaluate(logits, hot, sample_weight=weight, verbose=0, return_dict=True)
    n = count(labels, logits.argmax(-1), 4, weight)
    assert values["pixel_accuracy"] == pytest.approx(np.diag(n).sum() / n.sum())


def test_name_and_copies():
    assert ConfusionMatrix(3).name == "mean_iou"
    assert ConfusionMatrix(3, name="iou").name == "iou"
    metric = ConfusionMatrix.from_config(
        ConfusionMatrix(3, ignore_class=None, score="mean_dice").get_config()
    )
    assert (metric.num_classes, metric.ignore_class, metric.score) == (3, None, "mean_dice")


def test_bad_options():
    for value in (0, -2):
        with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1"):
            ConfusionMatrix(value)
    for value in (2.0, "3", True):
        with pytest.raises(ValueError, match="`num_classes` must be an integer"):
            ConfusionMatrix(value)
    with pytest.raises(ValueError, match="`score` must be one of"):
        ConfusionMatrix(3, score="iou")
    with pytest.raises(ValueError, match="`mode` must be one of"):
        ConfusionMatrix(3, mode="softmax")
    with pytest.raises(ValueError, match="`mode` must be 'binary' for one class"):
        ConfusionMatrix(3, mode="binary")
    with pytest.raises(ValueError, match="'multiclass' for at least two"):
        ConfusionMatrix(1, mode="multiclass")
    with pytest.raises(ValueError, match="`ignore_class` must be an integer"):
        ConfusionMatrix(3, ignore_class=1.5)
    with pytest.raises(ValueError, match="`threshold` must be a number from 0 to 1"):
        ConfusionMatrix(1, threshold=2)


def test_shapes_that_do_not_fit():
    labels, logits = batch()
    metric = ConfusionMatrix(4)
    with pytest.raises(ValueError, match="`y_pred` must have num_classes=4 channels"):
        metric.update_state(labels, logits[..., :3])
    with pytest.raises(ValueError, match="as many channels as `y_pred`, 4"):
        metric.update_state(np.zeros((3, 5, 7, 3)), logits)
    with pytest.raises(ValueError, match="same size"):
        metric.update_state(labels[:, 1:], logits)
    with pytest.raises(ValueError, match="`sample_weight` must have shape"):
        metric.update_state(labels, logits, np.ones((3, 5, 6)))


def test_metrics_that_share_a_count():
    rng = np.random.default_rng(5)
    metric, alone = ConfusionMatrix(3), ConfusionMatrix(3, score="pixel_accuracy")
    other = metric.also("pixel_accuracy")
    assert (other.name, other.score, other.ignore_class) == ("pixel_accuracy",) * 2 + (255,)
    counted = []
    count = ConfusionMatrix.measure
    for m in (metric, other):
        m.measure = lambda *inputs, m=m: counted.append(m) or count(m, *inputs)
    expected = []
    for _ in range(2):
        truth = keras.ops.convert_to_tensor(rng.integers(0, 3, (1, 4, 5)))
        logits = keras.ops.convert_to_tensor(rng.normal(size=(1, 4, 5, 3)))
        for m in (metric, other, alone):
            m.update_state(truth, logits)
        expected.append(alone.matrix())
        np.testing.assert_array_equal(metric.matrix(), expected[-1])
        np.testing.assert_array_equal(other.matrix(), expected[-1])
    assert counted == [metric, metric]
    # The same tensors once more are another batch; others, or weights, are counted anew.
    metric.update_state(truth, logits)
    metric.update_state(truth, logits)
    np.testing.assert_array_equal(metric.matrix(), expected[1] + 2 * (expected[1] - expected[0]))
    other.update_state(truth, logits, sample_weight=np.zeros((1, 4, 5)))
    np.testing.assert_array_equal(other.matrix(), expected[1])
    assert counted[2:] == [metric, metric, other]


def test_ties_go_to_the_first_class():
    rng = np.random.default_rng(6)
    for classes in (2, 21, 150):
        logits = rng.integers(0, 4, (1, 30, 30, classes)).astype("float32")
        truth = logits.argmax(-1)
        metric = ConfusionMatrix(classes, score="pixel_accuracy", ignore_class=None)
        metric.update_state(truth, logits)
        assert float(metric.result()) == 1.0

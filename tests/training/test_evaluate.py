import keras
import numpy as np
import pytest

from keras_dense import heads
from keras_dense.datasets import DatasetWarning
from keras_dense.heads import Depth, Segmentation
from keras_dense.metrics import ConfusionMatrix
from keras_dense.plot import error_map
from keras_dense.training import (
    Preview,
    class_shares,
    class_table,
    evaluate,
    median_frequency,
)

COLORS = np.array([(10, 20, 30), (40, 50, 60), (70, 80, 90)], "uint8")


class Head(heads.Head):
    """As much of a head as evaluation and previews use."""

    ignore_class = 255

    def __init__(self):
        self.channels, self.target = 3, "segmentation"

    def metrics(self):
        return [ConfusionMatrix(3), ConfusionMatrix(3, score="pixel_accuracy")]

    def encode(self, sample):
        return sample["segmentation"]

    def decode(self, prediction, image=None):
        return keras.ops.argmax(prediction, axis=-1)

    def draw(self, labels):
        photo = COLORS[np.where(labels == 255, 0, labels)]
        photo[labels == 255] = 255
        return photo

    def error(self, truth, prediction, image):
        return Segmentation(3).error(truth, prediction, image)


def thresholds():
    """Says class 2 above 200, class 1 above 100, else class 0."""
    image = keras.Input((None, None, 3))
    conv = keras.layers.Conv2D(3, 1)
    model = keras.Model(image, conv(image))
    kernel = np.zeros((1, 1, 3, 3), "float32")
    kernel[0, 0, 0] = [0, 1, 2]
    conv.set_weights([kernel, np.array([0, -100, -300], "float32")])
    return model


def sample(height, width, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (height, width)).astype("uint8")
    image = np.repeat(labels[..., None] * 100 + 50, 3, -1).astype("uint8")
    labels[0, 0] = 255
    labels[1, :2] = 0
    return {"image": image, "segmentation": labels}


def test_scores_of_images_of_any_size():
    samples = [sample(5, 7, 0), sample(4, 9, 1)]
    batches = [(s["image"][None].astype("float32"), s["segmentation"][None]) for s in samples]
    found = evaluate(thresholds(), batches, Head())
    matrix = np.zeros((3, 3))
    for s in samples:
        truth, predicted = s["segmentation"].ravel(), (s["image"][..., 0].ravel() - 50) // 100
        np.add.at(matrix, (truth[truth != 255], predicted[truth != 255]), 1)
    hits = np.diag(matrix)
    iou = hits / (matrix.sum(0) + matrix.sum(1) - hits)
    np.testing.assert_allclose(found["iou"], iou)
    assert found["mean_iou"] == pytest.approx(iou.mean())
    assert found["pixel_accuracy"] == pytest.approx(hits.sum() / matrix.sum())

    image = keras.Input((None, None, 3))
    both = keras.Model(image, {"a": thresholds()(image), "b": thresholds()(image)})
    batches = [(x, {"a": y, "b": y}) for x, y in batches]
    several = evaluate(both, batches, {"a": Head(), "b": Head()})
    assert set(several) == {"a", "b"}
    np.testing.assert_allclose(several["b"]["iou"], iou)

    with pytest.raises(ValueError, match="`batches` is empty"):
        evaluate(thresholds(), [], Head())


@pytest.mark.once
def test_table():
    scores = {"iou": np.array([0.5, np.nan]), "mean_iou": 0.5, "dice": np.array([1.0, 0.0])}
    lines = class_table(scores, ["sky", "tree"], columns=["iou", "dice"]).splitlines()
    assert lines[2:] == [
        "| sky   | 50.0 | 100.0 |",
        "| tree  |    – |  0.0 |",
        "| mean  | 50.0 |    – |",
    ]
    assert len(class_table(scores, columns=["iou"]).splitlines()) == 5
    with pytest.raises(ValueError, match="1 names for 2 classes"):
        class_table(scores, ["sky"], columns=["iou"])
    with pytest.raises(
        ValueError, match=r"can be \['iou', 'dice'\]. Received: columns=\['recall'\]"
    ):
        class_table(scores, columns=["recall"])


@pytest.mark.once
def test_preview(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    dataset = [sample(6, 8, seed) for seed in range(5)]
    preview = Preview(dataset, tmp_path / "photos", Head(), count=2, every=2)
    model = thresholds()
    model.compile("sgd", loss=keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255))
    batch = np.stack([s["image"] for s in dataset]).astype("float32")
    targets = np.stack([s["segmentation"] for s in dataset])
    model.optimizer.learning_rate = 0.0
    model.fit(batch, targets, epochs=3, callbacks=[preview], verbose=0)
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["epoch_0002.png"]
    photo = np.asarray(Image.open(tmp_path / "photos" / "epoch_0002.png"))
    assert photo.shape == (6 + 4 + 6, 4 * 8, 3)
    chosen = dataset[1]
    np.testing.assert_array_equal(photo[:6, :8], chosen["image"])
    np.testing.assert_array_equal(photo[:6, 8:16], Head().draw(chosen["segmentation"]))
    predicted = (chosen["image"][..., 0] - 50) // 100
    np.testing.assert_array_equal(photo[:6, 16:24], COLORS[predicted])
    error = photo[:6, 24:]
    wanted = error_map(chosen["segmentation"], predicted, image=chosen["image"])
    np.testing.assert_array_equal(error, wanted)

    with pytest.raises(ValueError, match="`count` must be an integer >= 1"):
        Preview(dataset, tmp_path, Head(), count=0)


@pytest.mark.once
def test_shares_of_classes_where_they_are():
    labels = np.array([[0, 0, 1, 255], [0, 0, 0, 255], [1, 1, 1, 0], [255, 255, 255, 255]])
    samples = [{"segmentation": row[None]} for row in labels]
    # Class 0 covers 2/3, all and 1/4 of the known pixels of three images, class 1 a third and 3/4.
    np.testing.assert_allclose(class_shares(samples, 3), [23 / 36, 13 / 24, 0], rtol=1e-12)
    with pytest.raises(ValueError, match="labels from 0 to 1, and there are 1 classes"):
        class_shares(samples, 1)
    with pytest.raises(ValueError, match="no labeled pixel"):
        class_shares(samples[3:], 2)


@pytest.mark.once
def test_median_frequency():
    samples = [{"segmentation": np.array([[0, 0, 1, 255]])}, {"segmentation": np.array([[0, 3]])}]
    frequency = np.array([3 / 5, 1 / 3, 1 / 2])
    expected = np.median(frequency) / frequency
    with pytest.warns(UserWarning, match=r"1 of 4 classes never occur .* weight 0: \[2\]"):
        found = median_frequency(samples, 4)
    np.testing.assert_allclose(found, [expected[0], expected[1], 0.0, expected[2]])
    with pytest.raises(ValueError, match="Sample 1 has labels from 0 to 3, and there are 3"):
        median_frequency(samples, 3)
    with pytest.raises(ValueError, match="no labeled pixel"):
        median_frequency([{"segmentation": np.full((1, 1), 255)}], 2)


def test_evaluate_takes_any_metric():
    """Results that are vectors or dicts, `scores()` of floats, heads without metrics."""

    class Both(keras.metrics.Metric):
        def __init__(self, kind):
            super().__init__(name=kind)
            self.kind, self.total = kind, self.add_variable((3,), "zeros")

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.total.assign_add(keras.ops.sum(keras.ops.convert_to_tensor(y_pred), (0, 1, 2)))

        def result(self):
            if self.kind == "vector":
                return keras.ops.convert_to_tensor(self.total)
            return {"first": self.total[0], "last": self.total[2]}

    class Scored(keras.metrics.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(y_pred)

        def scores(self):
            return {"rmse": 0.5, "delta1": np.float64(0.25)}

    class Any(Head):
        def metrics(self):
            return [Both("vector"), Both("dict"), Scored(name="abs_rel")]

    class Silent(Head):
        def metrics(self):
            return []

    s = sample(4, 6, 0)
    image = s["image"][None].astype("float32")
    y_pred = thresholds().predict_on_batch(image)
    batches = [(image, s["segmentation"][None])] * 2
    found = evaluate(thresholds(), batches, Any())
    totals = 2 * y_pred.astype("float64").sum((0, 1, 2))
    np.testing.assert_allclose(found["vector"], totals, rtol=1e-5)
    assert found["first"] == pytest.approx(totals[0], abs=1e-3)
    assert found["last"] == pytest.approx(totals[2], rel=1e-5)
    assert (found["rmse"], found["delta1"]) == (0.5, 0.25) and type(found["delta1"]) is float
    assert found["abs_rel"] == pytest.approx(y_pred.mean(), rel=1e-5)
    inputs = keras.Input((None, None, 3))
    both = keras.Model(inputs, {"a": thresholds()(inputs), "b": thresholds()(inputs)})
    batches = [(x, {"a": y, "b": y}) for x, y in batches]
    assert set(evaluate(both, batches, {"a": Any(), "b": Silent()})) == {"a"}


def constant(channels):
    image = keras.Input((None, None, 3))
    return keras.Model(image, keras.layers.Conv2D(channels, 1)(image))


@pytest.mark.once
def test_scores_that_would_mean_nothing():
    image = np.zeros((1, 2, 3, 3), "float32")
    for head, target, message in (
        (Segmentation(3), np.full((1, 2, 3), 255), "No pixel of any target is known to the head"),
        (Segmentation(3), np.full((1, 2, 3), 3), "`targets` must be from 0 to 2.*Received: 3"),
        (Segmentation(3), np.full((1, 2, 3), 0.5), "`targets` must be whole numbers"),
        (Depth(), np.zeros((1, 2, 3, 1)), "No pixel of any target is known"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluate(constant(head.channels), [(image, target)], head)
    white = np.array([[[0, 255, 0], [255, 0, 255]]])
    with pytest.warns(DatasetWarning, match=r"labels are 0 and 255.*remap=\{255: 1\}"):
        evaluate(constant(1), [(image, white)], Segmentation(1))
    both = {"a": Segmentation(3), "b": Segmentation(3)}
    x = keras.Input((None, None, 3))
    model = keras.Model(x, {key: keras.layers.Conv2D(3, 1, name=key)(x) for key in both})
    targets = {"a": np.zeros((1, 2, 3), int), "b": np.full((1, 2, 3), 255)}
    with pytest.raises(ValueError, match="known to head 'b'"):
        evaluate(model, [(image, targets)], both)
    targets = {"a": targets["a"], "b": keras.ops.zeros((1, 2, 3), "int32")}
    assert evaluate(model, [(image, targets)], both)["b"]["pixel_accuracy"] >= 0
    with pytest.raises(ValueError, match="has the loader heads?"):
        evaluate(constant(3), [(image,)], Segmentation(3))


@pytest.mark.once
def test_class_weights_of_labels_in_any_form():
    wanted = median_frequency([{"segmentation": np.array([[0, 0, 1, 255]])}], 2)
    for labels in ([[0, 0, 1, 255]], keras.ops.convert_to_tensor([[0, 0, 1, 255]])):
        assert median_frequency([{"segmentation": labels}], np.int64(2)) == wanted
    with pytest.raises(ValueError, match="`segmentation of sample 0` must be whole numbers"):
        median_frequency([{"segmentation": np.array([[0.0, np.nan]])}], 2)
    with pytest.warns(UserWarning, match=r"1 of 3 classes never occur .*have weight 0: \[2\]"):
        median_frequency([{"segmentation": np.array([[0, 1]])}], 3)

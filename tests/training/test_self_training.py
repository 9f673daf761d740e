"""Self-training in `fit`: identities, averages, views, resumption, on every backend."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.datasets import BoxMix, Loader, cached, scenes, split, together, transforms, weaken
from keras_dense.testing.expect import reload
from keras_dense.training import Checkpoint, TwoViews, self_training
from keras_dense.training.batch_of_views import Views
from keras_dense.training.pseudo_labels import allowed, class_logits, fill_labels

RNG = np.random.default_rng
WORLD = cached(scenes(6, size=(12, 16), seed=5))


def network(tags=False, norm=False, classes=3):
    """A small network that is the same in every call."""
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 128, -1)(image)
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization(momentum=0.7)(x) if norm else x
    outputs = layers.Conv2D(classes, 1, name="scores")(x)
    heads = kd.heads.Segmentation(classes)
    if tags:
        pooled = layers.GlobalAveragePooling2D()(x)
        outputs = {"labels": outputs, "tags": layers.Dense(classes, name="tagger")(pooled)}
        heads = {"labels": heads, "tags": kd.heads.Tags(classes, weight=0.0)}
    return kd.heads.attach(keras.Model(image, outputs), heads)


def batch(seed=0):
    """Two images with labels (some void), two without, all of which differ."""
    rng = RNG(seed)
    images = rng.integers(0, 256, (4, 8, 12, 3)).astype("float32")
    labels = rng.integers(0, 3, (4, 8, 12))
    labels[:2, :2] = 255
    known = labels.copy()
    known[2:] = 255
    return images, known, labels


class Twice(keras.losses.Loss):
    """The sum of the losses of two maps of labels, `(B, H, W, 2)`."""

    def call(self, y_true, y_pred):
        return sum(kd.losses.CrossEntropy()(y_true[..., i], y_pred) for i in range(2))[None]


def compiled(model, loss=None, rate=0.1):
    objectives = kd.objectives(model) if loss is None else {"loss": loss}
    model.compile(keras.optimizers.SGD(rate), **objectives)
    return model


def assert_same(one, two, tolerance=1e-5):
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)


@pytest.mark.everywhere
def test_without_average_and_threshold_it_learns_its_own_labels():
    model, twin = network(), compiled(network(), Twice())
    settings = {"momentum": 0.0, "confidence": 0.0, "floor": 0.0}
    training = compiled(self_training(model, **settings))
    before = model.get_weights()
    for step in range(3):
        images, known, _ = batch(step)
        own = twin.predict_on_batch(images).argmax(-1)
        own[:2] = 255
        twin.train_on_batch(images, np.stack([known, own], -1))
        logs = training.train_on_batch(images, known, return_dict=True)
        assert logs["filled"] == 1.0
    assert_same(model, twin)
    assert np.abs(model.get_weights()[0] - before[0]).max() > 1e-3


@pytest.mark.once
def test_with_all_tags_and_one_class_an_image_it_is_full_supervision():
    images, known, _ = batch()
    full = np.full_like(known, 255)
    full[2], full[3] = 2, 0
    tags = np.full((4, 3), 255)
    tags[2], tags[3] = [0, 0, 1], [1, 0, 0]
    model, twin = network(tags=True), network(tags=True)
    training = compiled(self_training(model, momentum=0.5, confidence=0.9))
    losses = {"labels": Twice(), "tags": kd.heads.of(twin)["tags"].loss}
    twin.compile(keras.optimizers.SGD(0.1), loss=losses, loss_weights={"labels": 1.0, "tags": 0.0})
    for _ in range(2):
        training.train_on_batch(images, {"labels": known, "tags": tags})
        twin.train_on_batch(images, {"labels": np.stack([known, full], -1), "tags": tags})
    for name in ("scores", "conv2d"):
        mine, other = (
            next(layer for layer in m.layers if layer.name.startswith(name)) for m in (model, twin)
        )
        assert_same(mine, other)


@pytest.mark.everywhere
def test_the_teacher_is_the_mean_of_weights_and_statistics():
    model = network(norm=True)
    training = compiled(self_training(model, momentum=0.6), rate=0.5)
    wanted = None
    for step in range(4):
        # Statistics of a step are those of its own forward pass, weights those before the update.
        weights = [w.copy() for w in model.get_weights()]
        images, known, _ = batch(step)
        training.train_on_batch(images, known)
        statistics = model.get_weights()
        now = [
            s if w.path.endswith(("mean", "variance")) else old
            for w, old, s in zip(model.weights, weights, statistics, strict=True)
        ]
        keep = min(0.6, 1 - 1 / (step + 1))
        wanted = (
            now
            if wanted is None
            else [keep * a + (1 - keep) * b for a, b in zip(wanted, now, strict=True)]
        )
    for found, value in zip(training.teacher.get_weights(), wanted, strict=True):
        np.testing.assert_allclose(found, value, atol=1e-5)
    assert not training.teacher.trainable_variables
    paths = [v.path for v in training.variables]
    assert len(set(paths)) == len(paths)  # or gradients add up on torch
    assert len(training.trainable_variables) == len(model.trainable_variables)
    assert int(training.average.steps) == 4


def views(seed=1, **settings):
    few, many = split(WORLD, 0.34)
    data = together(few, weaken(many, "tags"), shares=(1, 2))
    heads = {"labels": kd.heads.Segmentation(8), "tags": kd.heads.Tags(8)}
    loader = Loader(data, heads, 3, shuffle=True, missing="unknown", workers=0, seed=seed)
    changes = {"strong": [transforms.Noise(30)], "mix": BoxMix(probability=0.7), **settings}
    return TwoViews(loader, seed=2, **changes)


def prepared():
    training = self_training(network(tags=True, norm=True, classes=8), confidence=0.5, ramp=3)
    training.compile(keras.optimizers.Adam(0.01), **kd.objectives(training))
    return training


@pytest.mark.once
def test_killed_and_continued_is_the_same(tmp_path):
    whole, data = prepared(), views()
    history = whole.fit(data, epochs=3, shuffle=False, verbose=0).history
    assert {"filled", "agreement", "labels_mean_iou"} <= set(history)
    assert np.isfinite(history["loss"]).all() and max(history["filled"]) > 0
    first, checkpoint, data = prepared(), Checkpoint(tmp_path / "run"), views()
    start = checkpoint.restore(first, data)
    first.fit(data, epochs=2, initial_epoch=start, callbacks=[checkpoint], shuffle=False, verbose=0)
    again, checkpoint, data = prepared(), Checkpoint(tmp_path / "run"), views()
    start = checkpoint.restore(again, data)
    assert start == 2
    again.fit(data, epochs=3, initial_epoch=2, callbacks=[checkpoint], shuffle=False, verbose=0)
    np.testing.assert_allclose(checkpoint.history["loss"], history["loss"], rtol=1e-5)
    assert_same(again.teacher, whole.teacher)
    assert_same(again, whole)


@pytest.mark.everywhere
def test_a_keras_file_holds_teacher_steps_and_settings():
    training = prepared()
    images, known, _ = batch()
    y = {"labels": known, "tags": np.full((4, 8), 255)}
    training.train_on_batch(images, y)
    again = reload(training)
    assert again.settings == training.settings and int(again.average.steps) == 1
    assert_same(again.teacher, training.teacher, 0)
    losses = [m.train_on_batch(images, y, return_dict=True)["loss"] for m in (training, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    plain = keras.Model(training.input, training.output)
    found = reload(training.teacher).predict_on_batch(images)["labels"]
    wanted = training.teacher.predict_on_batch(images)["labels"]
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert kd.heads.of(plain)["labels"].channels == 8


@pytest.mark.everywhere
def test_evaluation_is_that_of_the_network():
    training = compiled(self_training(network(), weight=3.0))
    images, known, _ = batch()
    logs = training.evaluate(images, known, verbose=0, return_dict=True)
    assert set(logs) == {"loss", "mean_iou", "pixel_accuracy"}
    found = logs["loss"]
    plain = compiled(network()).evaluate(images, known, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(plain, rel=1e-5)
    assert int(training.average.steps) == 0
    both = {"validation_data": (images, known), "epochs": 2, "verbose": 0}
    history = training.fit(images, known, **both).history
    assert len(history["filled"]) == 2 and "val_filled" not in history


@pytest.mark.once
def test_views_have_one_geometry_and_say_where_pixels_come_from():
    data = views(strong=[transforms.Gamma(2)], mix=BoxMix(probability=1))
    seen, y, weights = data[0]
    gamma = np.rint(255 * (np.arange(256) / 255) ** 2).astype("uint8")[y["weak"]]
    for b in range(3):
        other = y["source"][b] == 1
        assert 0 < other.mean() < 1 and y["partner"][b] != b
        np.testing.assert_array_equal(seen[b][~other], gamma[b][~other])
        np.testing.assert_array_equal(seen[b][other], gamma[y["partner"][b]][other])
    plain = views(strong=[transforms.Gamma(2)], mix=None)[0]
    np.testing.assert_array_equal(plain[1]["targets"]["labels"], y["targets"]["labels"])
    again = views(strong=[transforms.Gamma(2)], mix=BoxMix(probability=1))
    np.testing.assert_array_equal(again[0][0], seen)
    again.resume(2, 1)
    for _ in range(2):
        for _ in data:
            pass
    np.testing.assert_array_equal(data[1][0], again[0][0])
    assert set(weights) == {"labels", "tags"}


@pytest.mark.once
def test_what_is_hidden_is_not_filled():
    data = views(strong=[transforms.CutOut(area=(0.3, 0.3))], mix=None)
    _, y, _ = data[0]
    hidden = y["source"] == 2
    assert 0.2 < hidden.mean() < 0.4
    training = prepared()
    known = np.asarray(y["targets"]["labels"] != 255)
    assert known[0].all() and not known[1:].any()
    mixed = Views.of(y["weak"], y).mixed(training.heads["labels"], y["targets"]["labels"])
    np.testing.assert_array_equal(ops.convert_to_numpy(mixed), y["targets"]["labels"])
    with pytest.raises(ValueError, match="`strong` must change colors.*Received: RandomFlip"):
        views(strong=[transforms.RandomFlip(1)])[0]


@pytest.mark.once
def test_mixed_targets_in_the_graph_are_those_of_the_host():
    from keras_dense.datasets.mixing import mixed_targets

    data = views(mix=BoxMix(probability=1))
    seen, y, weights = data[1]
    heads = data.loader.heads
    wanted = mixed_targets(heads, y["targets"], y["partner"], y["source"] == 1)
    found = Views.of(seen, y)
    for key, head in heads.items():
        value = ops.convert_to_numpy(found.mixed(head, y["targets"][key]))
        np.testing.assert_array_equal(value, wanted[key])


def reference(p, fillable, confidence, relative):
    """Labels by loops."""
    label, best = p.argmax(-1), p.max(-1)
    limits = np.broadcast_to(np.asarray(confidence, float), p.shape[-1:]).copy()
    if relative:
        for c in range(p.shape[-1]):
            tops = best[(label == c) & fillable]
            limits[c] *= tops.max() if tops.size else 0
    return np.where(fillable & (best >= limits[label]), label, 255)


@pytest.mark.everywhere
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("confidence", [0.6, [0.9, 0.3, 0.7]])
def test_thresholds_of_classes(confidence, relative):
    rng = RNG(0)
    logits = rng.normal(0, 2, (2, 7, 9, 3)).astype("float32")
    logits[..., 1] -= 1.5  # a class of which the teacher is seldom sure
    fillable = rng.random((2, 7, 9)) < 0.8
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    found = fill_labels(
        ops.convert_to_tensor(logits),
        ops.convert_to_tensor(fillable),
        confidence=confidence,
        relative=relative,
        floor=0.1,
        tags=None,
        void=255,
    )
    wanted = reference(p, fillable, confidence, relative)
    np.testing.assert_array_equal(ops.convert_to_numpy(found.labels), wanted)
    share = (wanted != 255).sum() / fillable.sum()
    assert float(found.share) == pytest.approx(share, abs=1e-6) and 0 < share < 1


@pytest.mark.once
def test_tags_rule_out_and_their_classes_come_back():
    rng = RNG(1)
    logits = rng.normal(0, 1, (2, 40, 40, 4)).astype("float32")
    logits[..., 3] -= 200  # never said, and a probability of 0 in float32
    logits[0, 10:20, 10:20, 3] += 20
    tags = np.array([[1, 0, 255, 1], [1, 0, 0, 0]])
    filtered = allowed(ops.convert_to_tensor(logits), ops.convert_to_tensor(tags))
    settings = {"confidence": 0.5, "relative": False, "tags": ops.convert_to_tensor(tags)}
    fillable = ops.ones((2, 40, 40), dtype="bool")
    found, none = (
        ops.convert_to_numpy(fill_labels(filtered, fillable, floor=f, void=255, **settings).labels)
        for f in (0.05, 0.0)
    )
    assert not (found == 1).any() and set(np.unique(none[0])) <= {0, 2, 255}
    assert (found[1] == 0).all()
    there = found[0] == 3
    assert there[10:20, 10:20].mean() > 0.5 and 0.03 < there.mean() < 0.08
    each = fill_labels(filtered, fillable, floor=[0, 0, 0, 0.05], void=255, **settings).labels
    np.testing.assert_array_equal(ops.convert_to_numpy(each)[0] == 3, there)
    without = fill_labels(filtered, fillable, floor=[0.5, 0, 0, 0], void=255, **settings).labels
    assert not (ops.convert_to_numpy(without) == 3).any()
    presence = ops.convert_to_tensor([[0.0, 9, -50, 9], [0, 0, 0, 0]])
    weighed = ops.convert_to_numpy(allowed(ops.convert_to_tensor(logits), tags, presence))
    assert weighed[0, ..., 2].max() < -30 and weighed[0, ..., 0].max() > 0
    unknown = np.full((2, 4), 255)
    same = ops.convert_to_numpy(allowed(ops.convert_to_tensor(logits), unknown, presence))
    np.testing.assert_array_equal(same, logits)


@pytest.mark.everywhere
def test_objects_that_are_ruled_out_become_those_that_are_there():
    logits = RNG(2).normal(0, 4, (3, 5, 7, 4)).astype("float32")
    logits[..., 3] -= 300  # probabilities of 0 in float32
    tags = np.array([[1, 0, 1, 255], [1, 0, 0, 0], [255, 255, 255, 255]])
    found = allowed(ops.convert_to_tensor(logits), ops.convert_to_tensor(tags), background=0)
    found = ops.convert_to_numpy(ops.softmax(found))
    p = np.exp(logits.astype("float64"))
    p /= p.sum(-1, keepdims=True)
    wanted = p.copy()
    objects = p[0][..., 2:]
    share = objects / objects.sum(-1, keepdims=True)
    wanted[0] = np.concatenate(
        [p[0, ..., :1], 0 * p[0, ..., :1], objects + share * p[0, ..., 1:2]], axis=-1
    )
    wanted[1] = [1.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_bad_background():
    for value in (4, -1, 0.5):
        with pytest.raises((TypeError, ValueError), match="`background` must be"):
            kd.training.self_training(network(), background=value)


@pytest.mark.once
def test_scribbles_are_filled_around():
    """Void pixels of marked images are filled with `fill="pixels"`, and not by default."""
    images, known, _ = batch()
    known[2:, 3, 4] = 1
    for fill, share in (("images", 0.0), ("pixels", 1.0)):
        training = compiled(self_training(network(), fill=fill, confidence=0.0, momentum=0.0))
        logs = training.train_on_batch(images, known, return_dict=True)
        assert logs["filled"] == share
    weight = np.ones(known.shape, "float32")
    weight[:, :, :6] = 0  # padding
    training = compiled(self_training(network(), fill="pixels", confidence=0.0))
    filled = training._fill(Views.of(images, known), {"": known}, weight)
    found = ops.convert_to_numpy(filled.labels)
    assert (found[:, :, :6] == 255).all() and (found[2, :, 6:] != 255).any()


@pytest.mark.once
def test_one_class_of_foreground():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(1, 1)(image))
    model = kd.heads.attach(model, kd.heads.Segmentation(1))
    training = compiled(self_training(model, confidence=0.0, momentum=0.0), rate=1e-4)
    images, known, _ = batch()
    logs = training.train_on_batch(images, np.where(known == 2, 0, known), return_dict=True)
    assert logs["filled"] == 1.0 and np.isfinite(logs["loss"])
    logits = ops.convert_to_numpy(class_logits(ops.convert_to_tensor([[[[3.0]]]])))
    assert logits.ravel().tolist() == [0.0, 3.0]


@pytest.mark.once
def test_the_weight_of_filled_labels_grows():
    training = compiled(self_training(network(), weight=2.0, ramp=4))
    found = []
    for step in range(1, 6):
        training.average.steps.assign(step)
        found.append(float(training._strength()))
    assert found == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert self_training(network(), weight=2.0)._strength() == 2.0


def test_bad_arguments():
    model = network()
    for settings, message in (
        ({"momentum": 1.0}, "`momentum` must be a number >= 0 and < 1"),
        ({"confidence": 2}, "`confidence` must be a number from 0 to 1"),
        ({"confidence": [0.5, 0.5]}, "a number, or one for each of 3 classes. Received: 2 numbers"),
        ({"fill": "all"}, "`fill` must be one of 'images', 'pixels'"),
        ({"floor": 1.0}, "`floor` must be a number >= 0 and < 1"),
        ({"floor": [0.1]}, "`floor` must be a number, or one for each of"),
        ({"key": "masks"}, "`key` must be a segmentation of the model.*one of: ''"),
        ({"ramp": -1}, "`ramp` must be an integer >= 0"),
    ):
        with pytest.raises(ValueError, match=message):
            self_training(model, **settings)
    with pytest.raises(TypeError, match="`affinity` must be a loss"):
        self_training(model, affinity="gated")
    with pytest.raises(ValueError, match="`loss` must be one loss, as kd.objectives"):
        self_training(model).compile("sgd", loss={"a": "mse"})
    image = keras.Input((None, None, 3))
    slow = layers.BatchNormalization(momentum=0.999)(layers.Conv2D(3, 1)(image))
    slow = kd.heads.attach(keras.Model(image, slow), kd.heads.Segmentation(3))
    with pytest.warns(UserWarning, match="averages over 1000 steps .momentum 0.999"):
        self_training(slow)
    none = kd.heads.attach(
        keras.Model(image, layers.Conv2D(3, 1)(image)), kd.heads.Segmentation(3, ignore_class=None)
    )
    with pytest.raises(ValueError, match="must have an `ignore_class`"):
        self_training(none)
    with pytest.raises(TypeError, match="`loader` must be a Loader with heads"):
        TwoViews([1, 2])


@pytest.mark.exhaustive
def test_tags_teach_what_few_labels_do_not():
    """Two labeled images in white light; in red light, only the classes of images are known."""
    colors = np.array([[80, 80, 80], [140, 80, 80], [80, 140, 80]])

    def images(count, light, rng):
        samples = []
        for i in range(count):
            pair = [i % 3, (i + 1) % 3]
            labels = np.repeat(rng.permutation(pair), 72).reshape(12, 12)
            image = colors[labels] + rng.normal(0, 12, (12, 12, 3)) + [light, 0, 0]
            samples.append({"image": image.clip(0, 255).astype("uint8"), "segmentation": labels})
        return samples

    class Images(list):
        num_classes = 3

    rng = RNG(0)
    few = Images(images(3, 0, rng))
    weak = weaken(Images(images(12, 50, rng)), "tags")
    test = images(12, 50, rng)
    accuracy = {}
    for arm in ("labels", "unlabeled", "tags"):
        keras.utils.set_random_seed(0)
        image = keras.Input((None, None, 3))
        x = layers.Rescaling(1 / 64, -2)(image)
        x = layers.Conv2D(16, 1, activation="relu")(x)
        outputs = {
            "labels": layers.Conv2D(3, 1)(x),
            "tags": layers.Dense(3)(layers.GlobalAveragePooling2D()(x)),
        }
        heads = {"labels": kd.heads.Segmentation(3), "tags": kd.heads.Tags(3, weight=0.0)}
        model = kd.heads.attach(keras.Model(image, outputs), heads)
        loader = Loader(
            together(few, weak, shares=(2, 4)), heads, 6, shuffle=True, missing="unknown", workers=0
        )
        training = self_training(
            model,
            momentum=0.9,
            confidence=0.7,
            weight=0.0 if arm == "labels" else 1.0,
            tags=arm == "tags",
            ramp=30,
        )
        training.compile(keras.optimizers.Adam(0.01), **kd.objectives(training))
        training.fit(TwoViews(loader), epochs=25, shuffle=False, verbose=0)
        found = training.teacher.predict_on_batch(np.stack([s["image"] for s in test]))["labels"]
        truth = np.stack([s["segmentation"] for s in test])
        accuracy[arm] = float((found.argmax(-1) == truth).mean())
    assert accuracy["tags"] > accuracy["labels"] + 0.1, accuracy
    assert accuracy["tags"] > accuracy["unlabeled"] + 0.1, accuracy

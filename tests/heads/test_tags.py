"""The head of tags: its target, its sources, training beside a segmentation."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.testing import check_model

RNG = np.random.default_rng(0)


def network(heads, level="P3"):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, strides=8, padding="same", activation="relu")(image)
    y = layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(x)
    backbone = keras.Model(image, {"P3": x, "P5": y}, name="backbone")
    return kd.assemble(backbone, lambda features: features[level], heads)


def heads(**settings):
    return {"labels": kd.heads.Segmentation(4), "tags": kd.heads.Tags(4, **settings)}


@pytest.mark.parametrize("settings", [{}, {"source": "scores"}], ids=["features", "scores"])
def test_contract_of_a_model_with_tags(settings):
    model = network(heads(**settings), "P5" if settings else "P3")
    check_model(model, sizes=((40, 48), (33, 41)))


def test_features_are_a_mean_and_a_dense_layer():
    model = network(heads())
    image = RNG.integers(0, 256, (2, 64, 96, 3)).astype("uint8")
    feature = ops.convert_to_numpy(model.get_layer("backbone")(image.astype("float32"))["P5"])
    kernel, bias = model.get_layer("tags_presence").get_weights()
    wanted = feature.mean((1, 2)) @ kernel + bias
    found = model.predict_on_batch(image)["tags"]
    np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max())


def test_scores_are_a_soft_maximum_of_log_odds():
    scores = RNG.normal(0, 2, (2, 5, 7, 4))
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    odds = np.log(p / (1 - p))
    for sharpness in (0.01, 3.0, 200.0):
        wanted = np.log(np.exp(sharpness * (odds - odds.max((1, 2), keepdims=True))).mean((1, 2)))
        wanted = wanted / sharpness + odds.max((1, 2))
        found = kd.layers.ClassPresence(sharpness=sharpness)(scores.astype("float32"))
        np.testing.assert_allclose(ops.convert_to_numpy(found), wanted, atol=2e-3)


def test_the_scores_that_are_read_must_be_clear():
    with pytest.raises(ValueError, match="a segmentation of 4 classes, of which there must be one"):
        network({"depth": kd.heads.Depth(), "tags": kd.heads.Tags(4, source="scores")})


def sample(labels=None, tags=None):
    found = {"image": np.zeros((1, 4, 3), "uint8")}
    if labels is not None:
        found["segmentation"] = np.array([labels], "uint8")
    if tags is not None:
        found["tags"] = np.array(tags, "uint8")
    return found


@pytest.mark.parametrize(
    "labels, tags, partial, wanted",
    [
        ([0, 0, 2, 255], None, False, [1, 0, 1, 0]),
        ([0, 0, 2, 255], None, True, [1, 255, 1, 255]),
        ([255] * 4, None, False, [255] * 4),
        ([255] * 4, [1, 0, 255, 1], False, [1, 0, 255, 1]),
        (None, [1, 0, 255, 1], False, [1, 0, 255, 1]),
        # The mask decides; a class that was tagged may be under void.
        ([0, 0, 2, 255], [255, 1, 0, 255], False, [1, 255, 1, 0]),
        # Scribbles, and tags for the rest.
        ([0, 0, 2, 255], [255, 1, 0, 0], True, [1, 1, 1, 0]),
    ],
)
def test_target_of_a_sample(labels, tags, partial, wanted):
    head = kd.heads.Tags(4, partial=partial)
    assert head.annotated(sample(labels, tags))
    assert head.encode(sample(labels, tags)).tolist() == wanted


def test_bad_tags():
    head = kd.heads.Tags(4)
    with pytest.raises(KeyError, match="neither 'tags' nor 'segmentation'.*It has: 'image'"):
        head.encode(sample())
    with pytest.raises(
        ValueError, match=r"one entry for each of 4 classes. Received: shape \(3,\)"
    ):
        head.encode(sample(tags=[1, 0, 1]))
    with pytest.raises(ValueError, match="`tags` must be 1, 0 or 255"):
        head.encode(sample(tags=[1, 0, 1, 7]))
    with pytest.raises(ValueError, match="labels must be from 0 to 3"):
        head.encode(sample([0, 1, 2, 9]))
    with pytest.raises(ValueError, match="`targets` must be 1, 0 or 255.*Received: .2"):
        head.check_targets(np.array([[2, 0, 1, 255]]))
    with pytest.raises(ValueError, match="`source` must be one of"):
        kd.heads.Tags(4, source="magic")
    with pytest.raises(ValueError, match="one entry for each of 4 classes. Received: 2 names"):
        kd.heads.Tags(4, class_names=["a", "b"])
    image = keras.Input((None, None, 3))
    maps = layers.Conv2D(4, 1)(image)
    with pytest.raises(ValueError, match=r"one prediction for each image, \(B, 4\), for Tags"):
        kd.heads.attach(keras.Model(image, {"tags": maps, "labels": maps}), heads())


@pytest.mark.everywhere
def test_unknown_tags_have_neither_loss_nor_gradient():
    from keras_dense.testing.expect import value_and_gradient

    loss = kd.heads.Tags(3).loss
    truth = np.array([[1, 0, 255], [255, 255, 1]])
    logits = RNG.normal(size=(2, 3)).astype("float32")
    value, gradient = value_and_gradient(loss, truth, logits)
    known = truth != 255
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    costs = -np.log(np.where(truth == 1, p, 1 - p))[known]
    assert value == pytest.approx(costs.mean(), rel=1e-5)
    np.testing.assert_allclose(gradient, np.where(known, p - (truth == 1), 0) / 3, atol=1e-6)
    assert value_and_gradient(loss, np.full((2, 3), 255), logits)[0] == 0


def test_loader_gives_tags_and_decoded_leaves_them_out():
    tagged = {**sample(tags=[1, 0, 255, 0]), "weight": np.ones((1, 4), "float32")}
    masked = {**sample([0, 1, 1, 255]), "weight": np.ones((1, 4), "float32")}
    loader = kd.datasets.Loader([tagged, masked], heads(), 2, missing="unknown", workers=0)
    _, targets, weights = loader[0]
    assert targets["tags"].tolist() == [[1, 0, 255, 0], [1, 1, 0, 0]]
    assert targets["labels"].tolist() == [[[255] * 4], [[0, 1, 1, 255]]]
    assert weights["tags"].shape == (2,) and weights["labels"].shape == (2, 1, 4)
    model = network(heads())
    model.compile("sgd", **kd.objectives(model))
    history = model.fit(loader, shuffle=False, verbose=0).history
    assert "tags_mean_average_precision" in history and np.isfinite(history["loss"]).all()
    assert list(kd.decoded(model).output) == ["labels"]
    assert "tags" in kd.training.evaluate(model, loader)


def test_drawing():
    head = kd.heads.Tags(3, palette=[[9, 9, 9], [200, 0, 0], [0, 200, 0]])
    drawn = head.draw(np.array([1, 0, 255]))[0, ::16]
    assert drawn.tolist() == [[9, 9, 9], [255, 255, 255], [128, 128, 128]]
    wrong = head.error(np.array([1, 0, 255]), np.array([1, 1, 1]))[0, ::16]
    assert wrong[1].tolist() == [220, 50, 50] and wrong[2].tolist() == [128] * 3
    assert head.outputs(np.zeros((1, 3)), None)["presence"].shape == (1, 3)
    assert ops.convert_to_numpy(head.decode(np.array([[1.0, -1, 0]]))).tolist() == [[1, 0, 0]]

"""Label scores filtered by the classes that an image contains."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd

RNG = np.random.default_rng(0)


def network(several=True):
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=8, padding="same", activation="relu")(image)
    backbone = keras.Model(image, {"P3": x}, name="backbone")
    labels = kd.heads.Segmentation(3)
    both = {"labels": labels, "tags": kd.heads.Tags(3, level="P3")}
    return kd.assemble(backbone, lambda features: features["P3"], both if several else labels)


def images(height=21, width=30):
    return RNG.uniform(0, 4, (2, height, width, 3)).astype("float32")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_probabilities_are_multiplied_by_those_of_the_tags():
    model, x = network(), images()
    before, after = (m.predict_on_batch(x) for m in (model, kd.with_tags(model, background=0)))
    presence = 1 / (1 + np.exp(-before["tags"]))
    presence[:, 0] = 1
    wanted = softmax(before["labels"]) * presence[:, None, None]
    wanted /= wanted.sum(-1, keepdims=True)
    np.testing.assert_allclose(softmax(after["labels"]), wanted, atol=1e-5)
    np.testing.assert_array_equal(after["tags"], before["tags"])


def test_tags_that_the_user_knows():
    model, x = network(), images()
    given = kd.with_tags(model, given=True)
    tags = np.array([[1, 0, 255], [0, 0, 1]], "float32")
    found = softmax(given.predict_on_batch({"image": x, "known_tags": tags})["labels"])
    assert found[0, ..., 1].max() < 1e-9 and found[1, ..., 2].min() > 1 - 1e-6
    plain = model.predict_on_batch(x)
    wanted = softmax(plain["labels"][0]) * [1, 0, 1 / (1 + np.exp(-plain["tags"][0, 2]))]
    np.testing.assert_allclose(found[0], wanted / wanted.sum(-1, keepdims=True), atol=1e-5)
    unknown = given.predict_on_batch({"image": x, "known_tags": np.full((2, 3), 255.0)})["labels"]
    usual = kd.with_tags(model).predict_on_batch(x)["labels"]
    np.testing.assert_allclose(unknown, usual, atol=1e-5)


@pytest.mark.everywhere
def test_both_parts_learn_through_the_filter(tmp_path):
    model = network()
    gated = kd.with_tags(model)
    assert kd.heads.of(gated)["labels"].channels == 3
    gated.compile("sgd", loss={"labels": kd.losses.CrossEntropy()})
    dense = model.get_layer("tags_presence")
    before = dense.get_weights()[1].copy()
    gated.train_on_batch(images(16, 16), {"labels": RNG.integers(0, 3, (2, 16, 16))})
    assert np.abs(dense.get_weights()[1] - before).min() > 0
    x = images(19, 13)
    gated.save(tmp_path / "gated.keras")
    again = keras.models.load_model(tmp_path / "gated.keras")
    np.testing.assert_allclose(
        again.predict_on_batch(x)["labels"], gated.predict_on_batch(x)["labels"], atol=1e-5
    )


def test_without_a_head_the_scores_say_what_is_there():
    model, x = network(several=False), images()
    scores = model.predict_on_batch(x)
    presence = ops.convert_to_numpy(kd.layers.ClassPresence()(scores))
    wanted = scores - np.logaddexp(0, -presence)[:, None, None]
    np.testing.assert_allclose(kd.with_tags(model).predict_on_batch(x), wanted, atol=1e-5)


def test_bad_arguments():
    with pytest.raises(
        ValueError, match="`key` must be the output that is filtered, one of labels"
    ):
        kd.with_tags(network(), "masks")
    with pytest.raises(ValueError, match="`key` must be None"):
        kd.with_tags(network(several=False), "labels")
    with pytest.raises(ValueError, match="`background` must be an integer from 0 to 2"):
        kd.with_tags(network(), background=3)
    with pytest.raises(TypeError, match="must have one input"):
        kd.with_tags(kd.with_tags(network(), given=True))
    image = keras.Input((None, None, 3))
    with pytest.raises(ValueError, match="at least 2 classes"):
        kd.with_tags(keras.Model(image, layers.Conv2D(1, 1)(image)))

"""IDW-CNN and DIS: their parts, their training with images that have no mask, bad input."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.testing import check_model

RNG = np.random.default_rng(0)
CLASSES = 4


def backbone():
    """Two strides, one feature."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3), name="image")
    x = layers.Rescaling(1 / 128, -1, name="scale")(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="one")(x)
    x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="two")(x)
    return keras.Model(image, {"P2": x}, name="backbone")


def idw(actions=("rides", "holds"), **settings):
    head = kd.heads.Segmentation(CLASSES)
    heads = {
        "segmentation": head,
        "first": kd.heads.Intermediate(head, "first"),
        "objects": kd.heads.Tags(CLASSES, source="network"),
    }
    if actions:
        heads["interactions"] = kd.heads.Interactions(CLASSES, actions)
    sizes = {"filters": 6, "object_units": 5, "action_units": 3, "rates": (1,), "level": "P2"}
    decoder = kd.decoders.idw_cnn(len(actions), **{**sizes, **settings})
    return kd.assemble(backbone(), decoder, heads)


def dis():
    heads = {
        "segmentation": kd.heads.Segmentation(CLASSES),
        "tags": kd.heads.Tags(CLASSES, level="P2"),
        "rebuilt": kd.heads.Reconstruction(5, context=3, level="P2"),
    }
    return kd.assemble(backbone(), kd.decoders.deeplabv2((1,), level="P2"), heads)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.everywhere
@pytest.mark.parametrize("build", [idw, dis, lambda: idw(actions=())])
def test_contract(build):
    check_model(build(), sizes=((40, 48), (33, 41)))


@pytest.mark.everywhere
def test_every_part_of_idw_cnn_against_numpy():
    model = idw(merge="sum")
    image = RNG.integers(0, 256, (2, 16, 24, 3)).astype("float32")
    found = model.predict_on_batch(image)
    x = ops.convert_to_numpy(model.get_layer("backbone")(image)["P2"]).astype("float64")
    scores = ops.convert_to_numpy(
        model.get_layer("segmentation_first_aspp_1")(x.astype("float32"))
    ).astype("float64")
    kernel, bias = model.get_layer("interaction_features").get_weights()
    h = relu(x @ kernel[0, 0] + bias)
    p = softmax(scores)
    masked = np.einsum("bhwc,bhwd->bcd", p, h) / p.sum((1, 2))[..., None]
    w, b = model.get_layer("object_hidden").get_weights()
    hidden = relu(np.einsum("bcd,cdk->bck", masked, w) + b)
    w, b = model.get_layer("object_presence").get_weights()
    presence = np.einsum("bck,ck->bc", hidden, w) + b
    np.testing.assert_allclose(found["objects"], presence, atol=1e-4)
    pairs = masked[:, :, None] + masked[:, None]
    w, b = model.get_layer("action_hidden").get_weights()
    hidden = relu(np.einsum("bijd,adk->bijak", pairs, w) + b)
    w, b = model.get_layer("action_scores").get_weights()
    actions = np.einsum("bijak,ak->bija", hidden, w) + b
    np.testing.assert_allclose(found["interactions"], actions.reshape(2, -1), atol=1e-4)
    refined = p / (1 + np.exp(-presence))[:, None, None]
    refined /= refined.sum(-1, keepdims=True)
    # At the centers of cells, where bilinear upsampling by 4 keeps logits up to its neighbors:
    # compare the gate itself instead.
    gate = model.get_layer("presence_gate")(scores.astype("float32"), presence.astype("float32"))
    np.testing.assert_allclose(softmax(ops.convert_to_numpy(gate)), refined, atol=1e-5)
    shift = found["segmentation"] - found["first"]  # the same everywhere: upsampling is linear
    wanted = -np.log1p(np.exp(-presence))[:, None, None]
    np.testing.assert_allclose(shift, np.broadcast_to(wanted, shift.shape), atol=1e-4)


def test_only_an_ordered_merge_tells_subject_from_object():
    image = RNG.integers(0, 256, (1, 16, 24, 3)).astype("float32")
    for merge, same in (("sum", True), ("ordered", False)):
        found = idw(merge=merge).predict_on_batch(image)["interactions"]
        grid = found.reshape(CLASSES, CLASSES, 2)
        assert np.allclose(grid, grid.transpose(1, 0, 2), atol=1e-5) == same


def test_the_builders_add_the_heads_that_are_missing():
    small = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    head = kd.heads.Segmentation(3, class_names=["ground", "person", "horse"])
    model = kd.idw_cnn(small, heads=head, actions=["rides"], filters=8)
    heads = kd.heads.of(model)
    assert list(heads) == ["segmentation", "first", "objects", "interactions"]
    assert heads["interactions"].class_names == ["ground", "person", "horse"]
    assert list(kd.decoded(model).output) == ["segmentation"]
    assert kd.surgery.strides(model.get_layer("backbone"))["P5"] == 8
    model = kd.dis(kd.backbone("mobilenet_v2", weights=None, alpha=0.35), heads=head)
    assert list(kd.heads.of(model)) == ["segmentation", "tags", "rebuilt"]
    refined = kd.with_reconstruction(kd.with_tags(model))
    image = RNG.integers(0, 256, (1, 37, 51, 3)).astype("float32")
    assert refined.predict_on_batch(image)["segmentation"].shape == (1, 37, 51, 3)


def described():
    """Scenes with masks and relations, and scenes whose relations alone are known."""
    world = kd.datasets.cached(kd.datasets.with_relations(kd.datasets.scenes(6, (16, 24), seed=4)))
    few, many = kd.datasets.split(world, 0.34)
    return kd.datasets.together(few, kd.datasets.weaken(many, "tags"), shares=(1, 2))


@pytest.mark.everywhere
def test_three_stages_of_idw_cnn():
    head = kd.heads.Segmentation(8)
    heads = {
        "segmentation": head,
        "first": kd.heads.Intermediate(head, "first"),
        "objects": kd.heads.Tags(8, source="network"),
        "interactions": kd.heads.Interactions(8, kd.datasets.RELATIONS),
    }
    sizes = {"filters": 6, "object_units": 5, "action_units": 3, "rates": (1,), "level": "P2"}
    model = kd.assemble(backbone(), kd.decoders.idw_cnn(3, **sizes, merge="ordered"), heads)
    goals = kd.objectives(model)
    loader = kd.datasets.Loader(described(), heads, 3, missing="unknown", workers=0)
    parts = ("segmentation_first_aspp_1", "object_presence", "action_scores")

    def moved(weights, model=model, data=loader):
        before = [model.get_layer(part).get_weights()[0].copy() for part in parts]
        model.compile("sgd", **{**goals, "loss_weights": weights, "metrics": None})
        model.fit(data, shuffle=False, verbose=0)
        after = [model.get_layer(part).get_weights()[0] for part in parts]
        return [bool(np.abs(a - b).max() > 0) for a, b in zip(after, before, strict=True)]

    assert moved(dict.fromkeys(heads, 0.0) | {"first": 1.0}) == [True, False, False]
    assert moved(goals["loss_weights"] | {"interactions": 0.0}) == [True, True, False]
    settings = {"momentum": 0.0, "confidence": 0.0, "floor": 0.0, "tags": False}
    training = kd.training.self_training(model, "segmentation", **settings)
    assert training.assisting == ["first"]
    assert moved(goals["loss_weights"], training) == [True, True, True]


@pytest.mark.everywhere
def test_dis_learns_from_images_without_masks():
    model = dis()
    training = kd.training.self_training(model, colors=3.0, momentum=0.5, confidence=0.0)
    training.compile("sgd", **kd.objectives(training))
    images = RNG.integers(0, 256, (2, 16, 24, 3)).astype("float32")
    unknown = np.full((2, 16, 24), 255)
    targets = {"segmentation": unknown, "tags": np.array([[1, 1, 0, 0]] * 2), "rebuilt": images}
    before = model.get_layer("segmentation_aspp_1").get_weights()[0].copy()
    logs = training.train_on_batch(images, targets, return_dict=True)
    assert logs["filled"] == 1 and np.isfinite(logs["loss"])
    assert np.abs(model.get_layer("segmentation_aspp_1").get_weights()[0] - before).max() > 0


def test_the_image_is_rebuilt_from_labels_and_a_few_numbers_alone():
    """Moving the image's details, with equal labels and mean feature, changes nothing."""
    model = dis()
    rebuild = keras.Model(
        [model.get_layer("rebuilt_labels").output, model.get_layer("rebuilt_mean").output],
        model.get_layer("rebuilt_rebuild_3").output,
    )
    assert rebuild.count_params() == (9 * 4 * 5 + 5) + 8 * 3 + 3 + 3 * 5 + 9 * 25 + 5 + 9 * 15 + 3
    p, mean = np.full((1, 9, 10, CLASSES), 0.25, "float32"), np.ones((1, 1, 1, 8), "float32")
    y = rebuild.predict_on_batch([p, mean])
    assert y.shape == (1, 9, 10, 3)
    np.testing.assert_allclose(y[0, 4, 4], y[0, 4, 5], atol=1e-6)


def test_bad_arguments():
    head = kd.heads.Segmentation(CLASSES)
    for build in (kd.idw_cnn, kd.dis):
        with pytest.raises(ValueError, match="at least 2 classes.*Segmentation with 1 channel"):
            build(backbone(), heads=kd.heads.Segmentation(1))
    with pytest.raises(ValueError, match="`merge` must be one of"):
        kd.decoders.idw_cnn(merge="mean")
    with pytest.raises(ValueError, match="`heads` must hold one segmentation"):
        two = {"a": head, "b": kd.heads.Segmentation(3)}
        kd.assemble(backbone(), kd.decoders.idw_cnn(level="P2"), two)
    plain = kd.decoders.deeplabv2((1,), level="P2")
    with pytest.raises(ValueError, match="needs a network that predicts presence"):
        heads = {"labels": head, "objects": kd.heads.Tags(CLASSES, source="network")}
        kd.assemble(backbone(), plain, heads)
    with pytest.raises(ValueError, match="predicts 16 interactions. Received.*4² · 2"):
        heads = {"labels": head, "actions": kd.heads.Interactions(CLASSES, ["a", "b"])}
        kd.assemble(backbone(), kd.decoders.idw_cnn(1, level="P2"), heads)
    with pytest.raises(ValueError, match="Reconstruction.. reads the scores of a segmentation"):
        heads = {"depth": kd.heads.Depth(), "rebuilt": kd.heads.Reconstruction(level="P2")}
        kd.assemble(backbone(), plain, heads)
    with pytest.raises(ValueError, match="`key` must be the output that is refined"):
        kd.with_reconstruction(dis(), "depth")

"""Heads of weak systems: interactions of classes, and the rebuilt image."""

import numpy as np
import pytest
from keras import ops

import keras_dense as kd

RNG = np.random.default_rng(0)
HEAD = kd.heads.Interactions(2, ["rides", "holds"], class_names=["man", "horse"])


def sample(values, shape=(2, 2, 2)):
    return {
        "image": np.zeros((3, 4, 3), "uint8"),
        "interactions": np.full(shape, values, "uint8"),
    }


def test_target_of_a_sample():
    values = RNG.choice([0, 1, 255], (2, 2, 2)).astype("uint8")
    assert HEAD.annotated(sample(values)) and not HEAD.annotated({"image": 0})
    assert HEAD.encode(sample(values)).tolist() == values.ravel().tolist()
    assert HEAD.unknown((3, 4)).tolist() == [255] * 8
    with pytest.raises(KeyError, match="no 'interactions' to train this head on"):
        HEAD.encode({"image": np.zeros((3, 4, 3), "uint8")})
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2\): subjects, objects, actions"):
        HEAD.encode(sample(0, (2, 2, 1)))
    with pytest.raises(ValueError, match="must be 1, 0 or 255"):
        HEAD.encode(sample(7))


def test_names_of_a_prediction():
    logits = np.full((2, 2, 2), -4.0)
    logits[0, 1, 0], logits[1, 0, 1] = 3.0, 1.0
    found = HEAD.read_off(logits.ravel())
    assert [row[:3] for row in found] == [("man", "rides", "horse"), ("horse", "holds", "man")]
    assert [row[3] for row in found] == pytest.approx([1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-1))])
    assert HEAD.read_off(logits, threshold=0.9)[0][1] == "rides"


def test_drawing_and_outputs():
    drawn = HEAD.draw(np.array([1, 0, 255, 0, 0, 0, 0, 1]))
    assert drawn.shape == (16, 32, 3) and drawn[0, 0].tolist() == [30, 60, 150]
    assert drawn[0, 16].tolist() == [128] * 3 and drawn[15, 31].tolist() == [30, 60, 150]
    wrong = HEAD.error(np.array([1, 0, 255] + [0] * 5), np.array([1, 1, 1] + [0] * 5))
    assert wrong[0, 8].tolist() == [220, 50, 50] and wrong[0, 16].tolist() == [128] * 3
    assert ops.convert_to_numpy(HEAD.decode(np.array([[1.0, -1.0]]))).tolist() == [[1, 0]]
    assert float(HEAD.outputs(np.zeros((1, 8)), None)["interactions"][0, 0]) == 0.5


def test_bad_arguments():
    with pytest.raises(ValueError, match="`actions` must be one or more names"):
        kd.heads.Interactions(2, [])
    with pytest.raises(ValueError, match="one name for each of 2 classes. Received: 1 names"):
        kd.heads.Interactions(2, "rides", class_names=["man"])
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 2"):
        kd.heads.Interactions(1, "rides")


def test_crops_make_interactions_unknown_and_keep_what_is_not_there():
    values = np.array([[[1], [0]], [[255], [1]]], "uint8")
    crop = kd.datasets.transforms.RandomCrop((2, 2))
    rng = np.random.default_rng(0)
    found = crop(sample(values, (2, 2, 1)), rng)["interactions"]
    assert found.ravel().tolist() == [255, 0, 255, 255]
    # An image of as many rows and columns as there are classes.
    square = {"image": np.zeros((2, 2, 3), "uint8"), "interactions": values}
    flipped = kd.datasets.transforms.RandomFlip(1.0)(square, rng)["interactions"]
    assert flipped.tolist() == values.tolist()
    with pytest.raises(ValueError, match="for each subject, object and action"):
        kd.datasets.check_sample(sample(0, (2, 3, 1)))


def test_rebuilt_images_are_targets_results_and_drawings():
    head = kd.heads.Reconstruction(stride=2)
    image = RNG.integers(0, 256, (4, 6, 3)).astype("uint8")
    assert head.encode({"image": image}) is image
    result = ops.convert_to_numpy(head.decode(np.full((1, 2, 3, 3), 0.5, "float32")))
    assert result.dtype == np.uint8 and result[0, 0, 0].tolist() == [128] * 3
    assert (head.draw(image) == image).all()
    assert (head.error(np.repeat(np.repeat(result[0], 2, 0), 2, 1), result[0])[0, 0] <= 4).all()
    assert head.draw(head.unknown((2, 3))).shape == (2, 3, 3)
    assert head.outputs(np.zeros((1, 2, 3, 3), "float32"), None)["rebuilt"].shape == (1, 2, 3, 3)

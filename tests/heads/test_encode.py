"""No head makes a target of what is none: labels out of range never reach a loss."""

import json

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.heads import Auxiliary, Colorization, Depth, Intermediate, Normals, Segmentation

pytestmark = pytest.mark.once

MULTI = Segmentation(2, mode="multilabel")


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        (Segmentation(3), [[0, 3]], r"from 0 to 2, or 255 \(void\). Received: 3 \(1 of 2 pixels\)"),
        (Segmentation(3), [[0, -1]], "Received: -1"),
        (Segmentation(3), [[-(2**62), 1]], "whole numbers of at most 32 bits"),
        (Segmentation(3), [[0.0, 0.999]], "whole numbers. Received: float64 with 0.999"),
        (Segmentation(3), [[0, np.nan]], "whole numbers"),
        (Segmentation(3, ignore_class=None), [[0, 255]], "from 0 to 2. Received: 255"),
        (Segmentation(3, ignore_class=7), [[0, 255]], r"or 7 \(void\). Received: 255"),
        (Segmentation(1), [[0, 2]], r"from 0 to 1, .*Received: 2 .*remap=\{255: 1\}"),
        (
            Segmentation(3),
            [[[0, 1, 2]]],
            r"must have shape \(height, width\). Received: \(1, 1, 3\)",
        ),
        (MULTI, [[[0, 2]]], "from 0 to 1"),
        (MULTI, [[0, 1]], r"must have shape \(height, width, 2\)"),
        (Auxiliary(Segmentation(3)), [[0, 3]], "Received: 3"),
        (Intermediate(Segmentation(3), "a"), [[0, 3]], "Received: 3"),
    ],
)
def test_labels_that_are_none(head, labels, message):
    with pytest.raises(ValueError, match=message):
        head.encode({"segmentation": np.array(labels)})


def test_labels_in_other_forms():
    for labels in ([[0, 1]], np.array([[False, True]]), np.array([[0.0, 1.0]]), [[[0], [1]]]):
        found = Segmentation(1).encode({"segmentation": labels})
        assert found.dtype == np.int32 and found.tolist() == [[0, 1]]
    tensor = keras.ops.convert_to_tensor([[0, 1, 255]], "uint8")
    assert Segmentation(2).encode({"segmentation": tensor}).tolist() == [[0, 1, 255]]
    with pytest.raises(TypeError, match="`segmentation` must be an array of numbers"):
        Segmentation(2).encode({"segmentation": None})


def test_numbers_that_are_none():
    millimeters = np.full((2, 2), 1500, "uint16")
    with pytest.raises(
        ValueError, match="`depth` must be floats.*uint16 from 1500 to 1500; divide"
    ):
        Depth().encode({"depth": millimeters})
    with pytest.raises(ValueError, match="`normals` must be floats.*uint8"):
        Normals().encode({"normals": np.full((2, 2, 3), 128, "uint8")})
    holes = np.array([[[0.0, 0, -1], [np.nan, 0, 1], [0, np.inf, 0]]])
    assert Normals().encode({"normals": holes}).tolist() == [[[0, 0, -1], [0, 0, 0], [0, 0, 0]]]
    meters = np.array([[np.nan, np.inf, -np.inf, -1.0, 2.0]])
    assert Depth().encode({"depth": meters}).ravel().tolist() == [0, 0, 0, 0, 2]


@pytest.mark.parametrize(
    "image", [np.full((2, 2, 3), 0.5), np.full((2, 2, 3), 256), np.ones((2, 2))]
)
def test_images_that_are_none(image):
    with pytest.raises(ValueError, match="`image` must"):
        Colorization().encode({"image": image})


def test_colors_in_other_forms():
    for image in (np.full((2, 2, 3), 7), np.full((2, 2, 3), 7.5), np.full((2, 2, 3), np.nan)):
        np.testing.assert_array_equal(Colorization().encode({"image": image}), image)


def test_numbers_of_numpy_as_arguments():
    """The configuration stays JSON, and gives the same head."""
    i, f = np.int64(2), np.float32(0.5)
    heads = {
        "classes": Segmentation(
            i, ignore_class=np.uint8(9), class_weight=np.array([f, f]), weight=f,
            palette=keras.ops.convert_to_tensor([[1, 2, 3], [4, 5, 6]]),
        ),
        "depth": Depth(f, i, weight=f),
        "normals": Normals(weight=i),
        "color": Colorization(np.int64(20), temperature=f, prior_mix=f, stride=i, weight=f),
        "aux": Auxiliary(Segmentation(i), weight=f, filters=i, dropout=f),
        "early": Intermediate(Segmentation(i), "a", weight=f),
    }  # fmt: skip
    text = json.dumps(keras.saving.serialize_keras_object(heads))
    again = keras.saving.deserialize_keras_object(json.loads(text))
    assert all(again[key].get_config() == head.get_config() for key, head in heads.items())
    assert set(kd.objectives(heads)) == {"loss", "loss_weights", "metrics"}


@pytest.mark.parametrize("weight", [np.nan, -1, True, "1", None])
def test_weights_that_are_none(weight):
    for make in (Segmentation, Depth, Normals, Colorization):
        with pytest.raises(ValueError, match="`weight` must be a number >= 0"):
            make(weight=weight)
    with pytest.raises(ValueError, match="`dropout` must be a number >= 0 and < 1"):
        Auxiliary(Segmentation(2), dropout=1)

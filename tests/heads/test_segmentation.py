import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.heads import Heads, Segmentation


def test_multiclass_encode_decode_draw():
    head = Segmentation(3, class_names=["a", "b", "c"], palette=[[0, 0, 0], [9, 9, 9], [5, 0, 0]])
    labels = np.array([[0, 1], [2, 255]], "uint8")
    target = head.encode({"image": None, "segmentation": labels})
    assert target.dtype == np.int32 and (target == labels).all()
    logits = np.random.default_rng(0).normal(size=(2, 5, 7, 3)).astype("float32")
    decoded = keras.ops.convert_to_numpy(head.decode(logits))
    assert decoded.dtype == np.int32 and (decoded == logits.argmax(-1)).all()
    np.testing.assert_array_equal(
        head.draw(labels), [[[0, 0, 0], [9, 9, 9]], [[5, 0, 0], [120, 120, 120]]]
    )
    assert head.legend() == [("a", (0, 0, 0)), ("b", (9, 9, 9)), ("c", (5, 0, 0))]


def test_binary_and_multilabel():
    binary = Segmentation(1)
    assert binary.mode == "binary" and binary.channels == 1
    assert [name for name, _ in binary.legend()] == ["background", "foreground"]
    logits = np.array([-2.0, 3.0]).reshape(1, 1, 2, 1)
    assert keras.ops.convert_to_numpy(binary.decode(logits)).tolist() == [[[0, 1]]]
    multi = Segmentation(2, mode="multilabel")
    both = np.array([[-1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    labels = keras.ops.convert_to_numpy(multi.decode(both))
    assert labels.tolist() == [[[[0, 1], [1, 1]]]]
    photo = multi.draw(np.concatenate([labels[0], np.zeros((1, 1, 2), int)], 1))
    assert (photo[0, :2] == multi.palette[1]).all() and (photo[0, 2] == 120).all()


@pytest.mark.everywhere
@pytest.mark.parametrize("mode", ["multiclass", "binary", "multilabel"])
def test_every_mode_learns_in_fit(mode):
    """A single 1×1 convolution tells bright from dark, and void pixels teach nothing."""
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (8, 16, 16, 1)).astype("float32")
    bright = (image[..., 0] > 0).astype("int32")
    target = np.stack([bright, 1 - bright], -1) if mode == "multilabel" else bright
    target[:, :4] = 255
    head = Segmentation(1 if mode == "binary" else 2, mode=mode)
    model = keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(head.channels, 1)])
    model.compile(keras.optimizers.Adam(0.1), **kd.objectives(head))
    history = model.fit(image, target, batch_size=8, epochs=40, verbose=0).history
    assert history["mean_iou"][-1] > 0.9 and history["pixel_accuracy"][-1] > 0.9


def test_config_round_trip():
    head = Segmentation(
        3, loss=kd.losses.Dice(), class_names=["a", "b", "c"], weight=0.5, target="parts"
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert again.get_config() == head.get_config()
    assert isinstance(again.loss, kd.losses.Dice)


@pytest.mark.everywhere
def test_dict_of_heads_trains_and_decodes():
    heads = {"objects": Segmentation(4, weight=0.5), "edges": Segmentation(1, target="edges")}
    backbone = kd.backbone("mobilenet", weights=None, alpha=0.25)
    model = kd.fcn32s(backbone, heads=heads)
    assert set(model.output) == set(heads)
    image = np.zeros((2, 40, 50, 3), "uint8")
    targets = {"objects": np.zeros((2, 40, 50), "int32"), "edges": np.ones((2, 40, 50), "int32")}
    model.compile("sgd", **kd.objectives(heads))
    history = model.fit(image, targets, verbose=0).history
    # ln 4 for four classes that start alike, ln 2 for the edges; weighted by a half and one.
    np.testing.assert_allclose(history["loss"][0], 0.5 * np.log(4) + np.log(2), rtol=1e-5)
    assert {"objects_mean_iou", "edges_mean_iou"} <= set(history)
    labels = kd.decoded(model, heads).predict(image, verbose=0)
    assert labels["objects"].shape == labels["edges"].shape == (2, 40, 50)


@pytest.mark.parametrize("number", [0, -1])
def test_too_few_classes(number):
    with pytest.raises(
        ValueError, match=f"`num_classes` must be an integer >= 1. Received: num_classes={number}"
    ):
        Segmentation(number)


@pytest.mark.parametrize("number", [2.0, "21", None, True])
def test_classes_that_are_no_int(number):
    with pytest.raises(ValueError, match="`num_classes` must be an integer >= 1. Received"):
        Segmentation(number)


def test_bad_arguments():
    with pytest.raises(ValueError, match="`mode` must be one of"):
        Segmentation(3, mode="softmax")
    with pytest.raises(ValueError, match="does not go with num_classes=3"):
        Segmentation(3, mode="binary")
    with pytest.raises(ValueError, match="one entry for each of 3 classes. Received: 2 names"):
        Segmentation(3, class_names=["a", "b"])
    with pytest.raises(ValueError, match=r"palette of shape \(2, 3\)"):
        Segmentation(3, palette=[[0, 0, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match="give it to your own `loss`"):
        Segmentation(3, loss=kd.losses.Dice(), class_weight=[1, 1, 2])
    with pytest.raises(KeyError, match="has no 'segmentation'.*'image', 'depth'"):
        Segmentation(3).encode({"image": 0, "depth": 0})
    with pytest.raises(ValueError, match="either `num_classes` or `heads`"):
        Heads.of(Segmentation(3), 3)
    with pytest.raises(ValueError, match="at least one head"):
        Heads.of({})
    with pytest.raises(TypeError, match="must be a head such as"):
        Heads.of({"a": 3})


def test_unknown_is_what_encode_would_give():
    for head, sample in (
        (Segmentation(3), {"segmentation": np.full((2, 5), 255)}),
        (Segmentation(1, ignore_class=7), {"segmentation": np.full((2, 5), 7)}),
        (Segmentation(3, mode="multilabel"), {"segmentation": np.full((2, 5, 3), 255)}),
    ):
        unknown = head.unknown((2, 5))
        np.testing.assert_array_equal(unknown, head.encode(sample))
        assert unknown.dtype == head.encode(sample).dtype
        logits = np.ones((1, 2, 5, head.channels), "float32")
        assert float(head.loss(unknown[None], logits)) == 0.0
    with pytest.raises(ValueError, match="`ignore_class` must be a label"):
        Segmentation(3, ignore_class=None).unknown((2, 5))

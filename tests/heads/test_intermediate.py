import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.heads import Intermediate, Segmentation, with_auxiliary, with_intermediate


def network(heads):
    """A decoder that makes two predictions, of which the second adds to the first."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same", name="conv")(image)
    backbone = keras.Model(image, {"P1": x}, name="backbone")

    @kd.decoders.Decoder
    def decode(features, wanted):
        found = {}
        for key, (channels, _, prefix) in wanted.items():
            early = layers.Conv2D(channels, 1, name=f"{prefix}early")(features["P1"])
            more = layers.Conv2D(channels, 1, name=f"{prefix}more")(features["P1"])
            total = layers.Add(name=f"{prefix}sum")([early, more])
            found[key] = kd.decoders.Prediction(total, {"early": early})
        return found

    return kd.assemble(backbone, decode, heads)


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def test_hands_out_what_the_network_makes():
    heads = with_intermediate(Segmentation(3), ["early"], weight=0.5)
    model = network(dict(reversed(heads.items())))
    assert list(model.output) == ["early", "segmentation"]
    model.get_layer("segmentation_more").set_weights([np.zeros((1, 1, 4, 3)), np.ones(3)])
    y = model.predict_on_batch(images(1, 9, 7, 3))
    assert y["early"].shape == (1, 9, 7, 3)
    np.testing.assert_allclose(y["segmentation"], y["early"] + 1, atol=1e-4)


@pytest.mark.everywhere
def test_loss_and_decoding():
    heads = with_intermediate(Segmentation(3), ["early"], weight=0.5)
    model, settings = network(heads), kd.objectives(heads)
    assert settings["loss_weights"] == {"segmentation": 1.0, "early": 0.5}
    model.compile("sgd", **settings)
    targets = {key: np.zeros((2, 8, 8), "int32") for key in heads}
    logs = model.test_on_batch(images(2, 8, 8, 3), targets, return_dict=True)
    assert logs["loss"] == pytest.approx(
        logs["segmentation_loss"] + 0.5 * logs["early_loss"], rel=1e-5
    )
    assert list(kd.decoded(model, heads).output) == ["segmentation"]


def test_of_which_head():
    parts, edges = Segmentation(3), Segmentation(1)
    heads = {"parts": parts, "edges": edges, "early": Intermediate(edges, "early")}
    assert network(heads).output["early"].shape[-1] == 1
    heads["early"] = Intermediate(Segmentation(1), "early")
    with pytest.raises(ValueError, match=r"Intermediate\(…, 'early'\) must be made with one of"):
        network(heads)


def test_weights_of_each():
    heads = with_intermediate(Segmentation(3), ("a", "b"), weight=[0.1, 0.2], name="labels")
    assert {key: head.weight for key, head in heads.items()} == {"labels": 1, "a": 0.1, "b": 0.2}
    assert list(with_intermediate(Segmentation(3), "stage1")) == ["segmentation", "stage1"]


def test_config_round_trip():
    early = Intermediate(Segmentation(3), "early", weight=0.3)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(early))
    assert again.get_config() == early.get_config() and again.stage == "early"


def test_bad_input():
    with pytest.raises(
        ValueError, match="makes no prediction 'late' before its final one. It makes: early"
    ):
        network(with_intermediate(Segmentation(3), ["late"]))
    with pytest.raises(ValueError, match="It makes none"):
        kd.fcn32s(
            kd.backbone("mobilenet", weights=None, alpha=0.25),
            heads=with_intermediate(Segmentation(3), ["early"]),
        )
    with pytest.raises(ValueError, match="`weight` must be a number, or one for each stage"):
        with_intermediate(Segmentation(3), ["a", "b"], weight=[1.0])
    with pytest.raises(ValueError, match="`name` must be another"):
        with_intermediate(Segmentation(3), ["segmentation"])
    with pytest.raises(TypeError, match="`head` must be a head"):
        with_intermediate(with_auxiliary(Segmentation(3)), ["early"])

import keras
import numpy as np
import pytest
from keras import layers, ops

import keras_dense as kd
from keras_dense.heads import Auxiliary, Segmentation, with_auxiliary


def network(heads, channels=1024):
    """Two features and a decoder that reads the last."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(channels, 3, strides=16, padding="same", name="fourth")(image)
    y = layers.Conv2D(4, 3, strides=2, padding="same", name="fifth")(x)
    backbone = keras.Model(image, {"P4": x, "P5": y}, name="backbone")
    return kd.assemble(backbone, lambda features: features["P5"], heads)


def images(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")


def test_what_it_is_of_its_head():
    head = Segmentation(3, class_names=["a", "b", "c"], loss=kd.losses.Dice(), target="parts")
    aux = Auxiliary(head, weight=0.25)
    assert aux.channels == 3 and aux.loss is head.loss and aux.target == "parts"
    assert aux.weight == 0.25 and head.weight == 1.0 and aux.metrics() == []
    sample = {"parts": np.array([[0, 255]])}
    np.testing.assert_array_equal(aux.encode(sample), head.encode(sample))
    assert aux.legend() == head.legend()
    np.testing.assert_array_equal(aux.draw(sample["parts"]), head.draw(sample["parts"]))


def test_parameters_of_the_authors_file():
    """PSPNet's: 3×3 from 1024 to 256 channels, batch norm, 21 scores."""
    model = network(with_auxiliary(Segmentation(21)))
    own = [x for x in model.layers if x.name.startswith("auxiliary")]
    count = sum(int(np.prod(w.shape)) for x in own for w in x.trainable_weights)
    assert count == 2_365_205
    assert model.get_layer("auxiliary_dropout").rate == 0.1
    assert model.get_layer("auxiliary_convolution").input.shape[-1] == 1024


def test_reads_its_feature_and_not_the_decoder():
    model = network(with_auxiliary(Segmentation(3)), channels=8)
    x = images(1, 70, 65, 3)
    before = model.predict(x, verbose=0)
    fifth = model.get_layer("backbone").get_layer("fifth")
    fifth.set_weights([w + 1 for w in fifth.get_weights()])
    after = model.predict(x, verbose=0)
    assert after["auxiliary"].shape == (1, 70, 65, 3)
    np.testing.assert_array_equal(after["auxiliary"], before["auxiliary"])
    assert np.any(after["segmentation"] != before["segmentation"])


@pytest.mark.everywhere
def test_loss_counts_with_its_weight_and_decoding_leaves_it_out():
    heads = {
        "labels": Segmentation(3),
        "edge": Segmentation(1),
        "help": Auxiliary(Segmentation(3), "P4", weight=0.5, filters=6, dropout=0.0),
    }
    model = network(heads, channels=8)
    settings = kd.objectives(heads)
    assert settings["loss_weights"] == {"labels": 1.0, "edge": 1.0, "help": 0.5}
    model.compile("sgd", **settings)
    target = {key: np.zeros((2, 64, 64), "int32") for key in heads}
    logs = model.test_on_batch(images(2, 64, 64, 3), target, return_dict=True)
    parts = logs["labels_loss"] + logs["edge_loss"] + 0.5 * logs["help_loss"]
    assert logs["loss"] == pytest.approx(parts, rel=1e-5)
    assert not any(name.startswith("help_") for name in logs if name != "help_loss")
    product = kd.decoded(model, heads)
    assert set(product.output) == {"labels", "edge"}
    assert tuple(product(images(1, 64, 64, 3))["labels"].shape) == (1, 64, 64)


def test_config_round_trip():
    aux = Auxiliary(
        Segmentation(3, loss=kd.losses.Dice()), "P3", weight=0.3, filters=8, dropout=0.2
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(aux))
    assert again.get_config() == aux.get_config()
    assert isinstance(again.loss, kd.losses.Dice) and again.level == "P3"


@pytest.mark.everywhere
def test_saved_and_loaded(tmp_path):
    model, x = network(with_auxiliary(Segmentation(3)), channels=8), images(1, 64, 64, 3)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for key, y in loaded.predict(x, verbose=0).items():
        np.testing.assert_allclose(y, ops.convert_to_numpy(model(x)[key]), atol=1e-5)


def test_names_of_the_two():
    assert list(with_auxiliary(Segmentation(3), name="labels")) == ["labels", "auxiliary"]
    aux = with_auxiliary(Segmentation(3), "P3", weight=0.2)["auxiliary"]
    assert aux.level == "P3" and aux.weight == 0.2


def test_bad_input():
    with pytest.raises(TypeError, match="`head` must be a head.*Received: 21"):
        Auxiliary(21)
    with pytest.raises(TypeError, match="`head` must be a head"):
        Auxiliary(Auxiliary(Segmentation(3)))
    with pytest.raises(TypeError, match="`head` must be a head"):
        with_auxiliary({"labels": Segmentation(3)})
    with pytest.raises(ValueError, match="`name` must be another"):
        with_auxiliary(Segmentation(3), name="auxiliary")
    with pytest.raises(ValueError, match="no feature P3 for the auxiliary head.*P4, P5"):
        network(with_auxiliary(Segmentation(3), "P3"), channels=4)
    for alone in (Auxiliary(Segmentation(3)), {"help": Auxiliary(Segmentation(3))}):
        with pytest.raises(ValueError, match="a head besides the auxiliary ones"):
            network(alone, channels=4)

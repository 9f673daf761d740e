import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.backbones import as_backbone
from keras_dense.backbones.table import FAMILIES, PREPROCESSING


def images(count=1, height=64, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype="uint8")


def test_the_table_has_every_network_of_keras_applications():
    builders = {
        name
        for name in dir(keras.applications)
        if name[0].isupper() and callable(getattr(keras.applications, name))
    }
    assert {name for family in FAMILIES for name in family.members} == builders


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.members[0])
def test_preprocessing_is_that_of_the_application(family):
    """An image is standardized as by `preprocess_input` of the network's module in Keras."""
    build = getattr(keras.applications, family.members[0])
    module = build.__module__.rpartition(".")[2]
    preprocess = getattr(keras.applications, module).preprocess_input
    x = images().astype("float32")
    wanted = preprocess(x.copy())
    settings = PREPROCESSING[family.preprocessing]
    got = (
        x if settings is None else keras.ops.convert_to_numpy(kd.layers.Standardize(**settings)(x))
    )
    np.testing.assert_allclose(got, np.asarray(wanted), atol=2e-5)


@pytest.mark.parametrize("name", ["mobilenet_v2", "MobileNetV2", "MOBILENETV2", "mobilenet-v2"])
def test_names_in_any_case(name):
    backbone = kd.backbone(name, weights=None, alpha=0.35)
    assert backbone.name == "backbone" and backbone.input_shape == (None, None, None, 3)
    assert backbone.output["P5"].shape[-1] == 1280


@pytest.mark.parametrize("include_top", [True, False])
def test_weights_from_a_file_with_or_without_top(tmp_path, include_top):
    app = keras.applications.MobileNetV2(
        weights=None, alpha=0.35, include_top=include_top, input_shape=(96, 96, 3)
    )
    app.save_weights(tmp_path / "app.weights.h5")
    backbone = kd.backbone("mobilenet_v2", tmp_path / "app.weights.h5", alpha=0.35)
    x = images(1, 96, 96)
    features = keras.Model(app.input, app.get_layer("out_relu").output)
    np.testing.assert_allclose(
        backbone.predict(x, verbose=0)["P5"],
        features.predict(x / np.float32(127.5) - 1, verbose=0),
        atol=1e-5,
    )


def test_real_weights_classify(shared_data):
    """Pretrained weights through the backbone see what is in photographs."""
    import csv

    from PIL import Image

    app = keras.applications.MobileNetV2(weights=None)
    file = shared_data / "weights" / "mobilenet_v2_1.0_224.weights.h5"
    app.load_weights(file)
    backbone = kd.backbone("mobilenet_v2", file)
    top = app.layers[-1].get_weights()
    folder = shared_data / "photos" / "imagenet"
    with open(next((shared_data / "photos").rglob("imagenet_labels.csv"))) as file:
        rows = list(csv.DictReader(file))[:40:2]
    right = 0
    for row in rows:
        photo = Image.open(next(folder.glob(f"*{row['wnid']}*"))).convert("RGB")
        side = min(photo.size)
        left, upper = (photo.width - side) // 2, (photo.height - side) // 2
        photo = photo.crop((left, upper, left + side, upper + side)).resize((224, 224))
        features = backbone.predict(np.asarray(photo)[None], verbose=0)["P5"].mean((1, 2))
        right += int(np.argmax(features @ top[0] + top[1]) == int(row["index"]))
    assert right / len(rows) > 0.7


def test_weights_of_another_network(tmp_path):
    keras.applications.MobileNet(weights=None, alpha=0.25).save_weights(tmp_path / "a.weights.h5")
    for name, kwargs in (("mobilenet", {"alpha": 0.5}), ("mobilenet_v2", {}), ("resnet50", {})):
        with pytest.raises(ValueError, match=r"a\.weights\.h5' do not fit .*another network"):
            kd.backbone(name, tmp_path / "a.weights.h5", **kwargs)
    with pytest.raises(
        FileNotFoundError, match="must be 'imagenet', None, or the path of an existing file"
    ):
        kd.backbone("mobilenet", tmp_path / "none.weights.h5")


def test_no_network_for_imagenet(monkeypatch):
    """The error of a failed download says how to pass a file."""

    def unreachable(*args, **kwargs):
        raise Exception("URL fetch failure on https://…: None -- no network")

    module = sys.modules[keras.applications.MobileNetV2.__module__]
    monkeypatch.setattr(module.file_utils, "get_file", unreachable)
    with pytest.raises(ConnectionError, match="weights='path/to/mobilenetv2.weights.h5'"):
        kd.backbone("mobilenet_v2", weights="imagenet")


@pytest.mark.parametrize(
    ("name", "near"), [("mobilnet_v2", "MobileNetV2"), ("resnet5", "ResNet50"), ("vgg", "VGG16")]
)
def test_unknown_names_suggest_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"Received: '{name}'. Did you mean .*'{near}'"):
        kd.backbone(name)


def test_a_model_of_ones_own():
    app = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(64, 64, 3))
    x = images(1, 64, 96)
    plain = kd.backbone(app)
    standardized = kd.backbone(app, preprocessing="tf")
    named = kd.backbone(app, taps={"P3": "conv_pw_5_relu"})
    assert set(plain.output) == {"P1", "P2", "P3", "P4", "P5"} and set(named.output) == {"P3"}
    np.testing.assert_allclose(
        standardized.predict(x, verbose=0)["P4"],
        plain.predict(x / np.float32(127.5) - 1, verbose=0)["P4"],
        atol=1e-5,
    )


RAW = {"mean": (10.0, 20.0, 30.0), "std": 2.0, "reverse_channels": True}


@pytest.mark.parametrize(
    ("name", "settings"),
    [("mobilenet_v2", {"alpha": 0.35}), ("MobileNetV3Small", {"alpha": 0.75})],
)
@pytest.mark.parametrize("preprocessing", ["none", "torch", RAW], ids=["none", "torch", "dict"])
def test_preprocessing_of_a_name(name, settings, preprocessing):
    """Another one than that of the weights, also where Keras has its own inside the network."""
    backbone = kd.backbone(name, None, preprocessing=preprocessing, **settings)
    plain = kd.backbone(name, None, preprocessing="none", **settings)
    plain.set_weights(backbone.get_weights())
    x = images(1, 64, 96).astype("float32")
    kinds = [type(layer).__name__ for layer in backbone.layers]
    assert "Rescaling" not in kinds and kinds.count("Standardize") == (preprocessing != "none")
    chosen = RAW if preprocessing == RAW else PREPROCESSING[preprocessing]
    y = kd.layers.Standardize(**chosen)(x) if chosen else x
    got, wanted = (
        keras.ops.convert_to_numpy(model(z, training=False)["P4"])
        for model, z in ((backbone, x), (plain, y))
    )
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    assert np.abs(wanted).max() > 0


def test_preprocessing_of_a_model_as_a_dict():
    app = keras.applications.MobileNet(weights=None, alpha=0.25, input_shape=(64, 64, 3))
    backbone = kd.backbone(app, preprocessing=RAW, channels=1)
    layer = next(x for x in backbone.layers if isinstance(x, kd.layers.Standardize))
    assert layer.mean == [20.0] and layer.std == 2.0


def test_bad_arguments():
    app = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3, strides=2)])
    for source, weights in ((app, "imagenet"), ("mobilenet", None)):
        with pytest.raises(ValueError, match="`preprocessing` must be one of None, 'none', 'tf'"):
            kd.backbone(source, weights, preprocessing="imagenet")
        for wrong in ({}, {"scale": 2}, {"mean": 3, "scale": 2}):
            with pytest.raises(ValueError, match="`preprocessing` must be a dict of 'mean', 'std'"):
                kd.backbone(source, weights, preprocessing=wrong)
        with pytest.raises(ValueError, match="`std` must be without a zero"):
            kd.backbone(source, weights, preprocessing={"std": 0})
    with pytest.raises(TypeError, match="takes no further arguments. Received: alpha=0.5"):
        kd.backbone(app, alpha=0.5)
    for channels in (0, True, "3"):
        with pytest.raises(ValueError, match="`channels` must be an integer >= 1"):
            kd.backbone(app, channels=channels)


def small_classifier(channels=3):
    """Two levels and a fully connected top, for one size of image."""
    image = keras.Input((16, 24, channels))
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dense(6, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(5, name="scores")(x), name="small")


def test_as_backbone_makes_one_of_a_name_or_a_classifier():
    named = as_backbone("mobilenet_v2", None)
    assert sorted(named.output) == ["P1", "P2", "P3", "P4", "P5"]
    classifier = small_classifier()
    made, same = as_backbone(classifier), kd.backbone(classifier)
    assert sorted(made.output) == ["P1", "P2"] and made.name == same.name == "backbone"
    x = images(1, 20, 36)
    for level, feature in made.predict(x, verbose=0).items():
        np.testing.assert_array_equal(feature, same.predict(x, verbose=0)[level])
    taps = {"P2": classifier.layers[2].name}
    assert set(as_backbone(classifier, taps=taps).output) == {"P2"}
    assert as_backbone(classifier, channels=1).input_shape == (None, None, None, 1)


def test_as_backbone_returns_a_backbone_unchanged():
    backbone = kd.backbone(small_classifier())
    for options in ({}, {"weights": None}, {"channels": 4}, {"top": True}):
        assert as_backbone(backbone, **options) is backbone
    image = keras.Input((None, None, 3))
    own = keras.Model(image, {"P0": layers.ReLU()(image), "I1": layers.ReLU()(image)})
    assert as_backbone(own) is own


def test_as_backbone_with_top_keeps_the_classifier():
    classifier = small_classifier()
    assert as_backbone(classifier, top=True) is classifier
    gray = as_backbone(classifier, channels=1, top=True)
    assert gray.input_shape == (None, 16, 24, 1)
    x = images(2, 16, 24)[..., :1].astype("float32")
    np.testing.assert_allclose(
        gray.predict(x, verbose=0),
        classifier.predict(np.repeat(x, 3, -1), verbose=0),
        rtol=1e-4,
        atol=1e-3,
    )
    named = as_backbone("mobilenet", None, top=True)
    assert named.input_shape == (None, 224, 224, 3) and named.output_shape == (None, 1000)
    assert named.layers[1].name == "standardize"


def test_as_backbone_names_its_argument():
    with pytest.raises(TypeError, match="`backbone` must be a functional Keras model"):
        as_backbone(layers.Dense(3))
    with pytest.raises(ValueError, match="`backbone` must be the name of a network"):
        as_backbone("resnet5", None)
    image = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="`backbone` must have feature maps"):
        as_backbone(keras.Model(image, layers.Flatten()(image)))
    with pytest.raises(ValueError, match="`channels` must be an integer >= 1"):
        as_backbone("mobilenet", None, channels=0)

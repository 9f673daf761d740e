"""Networks do not depend on the settings of `keras.config`."""

import ast
import inspect
import pathlib

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.surgery.graph import check_channels_last

PACKAGE = pathlib.Path(kd.__file__).parent
BUILDERS = [
    name
    for name in kd.models.__all__
    if name not in ("assemble", "initialize", "scores") and not name.startswith("with_")
]


@pytest.fixture
def channels_first():
    keras.config.set_image_data_format("channels_first")  # every test starts with channels_last


def backbone():
    image = x = keras.Input((None, None, 3))
    for _ in range(5):
        x = layers.Conv2D(4, 3, padding="same", activation="relu", data_format="channels_last")(x)
        x = layers.MaxPooling2D(data_format="channels_last")(x)
    return keras.Model(image, x)


SMALL = {
    "deconvnet": {"filters": 8},
    "eigen_fergus": {"size": (96, 128), "units": 8},
    "stacked_deconvolutional_network": {"units": 1, "growth": 8, "widths": (8, 8, 8)},
    "unet": {"filters": (4, 8, 8)},
}


def build(name):
    settings = {"weights": None, **SMALL.get(name, {})}
    known = inspect.signature(getattr(kd, name)).parameters
    if name != "resnet38" and getattr(known.get("backbone"), "default", None) is not None:
        settings["backbone"] = backbone()
    return getattr(kd, name)(**{key: settings[key] for key in settings if key in known})


def asks_the_configuration():
    """Names of the layers that take the configured format by default."""
    kinds = {**vars(keras.layers), **vars(kd.layers)}
    for name, kind in kinds.items():
        if inspect.isclass(kind) and issubclass(kind, layers.Layer):
            known = inspect.signature(kind.__init__).parameters
            # Keras' poolings take it among `**kwargs`.
            if "data_format" in known or name.startswith(("Global", "MaxPooling", "Average")):
                yield name


@pytest.mark.once
def test_every_layer_that_the_package_builds_states_its_data_format():
    # Transforms of samples are namesakes of layers.
    kinds = set(asks_the_configuration()) - set(kd.datasets.transforms.__all__)
    assert {"Conv2D", "GlobalAveragePooling2D", "AtrousConv2D", "MaxUnpool2D", "Flatten"} <= kinds
    silent = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            told = {k.arg for k in node.keywords} & {"data_format", None}
            if name in kinds and not told and "'channels_last'" not in ast.unparse(node):
                silent.append(f"{path.relative_to(PACKAGE)}:{node.lineno} {name}")
    assert not silent


@pytest.mark.once
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "resnet38" else n for n in BUILDERS],
)
def test_every_builder_is_channels_last_under_a_channels_first_configuration(name, channels_first):
    check_channels_last(build(name))


@pytest.mark.parametrize("name", ["unet", "deeplabv3plus", "segnet"])
def test_the_numbers_and_the_file_do_not_depend_on_the_configured_data_format(name, tmp_path):
    image = np.random.default_rng(0).uniform(0, 255, (1, 65, 71, 3)).astype("float32")
    model = build(name)
    wanted = model.predict_on_batch(image)
    model.save(tmp_path / "model.keras")
    keras.config.set_image_data_format("channels_first")
    again = build(name)
    again.set_weights(model.get_weights())
    for other in (again, keras.saving.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(other.predict_on_batch(image), wanted, 1e-5, 1e-5)


@pytest.mark.once
def test_a_network_of_keras_applications_is_channels_last_too(channels_first):
    check_channels_last(kd.backbone("mobilenet_v2", weights=None, alpha=0.35))
    assert keras.config.image_data_format() == "channels_first"


@pytest.mark.once
def test_layers_of_a_users_decoder_are_channels_last(channels_first):
    heads = kd.heads.Segmentation(3)
    model = kd.assemble(backbone(), lambda features: layers.Conv2D(8, 3)(features["P3"]), heads)
    check_channels_last(model)

    def stubborn(features):
        return layers.Conv2D(8, 1, data_format="channels_first", name="own")(features["P3"])

    with pytest.raises(ValueError, match="channels_last.*Received: 'own'.*data_format"):
        kd.assemble(backbone(), stubborn, heads, input_shape=(64, 64, 3))


@pytest.mark.once
@pytest.mark.parametrize(
    "operation",
    [
        kd.backbone,
        kd.surgery.convolutionalize,
        kd.surgery.feature_pyramid,
        kd.surgery.pool_with_indices,
        kd.surgery.receptive_field,
        lambda model: kd.surgery.dilate(model, 1),
        lambda model: kd.surgery.replace_input(model, 4),
        lambda model: kd.surgery.shift_and_stitch(model, np.zeros((1, 3, 8, 8)), 1),
        lambda model: kd.fpn(model, weights=None),
    ],
    ids=lambda f: f.__name__,
)
def test_a_channels_first_network_is_refused_by_name(operation):
    image = keras.Input((3, 32, 32))
    conv = layers.Conv2D(4, 3, 2, padding="same", data_format="channels_first", name="stem")
    with pytest.raises(ValueError, match="'stem'.*channels_first.*its weights fit"):
        operation(keras.Model(image, conv(image)))


@pytest.mark.once
def test_batch_norm_goes_over_the_channels_of_a_channels_first_network_too():
    image = keras.Input((3, 8, 8))
    conv = layers.Conv2D(4, 3, activation="relu", data_format="channels_first", name="stem")
    model = kd.surgery.insert_batch_norm(keras.Model(image, conv(image)))
    assert model.get_layer("stem_bn").moving_mean.shape == (4,)

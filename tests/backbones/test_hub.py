"""Plain vision transformers of KerasHub as backbones."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense.backbones.hub import presets
from tests.backbones import hub_hierarchical
from tests.backbones.hub_networks import (
    MAKERS,
    WIDTH,
    called,
    ended,
    last_tokens,
    network,
)

keras_hub = pytest.importorskip("keras_hub")
names = pytest.mark.parametrize("name", MAKERS)
BACKEND = keras.backend.backend()


def images(height, width, seed=0, channels=3):
    shape = (1, height, width, channels)
    return np.random.default_rng(seed).uniform(0, 1, shape).astype("float32")


def shapes(features):
    return {name: tuple(x.shape[1:]) for name, x in features.items()}


@names
def test_equals_the_network_itself_at_its_own_size(name):
    model = network(name)
    backbone = kd.backbone(model, taps={"T1": 1, "T4": 4})
    x = images(*model.image_shape[:2])
    wanted = last_tokens(name, model, x)
    got = ended(name, model, backbone(x)["T4"]).reshape(wanted.shape)
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    "name", [n if n == "dinov2" else pytest.param(n, marks=pytest.mark.exhaustive) for n in MAKERS]
)
def test_features_of_any_size(name):
    backbone = kd.backbone(network(name))
    assert kd.surgery.strides(backbone) == {"P2": 4, "P3": 8, "P4": 16, "P5": 32}
    for height, width in ((97, 131), (64, 64)):
        features = backbone(images(height, width))
        assert shapes(features) == {
            f"P{n}": (-(-height // 2**n), -(-width // 2**n), WIDTH) for n in range(2, 6)
        }
        assert all(np.isfinite(ops.convert_to_numpy(x)).all() for x in features.values())


@names
@pytest.mark.exhaustive
@pytest.mark.slow
def test_in_a_model(name):
    """Any size, `fit`, `.keras`; with its normalization inside."""
    settings = {"mean": 127.5, "std": 127.5}
    backbone = kd.backbone(network(name), preprocessing=settings)
    model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), kd.heads.Segmentation(3))
    sizes = ((97, 131),) if BACKEND == "jax" else ((64, 64), (97, 131))
    kd.testing.check_model(model, sizes=sizes)


@names
@pytest.mark.exhaustive
@pytest.mark.slow
def test_in_mixed_precision(name, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    backbone = kd.backbone(network(name))
    assert {x.dtype for x in backbone.output.values()} == {"bfloat16"}
    assert {w.dtype for w in backbone.weights} == {"float32"}
    model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), kd.heads.Segmentation(3))
    model.compile("sgd", **kd.objectives(model))
    x = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
    history = model.fit(x / 255, x[..., 0] % 3, verbose=0)
    assert np.isfinite(history.history["loss"][-1])
    model.save(tmp_path / "m.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.get_layer("backbone").get_layer("block_1").layer.compute_dtype == "bfloat16"
    y = model.predict_on_batch(x / 255)
    np.testing.assert_allclose(loaded.predict_on_batch(x / 255), y, atol=0.02 * np.abs(y).max())


LOAD = """
import sys
import keras, numpy as np
import keras_dense  # no custom_objects
x = np.load(sys.argv[1])
for path in sys.argv[2:]:
    np.savez(f"{path}.npz", **keras.saving.load_model(path).predict_on_batch(x))
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_files_in_a_fresh_process(tmp_path):
    x = images(97, 131)
    np.save(tmp_path / "x.npy", x)
    backbones = {str(tmp_path / f"{name}.keras"): kd.backbone(network(name)) for name in MAKERS}
    for path, backbone in backbones.items():
        backbone.save(path)
    environment = {**os.environ, "KERAS_BACKEND": BACKEND}
    command = [sys.executable, "-c", LOAD, str(tmp_path / "x.npy"), *backbones]
    subprocess.run(command, env=environment, check=True)
    for path, backbone in backbones.items():
        loaded = np.load(f"{path}.npz")
        for level, feature in backbone.predict_on_batch(x).items():
            np.testing.assert_allclose(loaded[level], feature, atol=1e-5 * np.abs(feature).max())


@pytest.mark.exhaustive
@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow exports")
def test_an_export_for_phones(tmp_path):
    """Other formats: see `test_hub_exports.py`."""
    backbone = kd.backbone(network("dinov3"), taps={"P3": 1, "P4": 2}, preprocessing="tf")
    model = kd.assemble(
        backbone, kd.decoders.fpn((8, 8), levels=("P4", "P3")), kd.heads.Segmentation(3)
    )
    x = np.random.default_rng(0).integers(0, 256, (1, 97, 131, 3), dtype="uint8")
    differences = kd.export.litert(model, tmp_path / "m.tflite", images=x)
    assert differences["labels"] <= 0.001 and differences["confidence"] < 1e-4


def test_taps_choose_blocks_and_strides():
    backbone = kd.backbone(network("dinov2"), taps={"P4": 2, "T1": 1, "T2": 3})
    assert kd.surgery.strides(backbone) == {"P4": 16, "T1": 14, "T2": 14}
    assert shapes(backbone(images(97, 131))) == {
        "P4": (7, 9, WIDTH),
        "T1": (7, 10, WIDTH),
        "T2": (7, 10, WIDTH),
    }
    # Nothing reads the fourth block.
    assert [x.name for x in backbone.layers if x.name.startswith("block")] == [
        "block_1",
        "block_2",
        "block_3",
    ]


@pytest.mark.exhaustive
def test_defaults_are_quarters_of_the_depth():
    model = keras_hub.models.ViTBackbone((16, 16, 3), 16, 8, 1, 8, 8)
    numbered = kd.training.block_decay(kd.backbone(model), 0.5)
    assert len(numbered) == 9
    wanted = kd.backbone(model, taps={"P2": 2, "P3": 4, "P4": 6, "P5": 8})
    x = images(32, 32)
    for level, feature in kd.backbone(model)(x).items():
        np.testing.assert_array_equal(*map(ops.convert_to_numpy, (feature, wanted(x)[level])))


def test_a_new_backbone_shares_nothing_with_the_network():
    model = network("vit")
    x = images(32, 48)
    before = called(model, x)
    backbone = kd.backbone(model)
    backbone.compile("sgd", loss="mse")
    target = {
        level: np.ones((1, *shape), "float32") for level, shape in shapes(backbone(x)).items()
    }
    backbone.train_on_batch(x, target)
    np.testing.assert_array_equal(called(model, x), before)


def test_positions_that_were_trained_at_the_image_size_are_kept():
    model = network("dinov2", image=28)
    stored = kd.backbone(model).get_layer("tokens")
    assert stored.grid == (3, 3)
    used = model.embeddings.interpolated_position_embeddings
    used.assign(used + 0.1)
    trained = kd.backbone(model).get_layer("tokens")
    assert trained.grid == (2, 2)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(trained.positions).reshape(4, WIDTH), ops.convert_to_numpy(used)[0, 1:]
    )


@pytest.mark.exhaustive
def test_frozen_stays_frozen_and_trains_with_the_rest(tmp_path):
    backbone = kd.backbone(network("vit"))
    backbone.trainable = False
    model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), kd.heads.Segmentation(3))
    model.save(tmp_path / "m.keras")
    model = keras.saving.load_model(tmp_path / "m.keras")
    old = model.get_layer("backbone").get_weights()
    model.compile("sgd", **kd.objectives(model))
    x = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
    model.fit(x, x[..., 0] % 3, verbose=0)
    assert model.trainable_variables
    for before, after in zip(old, model.get_layer("backbone").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("name", ["vit", "dinov3"])
def test_other_channels(name):
    model = network(name)
    backbone, gray = kd.backbone(model), kd.backbone(model, channels=1)
    x = images(32, 48, channels=1)
    wanted = backbone(np.repeat(x, 3, -1))
    for level, feature in gray(x).items():
        wanted_here = ops.convert_to_numpy(wanted[level])
        np.testing.assert_allclose(ops.convert_to_numpy(feature), wanted_here, atol=1e-4)
    assert kd.backbone(model, channels=4).input_shape[-1] == 4


def test_the_tower_of_images_and_the_backbone_of_a_task_are_found():
    models = keras_hub.models
    vision = network("clip")
    text = models.CLIPTextEncoder(20, 8, 8, 1, 1, 8, max_sequence_length=5)
    both = models.CLIPBackbone(vision, text, projection_dim=4)
    x = images(48, 48)
    wanted = ops.convert_to_numpy(kd.backbone(vision)(x)["P5"])
    np.testing.assert_array_equal(ops.convert_to_numpy(kd.backbone(both)(x)["P5"]), wanted)
    vit = network("vit")
    task = models.ViTImageClassifier(vit, num_classes=2)
    wanted = ops.convert_to_numpy(kd.backbone(vit)(x)["P5"])
    np.testing.assert_array_equal(ops.convert_to_numpy(kd.backbone(task)(x)["P5"]), wanted)


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """The folder of a preset: a network and its image converter."""
    folder = str(tmp_path_factory.mktemp("preset"))
    model = network("dinov2")
    model.save_to_preset(folder)
    std = np.array([0.25, 0.5, 0.2])
    converter = keras_hub.layers.DINOV2ImageConverter(
        image_size=(42, 42), scale=(1 / 255 / std).tolist(), offset=(-0.5 / std).tolist()
    )
    converter.save_to_preset(folder)
    return folder, model, converter


def test_a_preset_brings_its_normalization(preset):
    folder, model, converter = preset
    backbone = kd.backbone(folder)
    x = np.random.default_rng(0).integers(0, 256, (1, 42, 42, 3), dtype="uint8")
    wanted = last_tokens("dinov2", model, converter(x))
    # The last block of four, at stride 16, is the raw map of stride 14 elsewhere.
    raw = kd.backbone(folder, taps={"T4": 4})(x)["T4"]
    got = ops.convert_to_numpy(raw).reshape(wanted.shape)
    np.testing.assert_allclose(got, wanted, atol=1e-4 * np.abs(wanted).max())
    assert kd.surgery.strides(backbone) == {"P2": 4, "P3": 8, "P4": 16, "P5": 32}


@pytest.mark.exhaustive
def test_a_preset_with_random_weights_or_another_normalization(preset):
    folder, model, _ = preset
    fresh = kd.backbone(folder, weights=None)
    kernel = ops.convert_to_numpy(model.embeddings.patch_embeddings.projection.kernel)
    assert not np.allclose(fresh.get_layer("tokens").get_weights()[0], kernel)
    plain = kd.backbone(folder, preprocessing="none")
    assert "standardize" not in [layer.name for layer in plain.layers]
    np.testing.assert_array_equal(plain.get_layer("tokens").get_weights()[0], kernel)


def test_bad_presets(preset, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="is no preset of KerasHub: it has no"):
        kd.backbone(str(tmp_path))
    with pytest.raises(ValueError, match="Did you mean .*'dinov2_small'"):
        kd.backbone("dinov2_smal")
    with pytest.raises(ValueError, match="'bert_base_en' of KerasHub, which is a BertBackbone"):
        kd.backbone("bert_base_en")
    with pytest.raises(ValueError, match="`weights` must be .* Received: weights='a.weights.h5'"):
        kd.backbone(preset[0], "a.weights.h5")

    def offline(*args, **kwargs):
        raise OSError("Max retries exceeded") from ConnectionError("no route to host")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", offline)
    with pytest.raises(ConnectionError, match="'dinov2_small' of KerasHub could not be downloaded"):
        kd.backbone("dinov2_small")


def test_bad_presets_without_keras_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(presets, "_is_installed", lambda: False)
    monkeypatch.setattr(presets, "_classes", lambda: {})
    with pytest.raises(ValueError, match="Presets of KerasHub need it: pip install keras-hub"):
        kd.backbone("dinov2_small")
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match="Install it with: pip install keras-hub"):
        kd.backbone(str(tmp_path))


@pytest.mark.parametrize("code", [404, 401])
def test_bad_addresses_of_presets(code, monkeypatch):
    """A server that answers is a network that works."""

    class HTTPError(Exception):
        response = type("Response", (), {"status_code": code})

    def answer(*args, **kwargs):
        raise ValueError("404 Client Error") from HTTPError("Repository Not Found")

    monkeypatch.setattr(keras_hub.models.Backbone, "from_preset", answer)
    with pytest.raises(FileNotFoundError, match="There is no preset of KerasHub at 'hf://me/mine'"):
        kd.backbone("hf://me/mine")


def test_bad_sizes():
    """Too small to be mirrored, or for the cells that attention joins."""
    with pytest.raises(
        ValueError, match=r"too small for patches of 16×16 pixels.*height=7, width="
    ):
        kd.backbone(network("vit"))(images(7, 48))
    with pytest.raises(ValueError, match=r"at least 8×8 cells.*Enlarge the image. Received: a map"):
        kd.backbone(hub_hierarchical.model("mit"))(images(16, 64))


def test_bad_taps():
    model = network("vit")
    for taps in ({"P5": 5}, {"P5": 0}, {"P5": "block_1"}, {}, "P5"):
        with pytest.raises(ValueError, match="`taps` must be .* depth of the network, 4"):
            kd.backbone(model, taps=taps)


def test_bad_taps_of_hierarchical_networks():
    with pytest.raises(ValueError, match="`taps` must name layers of .*Received: 'P5': 'stage9_n"):
        kd.backbone(hub_hierarchical.model("mit"), taps={"P5": "stage9_norm"})
    with pytest.raises(ValueError, match="which has no patches. Received: taps='patches'"):
        kd.backbone("mobilenet", None, taps="patches")


def test_bad_networks():
    text = keras_hub.models.BertBackbone(20, 1, 1, 8, 8, max_sequence_length=5)
    with pytest.raises(
        ValueError, match="must be a network of images. Received: .*BertBackbone.*'"
    ):
        kd.backbone(text)
    with pytest.raises(ValueError, match="`kd.backbone` reads it"):
        kd.surgery.feature_pyramid(network("vit"))


def test_dilating_resamples_at_the_output_stride():
    backbone = kd.backbone(network("vit"))
    dense = kd.surgery.dilate(backbone, 8)
    assert kd.surgery.strides(dense) == {"P2": 4, "P3": 8, "P4": 8, "P5": 8}
    x = images(64, 96)
    wanted = kd.backbone(network("vit"), taps={"P3": 4})(x)["P3"]
    np.testing.assert_array_equal(*map(ops.convert_to_numpy, (dense(x)["P5"], wanted)))


def test_bad_surgery():
    backbone = kd.backbone(network("vit"))
    with pytest.raises(ValueError, match="classifier's top"):
        kd.surgery.convolutionalize(backbone, size=(64, 64))

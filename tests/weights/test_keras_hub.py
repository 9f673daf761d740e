"""Presets of KerasHub: small random ones, written to a folder and read from it."""

import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense._command import main
from keras_dense.testing.expect import reload

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*preset.*classes")]

DEEPLAB = "keras_hub/deeplab_v3_plus_resnet50_pascalvoc"
SEGFORMER = "keras_hub/segformer_b0_ade20k_512"
DEPTH = "keras_hub/depth_anything_v2_small"
# Normalization of the presets: x · scale + offset.
SCALE = [1 / (255 * x) for x in (0.229, 0.224, 0.225)]
OFFSET = [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub")


def randomized(task, seed=0):
    """Random weights and statistics that keep the scale of maps."""
    rng = np.random.default_rng(seed)
    for w in task.weights:
        kind = w.path.rpartition("/")[2]
        if "seed" in w.path or kind.startswith("seed"):
            continue
        if kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, w.shape)
        elif len(w.shape) > 1:
            value = rng.normal(0, np.sqrt(2 / np.prod(w.shape[:-1])), w.shape)
        else:
            value = rng.normal(0, 0.2, w.shape)
        w.assign(value)
    return task


def deeplab(hub, *, plus=True, classes=21, preactivated=True, size=None):
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
        use_pre_activation=preactivated,
        image_shape=(size, size, 3),
    )
    backbone = hub.models.DeepLabV3Backbone(
        encoder,
        spatial_pyramid_pooling_key="P5",
        upsampling_size=8,
        dilation_rates=[1, 2],
        low_level_feature_key="P2" if plus else None,
        projection_filters=6,
        image_shape=(size, size, 3),
    )
    converter = hub.layers.DeepLabV3ImageConverter(image_size=(64, 64), scale=SCALE, offset=OFFSET)
    preprocessor = hub.models.DeepLabV3ImageSegmenterPreprocessor(converter)
    return randomized(
        hub.models.DeepLabV3ImageSegmenter(backbone, classes, preprocessor=preprocessor)
    )


def segformer(hub, size=64, classes=150):
    encoder = hub.models.MiTBackbone(
        layerwise_depths=[1, 1, 1, 1],
        num_layers=4,
        layerwise_num_heads=[1, 1, 2, 2],
        layerwise_sr_ratios=[8, 4, 2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3, 3, 3],
        layerwise_strides=[4, 2, 2, 2],
        image_shape=(size, size, 3),
        hidden_dims=[8, 10, 12, 16],
    )
    backbone = hub.models.SegFormerBackbone(encoder, projection_filters=12)
    converter = hub.layers.SegFormerImageConverter(
        image_size=(size, size), scale=SCALE, offset=OFFSET
    )
    preprocessor = hub.models.SegFormerImageSegmenterPreprocessor(converter)
    return randomized(
        hub.models.SegFormerImageSegmenter(backbone, classes, preprocessor=preprocessor)
    )


def depth_anything(hub, size=98, **settings):
    encoder = hub.models.DINOV2Backbone(
        patch_size=14,
        num_layers=4,
        hidden_dim=16,
        num_heads=2,
        intermediate_dim=24,
        image_shape=(size, size, 3),
        position_embedding_shape=(98, 98),
        apply_layernorm=settings.pop("apply_layernorm", True),
    )
    backbone = hub.models.DepthAnythingBackbone(
        encoder,
        reassemble_factors=[4, 2, 1, 0.5],
        neck_hidden_dims=[4, 6, 8, 10],
        fusion_hidden_dim=12,
        head_hidden_dim=6,
        head_in_index=-1,
        feature_keys=["stage1", "stage2", "stage3", "stage4"],
    )
    converter = hub.layers.DepthAnythingImageConverter(
        image_size=(size, size), scale=SCALE, offset=OFFSET
    )
    preprocessor = hub.models.DepthAnythingDepthEstimatorPreprocessor(converter)
    settings = {"depth_estimation_type": "relative", **settings}
    task = hub.models.DepthAnythingDepthEstimator(backbone, preprocessor=preprocessor, **settings)
    randomized(task)
    # Depth is positive, so that the ReLU after it shows something.
    backbone.head.conv3.bias.assign([20.0])
    return task


def image(height, width):
    return np.random.default_rng(1).integers(0, 256, (1, height, width, 3), dtype="uint8")


def original(task, photograph):
    """Logits of KerasHub's own network on a normalized image."""
    x = photograph * np.array(SCALE, "float32") + np.array(OFFSET, "float32")
    y = task(x, training=False)
    return ops.convert_to_numpy(y["depths"] if isinstance(y, dict) else y)


def check_same(model, photograph, wanted):
    found = ops.convert_to_numpy(model(photograph, training=False))
    scale = np.abs(wanted).max()
    assert found.shape == wanted.shape and 0.1 < scale < 1e5
    np.testing.assert_allclose(found, wanted, atol=1e-4 * scale, rtol=0)


@pytest.fixture(scope="module")
def saved(hub, tmp_path_factory):
    """A task of DeepLabv3+, and the folder of its preset."""
    task, folder = deeplab(hub), tmp_path_factory.mktemp("hub") / "deeplab"
    task.save_to_preset(folder)
    return task, folder


def test_deeplab_gives_what_keras_hub_gives(saved, tmp_path):
    task, folder = saved
    model = kd.weights.pretrained(DEEPLAB, folder)
    check_same(model, image(64, 96), original(task, image(64, 96)))
    # Other sizes are mirrored to whole cells of 32 pixels, and logits are cropped.
    photograph = image(75, 101)
    padded = np.pad(photograph, ((0, 0), (0, 21), (0, 27), (0, 0)), "reflect")
    check_same(model, photograph, original(task, padded)[:, :75, :101])
    head = kd.heads.of(model)
    assert head.class_names[15] == "person" and head.palette[15].tolist() == [192, 128, 128]
    # Nothing of KerasHub is left in it.
    assert not any(type(x).__module__.startswith("keras_hub") for x in model._flatten_layers())
    check_same(reload(model), photograph, ops.convert_to_numpy(model(photograph)))


def test_backbones_that_pad_with_minus_infinity(hub):
    """Before their first pooling, as ResNets do whose blocks begin with batch norm."""
    encoder = deeplab(hub).backbone.image_encoder
    maps = keras.Model(encoder.input, encoder.pyramid_outputs)
    photograph = image(64, 96) / 255
    wanted = maps(photograph, training=False)
    backbone = kd.backbone(maps)
    found = backbone(photograph, training=False)
    for level in wanted:
        np.testing.assert_allclose(
            *(ops.convert_to_numpy(x[level]) for x in (found, wanted)), rtol=1e-5, atol=1e-4
        )
    assert kd.surgery.receptive_field(backbone)["P2"].size == (27, 27)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "settings", [{"plus": False}, {"preactivated": False}, {"size": 64}], ids=str
)
def test_deeplab_of_other_kinds(hub, tmp_path, settings):
    task = deeplab(hub, **settings)
    task.save_to_preset(tmp_path / "preset")
    model = kd.weights.pretrained(DEEPLAB, tmp_path / "preset")
    check_same(model, image(64, 64), original(task, image(64, 64)))
    assert model(image(75, 101)).shape == (1, 75, 101, 21)


@pytest.mark.exhaustive
def test_other_classes(saved):
    task, folder = saved
    with pytest.warns(UserWarning, match="Its scores start at random"):
        model = kd.weights.pretrained(DEEPLAB, folder, num_classes=3, strict=False)
    assert kd.heads.of(model).channels == model.output_shape[-1] == 3
    model.compile("adam", **kd.objectives(model))
    assert np.isfinite(model.train_on_batch(image(32, 32), np.ones((1, 32, 32), "int32"))[0])
    heads = {"depth": kd.heads.Depth(), "objects": kd.heads.Segmentation(21)}
    with pytest.warns(UserWarning, match="model predicts depth_scores of 1 channels. Its scores"):
        model = kd.weights.pretrained(DEEPLAB, folder, heads=heads, strict=False)
    assert set(model.output) == set(heads)
    whole = kd.weights.pretrained(DEEPLAB, folder)
    for name in ("scores", "objects_scores"):
        kernel = (whole if name == "scores" else model).get_layer(name).get_weights()[0]
        np.testing.assert_array_equal(kernel, task.output_conv.get_weights()[0])


def test_segformer_gives_what_keras_hub_gives(hub, tmp_path, monkeypatch, capsys):
    task = segformer(hub)
    task.save_to_preset(tmp_path / "preset")
    model = kd.weights.pretrained(SEGFORMER, tmp_path / "preset")
    check_same(model, image(64, 64), original(task, image(64, 64)))
    assert model(image(75, 101)).shape == (1, 75, 101, 150)
    assert kd.heads.of(model).class_names[0] == "wall"
    # KerasHub's own network is of one size, and square: another one with the same weights.
    larger = segformer(hub, size=96)
    larger.set_weights(task.get_weights())
    check_same(model, image(96, 96), original(larger, image(96, 96)))
    # As if it was downloaded: terms that are not permissive are said once.
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(hub.models.ImageSegmenter, "from_preset", lambda *args, **kwargs: task)
    for _ in range(2):
        assert kd.weights.pretrained(SEGFORMER).count_params() == model.count_params()
    assert capsys.readouterr().out.count("NVIDIA Source Code License") == 1


@pytest.mark.exhaustive
def test_depth_anything_gives_what_keras_hub_gives(hub, tmp_path):
    task = depth_anything(hub)
    task.save_to_preset(tmp_path / "preset")
    model = kd.weights.pretrained(DEPTH, tmp_path / "preset")
    check_same(model, image(98, 98), original(task, image(98, 98)))
    assert model(image(75, 101)).shape == (1, 75, 101, 1)
    assert isinstance(kd.heads.of(model), kd.heads.RelativeDepth)
    # KerasHub's own for another square, of an odd number of patches.
    larger = depth_anything(hub, size=126)
    used, name = [], "interpolated_position_embeddings"
    for ours, theirs in zip(larger.weights, task.weights, strict=True):
        if name in ours.path:
            used.append((ours, theirs))
        else:
            ours.assign(theirs)
    ((ours, theirs),) = used
    embeddings = larger.backbone.image_encoder.embeddings
    ours.assign(
        embeddings._interpolate_position_embeddings(theirs, 14, (98, 98), (126, 126), False)
    )
    check_same(model, image(126, 126), original(larger, image(126, 126)))
    check_same(reload(model), image(75, 101), ops.convert_to_numpy(model(image(75, 101))))
    heads = {"depth": kd.heads.RelativeDepth(activation="relu"), "more": kd.heads.Segmentation(3)}
    with pytest.warns(UserWarning, match="one channel of depth, the model predicts more_scores"):
        both = kd.weights.pretrained(DEPTH, tmp_path / "preset", heads=heads, strict=False)
    first = keras.Model(both.input, both.output["depth"])
    check_same(first, image(98, 98), original(task, image(98, 98)))


@pytest.mark.exhaustive
def test_depth_in_meters(hub, tmp_path):
    task = depth_anything(hub, depth_estimation_type="metric", max_depth=20.0)
    task.save_to_preset(tmp_path / "preset")
    model = kd.weights.pretrained(DEPTH, tmp_path / "preset")
    check_same(model, image(98, 98), original(task, image(98, 98)))
    assert kd.heads.of(model).max_depth == 20.0
    depth_anything(hub, apply_layernorm=False).save_to_preset(tmp_path / "other")
    with pytest.raises(ValueError, match="`path` must be a preset with .* apply_layernorm=True"):
        kd.weights.pretrained(DEPTH, tmp_path / "other")


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the backend that exports")
@pytest.mark.parametrize(
    "name, make", [(DEEPLAB, deeplab), (SEGFORMER, segformer), (DEPTH, depth_anything)]
)
def test_exports(hub, tmp_path, name, make):
    pytest.importorskip("tf2onnx")
    make(hub).save_to_preset(tmp_path / "preset")
    model = kd.weights.pretrained(name, tmp_path / "preset")
    scale = np.abs(ops.convert_to_numpy(model(image(75, 101)))).max()
    for format, suffix in (("savedmodel", ""), ("onnx", ".onnx")):
        found = getattr(kd.export, format)(model, tmp_path / f"m{suffix}")
        assert max(found.values()) < (1e-3 * scale if name == DEPTH else 1e-3)


@pytest.mark.exhaustive
def test_presets_of_own_classes(hub, tmp_path):
    deeplab(hub, classes=5).save_to_preset(tmp_path / "five")
    with pytest.warns(UserWarning, match="predicts 5 classes, .* Their names are not known"):
        model = kd.weights.pretrained(DEEPLAB, tmp_path / "five")
    assert kd.heads.of(model).channels == 5
    deeplab(hub, classes=19).save_to_preset(tmp_path / "roads")
    with pytest.warns(UserWarning, match="They are taken for the 19 classes of Cityscapes"):
        model = kd.weights.pretrained(DEEPLAB, tmp_path / "roads")
    assert kd.heads.of(model).class_names[0] == "road"


def test_tiles_and_the_command_line(saved, tmp_path, capsys):
    PIL = pytest.importorskip("PIL.Image")
    _, folder = saved
    model = kd.weights.pretrained(DEEPLAB, folder)
    photograph = image(75, 101)[0]
    whole = kd.inference.predict_tiled(model, photograph, tile=128)
    np.testing.assert_array_equal(
        whole, ops.convert_to_numpy(kd.decoded(model)(photograph[None]))[0]
    )
    (tmp_path / "photos").mkdir()
    PIL.fromarray(photograph).save(tmp_path / "photos" / "a.png")
    out = tmp_path / "labels"
    command = ["predict", DEEPLAB, str(tmp_path / "photos"), "--out", str(out)]
    assert main([*command, "--weights", str(folder)]) == 0
    np.testing.assert_array_equal(np.array(PIL.open(out / "a.png")), whole)
    assert main([*command, "--weights", str(tmp_path)]) == 1
    assert "must be the folder of a preset" in capsys.readouterr().err
    assert main(["info", DEEPLAB]) == 0
    assert "kaggle://keras/deeplabv3plus/keras/deeplab_v3_plus" in capsys.readouterr().out


@pytest.mark.once
def test_bad_presets(saved, tmp_path, monkeypatch):
    task, folder = saved
    with pytest.raises(FileNotFoundError, match="folder of a preset.* no config.json and no task"):
        kd.weights.pretrained(DEEPLAB, tmp_path)
    with pytest.raises(FileNotFoundError, match="folder of a preset"):
        kd.weights.pretrained(DEEPLAB, tmp_path / "none")
    with pytest.raises(ValueError, match="of SegFormerImageSegmenter.* holds a DeepLabV3Image"):
        kd.weights.pretrained(SEGFORMER, folder)
    with pytest.raises(ValueError, match="21 classes, the model predicts scores of 3 channels"):
        kd.weights.pretrained(DEEPLAB, folder, num_classes=3)
    with pytest.raises(ValueError, match="`auxiliary` must be False"):
        kd.weights.pretrained(DEEPLAB, folder, auxiliary=True)
    model = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(21, 1)])
    with pytest.raises(ValueError, match="`source` must be a file: .* loaded whole, by"):
        kd.weights.load(model, DEEPLAB)
    for broken in ("config.json", "task.json"):
        (tmp_path / broken).write_text("{}")
    with pytest.raises(ValueError, match="`path` must be a preset of DeepLabV3ImageSegmenter"):
        kd.weights.pretrained(DEEPLAB, tmp_path)


@pytest.mark.once
def test_bad_network_of_keras_hub(hub, monkeypatch):
    def broken(*args, **kwargs):
        raise OSError("HTTPSConnectionPool(host='www.kaggle.com', port=443)")

    monkeypatch.setattr(hub.models.ImageSegmenter, "from_preset", broken)
    with pytest.raises(ConnectionError, match="could not be downloaded by KerasHub") as caught:
        kd.weights.pretrained(DEEPLAB)
    text = str(caught.value)
    assert "host='www.kaggle.com'" in text and "HTTPS_PROXY" in text
    assert f"kd.weights.pretrained('{DEEPLAB}', path='…/deeplab_v3_plus_resnet50" in text
    assert "https://www.kaggle.com/models/keras/deeplabv3plus" in text
    name = "keras_hub/segformer_b1_cityscapes_1024"
    with pytest.warns(UserWarning, match="gives 'kaggle://.*segformer_b1_ade20k_512.* another"):
        with pytest.raises(ConnectionError, match="segformer_b1_cityscapes_1024"):
            kd.weights.pretrained(name)


@pytest.mark.once
def test_without_keras_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(ImportError, match="'keras_hub/deeplab.* Install it with: pip install ker"):
        kd.weights.pretrained(DEEPLAB)

"""Weights of torchvision and of others who keep its names, in backbones."""

import json
import struct

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.rules import plan
from keras_dense.backbones import application, as_backbone, published
from keras_dense.backbones.table import FAMILIES, OWN
from keras_dense.backbones.torchvision import NETWORKS

from . import torchvision_files as facts

TABLE = facts.files()
# Names of torchvision, where they are not ours.
THEIRS = {f"resnet{n}_v1b": f"resnet{n}" for n in (50, 101, 152)} | {
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3Small": "mobilenet_v3_small",
    "MobileNetV3Large": "mobilenet_v3_large",
}
WITH_FILES = [name for name in NETWORKS if NETWORKS[name].files]
QUICK = (
    "resnet18 vgg16_bn DenseNet121 MobileNetV2 MobileNetV3Small EfficientNetB0 ConvNeXtTiny"
).split()


def theirs(name):
    plain = name.lower().replace("efficientnetb", "efficientnet_b")
    return THEIRS.get(name, plain.replace("convnext", "convnext_"))


def marked(names, quick=QUICK):
    return [n if n in quick else pytest.param(n, marks=pytest.mark.exhaustive) for n in names]


def call(model, x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, training=False))


def zeros(tensors):
    """Arrays of these shapes that take no memory."""
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in tensors.items()}


def in_variant(name, include_top):
    network = NETWORKS[name]
    settings = {**network.settings, "include_top": include_top, "weights": None}
    if not include_top:
        settings["input_shape"] = (None, None, 3)
    family = next(f for f in FAMILIES + OWN if name in f.members)
    return published.variant(family.builder(name)(**settings), network)


def test_the_table_is_torchvisions():
    assert {theirs(name) for name in WITH_FILES} == set(TABLE)
    for name in WITH_FILES:
        rows = [[f"{f.stem}.pth", f.accuracy, f.size] for f in NETWORKS[name].files]
        assert rows == TABLE[theirs(name)]["files"]
    names = {name for family in FAMILIES + OWN for name in family.members}
    assert set(NETWORKS) <= names
    remote = NETWORKS["resnet50_v1b"].files[1].remote("resnet50_v1b")
    assert remote.urls == ("https://download.pytorch.org/models/resnet50-11ad3fa6.pth",)
    assert remote.hash == "11ad3fa6" and remote.file == "resnet50-11ad3fa6.pth"


@pytest.mark.parametrize("name", marked(WITH_FILES))
@pytest.mark.parametrize("top", [True, False])
def test_every_tensor_of_every_file_has_a_place(name, top, zero_weights):
    if top and name.lower().startswith("vgg") and name != "VGG16":
        pytest.skip("the top of VGG-16 in each; it takes half a gigabyte")
    model = in_variant(name, top)
    report = plan(zeros(TABLE[theirs(name)]["tensors"]), model, NETWORKS[name].rules).report
    assert report.complete and len(report.read) == len(model.weights), str(report)
    left = set(report.left_out) - {"counters"}
    assert left == (set() if top else {"the top of the classifier"})


def test_names_of_the_old_files_of_densenets(zero_weights):
    old = {
        key.replace("norm1", "norm.1").replace("conv2", "conv.2"): shape
        for key, shape in TABLE["densenet121"]["tensors"].items()
    }
    assert any("norm.1" in key for key in old)
    model = in_variant("DenseNet121", False)
    assert plan(zeros(old), model, NETWORKS["DenseNet121"].rules).report.complete


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV3Small",
        "resnet18",
        "MobileNetV2",
        "EfficientNetB0",
        "ConvNeXtTiny",
        *(
            pytest.param(name, marks=pytest.mark.exhaustive)
            for name in ("DenseNet121", "vgg16_bn", "MobileNetV3Large")
        ),
    ],
)
def test_features_equal_torchvision(name, tmp_path):
    """Its outputs are stored, for weights drawn from their names."""
    drawn = facts.weights(TABLE[theirs(name)]["tensors"])
    np.savez(tmp_path / "drawn.npz", **drawn)
    backbone = kd.backbone(name, tmp_path / "drawn.npz")
    outputs = np.load(facts.OUTPUTS)
    for height, width in facts.SIZES:
        *stored, largest = outputs[f"{theirs(name)} {height}"]
        got = call(backbone, facts.image(height, width))["P5"]
        np.testing.assert_allclose(got[..., : facts.CHANNELS].ravel(), stored, atol=1e-5 * largest)
        np.testing.assert_allclose(np.abs(got).max(), largest, rtol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["MobileNetV2", "MobileNetV3Small", "EfficientNetB1"])
def test_scores_equal_torchvision(name, tmp_path):
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    import torch

    drawn = facts.weights(TABLE[theirs(name)]["tensors"])
    np.savez(tmp_path / "drawn.npz", **drawn)
    net = getattr(models, theirs(name))(weights=None).eval()
    net.load_state_dict({k: torch.from_numpy(v) for k, v in drawn.items()})
    x = facts.image(224, 224)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in facts.MEAN_STD)
    with torch.no_grad():
        y = (torch.from_numpy(x.transpose(0, 3, 1, 2)) / 255 - mean) / std
        wanted = torch.softmax(net(y), -1).numpy()
    model = application(name, tmp_path / "drawn.npz", standardize=True, include_top=True)
    np.testing.assert_allclose(call(model, x), wanted, rtol=1e-3, atol=1e-7)


def test_the_fully_connected_top_of_vgg():
    """Its input is flattened with channels first there, and last here."""
    from keras_dense.backbones.torchvision_rules import vgg

    rules = vgg((1,), norm=False)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(1, 7, 7, 4)).astype("float32")
    kernel, bias = rng.normal(size=(5, 4 * 49)), rng.normal(size=5)
    model = keras.Sequential(
        [keras.Input((7, 7, 4)), keras.layers.Flatten(), keras.layers.Dense(5, name="fc1")]
    )
    plan({"classifier.0.weight": kernel, "classifier.0.bias": bias}, model, rules).apply()
    wanted = features.transpose(0, 3, 1, 2).reshape(1, -1) @ kernel.T + bias
    np.testing.assert_allclose(call(model, features), wanted, rtol=1e-4, atol=1e-4)


# Files


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, value in tensors.items():
        dtype = {"float32": "F32", "int64": "I64"}[str(value.dtype)]
        end = len(data) + value.nbytes
        header[name] = {"dtype": dtype, "shape": value.shape, "data_offsets": [len(data), end]}
        data += value.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_pth(path, tensors, **settings):
    import torch

    torch.save({k: torch.from_numpy(v) for k, v in tensors.items()}, path, **settings)


WRITERS = {
    "torchvision.pth": lambda path, x: write_pth(path, x, _use_new_zipfile_serialization=False),
    "parallel.pt": lambda path, x: write_pth(path, {f"module.{k}": v for k, v in x.items()}),
    "smp.safetensors": lambda path, x: write_safetensors(
        path,
        {
            **{f"encoder.{k}": v for k, v in x.items() if not k.startswith("fc")},
            "decoder.blocks.0.conv1.0.weight": np.zeros((3, 4, 3, 3), "float32"),
            "segmentation_head.0.weight": np.zeros((3, 4, 3, 3), "float32"),
        },
    ),
    "mmseg.pth": lambda path, x: write_pth(
        path,
        {
            **{f"backbone.{k}": v for k, v in x.items() if not k.startswith("fc")},
            "decode_head.conv_seg.weight": np.zeros((3, 4, 1, 1), "float32"),
        },
    ),
}


@pytest.fixture(scope="module")
def drawn():
    return facts.weights(TABLE["resnet18"]["tensors"])


@pytest.mark.parametrize("file", WRITERS)
def test_files_of_others(file, drawn, tmp_path):
    WRITERS[file](tmp_path / file, drawn)
    backbone = kd.backbone("resnet18", tmp_path / file)
    np.testing.assert_array_equal(
        backbone.get_layer("layer3_1_conv2").get_weights()[0],
        drawn["layer3.1.conv2.weight"].transpose(2, 3, 1, 0),
    )
    np.testing.assert_array_equal(
        backbone.get_layer("layer4_0_downsample_1").get_weights()[3],
        drawn["layer4.0.downsample.1.running_var"],
    )
    if "smp" in file:
        with pytest.raises(ValueError, match=r"(?s)do not fit.*missing.*predictions/kernel"):
            as_backbone("resnet18", tmp_path / file, top=True)


def test_a_classifier_with_its_top(drawn, tmp_path):
    write_pth(tmp_path / "net.pth", drawn)
    model = as_backbone("resnet18", tmp_path / "net.pth", top=True)
    np.testing.assert_array_equal(model.get_layer("predictions").get_weights()[1], drawn["fc.bias"])
    assert model.layers[1].name == "standardize" and model.output_shape == (None, 1000)


def test_sources_by_name(drawn, tmp_path, monkeypatch):
    """ "imagenet" of a network that Keras lacks, too, is torchvision's first file."""
    np.savez(tmp_path / "drawn.npz", **drawn)
    asked = []
    monkeypatch.setattr(published, "fetch", lambda x: asked.append(x) or tmp_path / "drawn.npz")
    for weights in ("torchvision", "torchvision/v1", "imagenet"):
        kd.backbone("resnet18", weights)
    assert {remote.file for remote in asked} == {"resnet18-f37072fd.pth"} and len(asked) == 3
    with pytest.raises(ValueError, match="holds weights of another network"):
        kd.backbone("resnet50_v1b", "torchvision/v2")
    assert asked[-1].file == "resnet50-11ad3fa6.pth"


@pytest.mark.parametrize(
    ("preprocessing", "mean"), [(None, 0.485 * 255), ("tf", 127.5), ({"mean": 5.0}, 5.0)]
)
def test_standardization_of_the_weights(preprocessing, mean, drawn, tmp_path):
    np.savez(tmp_path / "drawn.npz", **drawn)
    backbone = kd.backbone("resnet18", tmp_path / "drawn.npz", preprocessing=preprocessing)
    found = backbone.get_layer("standardize").mean
    assert np.ravel(found)[0] == pytest.approx(mean)


def test_networks_that_standardize_inside_do_it_once(zero_weights, tmp_path):
    tensors = TABLE["efficientnet_b0"]["tensors"]
    np.savez(tmp_path / "zeros.npz", **{k: np.zeros(v, "float32") for k, v in tensors.items()})
    backbone = kd.backbone("EfficientNetB0", tmp_path / "zeros.npz")
    kinds = [type(layer).__name__ for layer in backbone.layers]
    assert kinds.count("Standardize") == 1
    assert not {"Rescaling", "Normalization"} & set(kinds)
    assert backbone.get_layer("stem_bn").epsilon == 1e-5
    assert backbone.get_layer("stem_conv_pad").padding == ((1, 1), (1, 1))


def test_vgg_with_batch_norm(zero_weights):
    model = kd.backbones.vgg16_bn()
    assert model.input_shape == (None, 224, 224, 3) and model.output_shape == (None, 1000)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 138_365_992
    plain = keras.applications.VGG16(weights=None, include_top=False)
    names = [x.name for x in kd.surgery.insert_batch_norm(plain).layers if x.weights]
    top = ["fc1", "fc2", "predictions"]
    assert [x.name for x in model.layers if x.weights] == names + top
    trunk = kd.backbones.vgg19_bn(include_top=False, name="mine")
    assert trunk.name == "mine" and trunk.output_shape == (None, None, None, 512)
    assert sum(np.prod(w.shape) for w in trunk.trainable_weights) == 20_035_392
    backbone = kd.backbone("vgg19-bn", None)
    assert kd.surgery.strides(backbone) == {f"P{n}": 2**n for n in range(6)}


# Errors


def test_bad_sources(tmp_path):
    with pytest.raises(ValueError, match="Choose 'resnet50_v1b'. Received: weights='torchvision'"):
        kd.backbone("resnet50", "torchvision")
    (tmp_path / "net.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="'ResNet101' .*Choose 'resnet101_v1b'"):
        kd.backbone("ResNet101", tmp_path / "net.pth")
    with pytest.raises(ValueError, match="torchvision's weights of 'Xception' are not known"):
        kd.backbone("xception", "torchvision")
    with pytest.raises(ValueError, match=r"`weights` of 'Xception' must be a file of Keras"):
        kd.backbone("xception", tmp_path / "net.pth")
    with pytest.raises(ValueError, match="torchvision does not have 'resnet50_v1c'. MMSeg"):
        kd.backbone("resnet50_v1c", "torchvision")
    with pytest.raises(ValueError, match=r"'torchvision/v1' \(76.1 %\) or 'torchvision/v2'"):
        kd.backbone("resnet50_v1b", "torchvision/v3")
    with pytest.raises(ValueError, match=r"must be 'torchvision/v1' \(69.8 %\), with"):
        kd.backbone("resnet18", "torchvision/v2")
    with pytest.raises(FileNotFoundError, match="must be 'imagenet', 'torchvision', None, or"):
        kd.backbone("resnet18", "torchvison")


def test_bad_files(tmp_path):
    (tmp_path / "page.pth").write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(ValueError, match=r"page\.pth"):
        kd.backbone("resnet18", tmp_path / "page.pth")
    tensors = zeros(TABLE["mobilenet_v2"]["tensors"])
    np.savez(tmp_path / "other.npz", **tensors)
    with pytest.raises(ValueError, match="holds weights of another network than 'resnet18'"):
        kd.backbone("resnet18", tmp_path / "other.npz")


def test_no_network(monkeypatch):
    def unreachable(*args, **kwargs):
        raise Exception("URL fetch failure on https://…: None -- no network")

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    message = r"kd\.backbone\('resnet34', weights='…/resnet34-b627a593\.pth'\)"
    with pytest.raises(ConnectionError, match=message):
        kd.backbone("resnet34", "torchvision")

"""Folders of segmentation_models_pytorch, beside the package and beside a network written again."""

import contextlib
import gzip
import importlib
import importlib.util
import json

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.rules import split
from keras_dense.weights.load import ready_for
from keras_dense.weights.smp import record_of
from keras_dense.weights.smp_encoders import ENCODERS, encoder_of
from keras_dense.weights.smp_names import recognized
from tests import torchvision_operations

from . import make_smp


def run(model, image):
    return keras.ops.convert_to_numpy(model(image, training=False))


torch = pytest.importorskip("torch", reason="the networks are PyTorch's")
nn, F = torch.nn, torch.nn.functional

FOLDERS = json.loads(gzip.decompress(make_smp.FILE.read_bytes()))
# Quick to build, and most of the rules.
QUICK = (
    "Unet encoder_depth=3",
    "UnetPlusPlus encoder_depth",
    "FPN encoder_d",
    "PSPNet psp_out",
    "MAnet encoder_d",
    "PAN encoder_d",
    "UPerNet encoder_d",
    "Segformer encoder_d",
)
SETTINGS = {"mean": 0, "std": 255}
# The end of a stage, as the package reads it.
TAPS = {"P1": "relu", "P2": "layer1_1_relu", "P3": "layer2_1_relu"}
SMALL = {
    "_model_class": "Unet",
    "encoder_name": "resnet18",
    "encoder_depth": 3,
    "encoder_weights": "imagenet",
    "decoder_channels": [16, 8, 8],
    "classes": 2,
}


def write_safetensors(path, tensors):
    """The format, without the package: the length of a header, the header, the numbers."""
    header, offset = {}, 0
    for name, value in tensors.items():
        end = offset + value.nbytes
        shape, offsets = list(value.shape), [offset, end]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        offset = end
    text = json.dumps(header).encode()
    data = b"".join(value.tobytes() for value in tensors.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write(folder, config, tensors=None):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors", tensors or {})
    return folder


# The rules, on names and shapes


@pytest.mark.once
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n.startswith(QUICK) else pytest.mark.exhaustive) for n in FOLDERS],
)
def test_every_name_of_a_stored_network_is_covered(name, tmp_path):
    config, shapes = FOLDERS[name]["config"], FOLDERS[name]["shapes"]
    record, file = record_of(write(tmp_path / "a", config), SETTINGS)
    assert file.name == record.file == "model.safetensors"
    head, shape = record.head(), (None, None, record.channels)
    model = record.builder(heads=head, input_shape=shape, **record.arguments)
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    report = ready_for(model, tensors, record.rules, name).report
    assert report.complete, report
    reasons = {
        "counters",
        "the classification of whole images",
        "layers behind the last feature that is read",
        "layers that the network never calls",
    }
    assert set(report.left_out) <= reasons
    assert head.channels == config["classes"]


@pytest.mark.once
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n.startswith(QUICK) else pytest.mark.exhaustive) for n in FOLDERS],
)
def test_a_file_without_settings_is_recognized_by_its_names(name, tmp_path):
    config, shapes = FOLDERS[name]["config"], FOLDERS[name]["shapes"]
    record, _ = record_of(write(tmp_path / "a", config), SETTINGS)
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in shapes.items()}
    found = recognized({f"model.{key}": value for key, value in tensors.items()})
    assert len(found) <= 8
    # Of several candidates, the model decides.
    keys = [split(key)[0] for key in shapes if not key.endswith("num_batches_tracked")]

    def layers_of(rules):
        return [next((r.path(m, {}) for r in rules if (m := r.match(k))), None) for k in keys]

    assert layers_of(record.rules) in [layers_of(rules) for rules in found]


@pytest.mark.once
def test_a_file_is_loaded_into_a_model_of_ones_own(small, tmp_path):
    def built(classes=2, **settings):
        backbone = kd.backbone("resnet18", weights=None, taps=TAPS, preprocessing="torch")
        settings = {"upsampling": "nearest", "reduction": None, "scores_size": 3, **settings}
        decoder = kd.decoders.unet((16, 8, 8), **settings)
        return kd.assemble(backbone, decoder, kd.heads.Segmentation(classes), grid="image")

    tensors = tensors_of_small()
    state = {f"model.{name}": torch.tensor(x) for name, x in tensors.items()}
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 48, 3), dtype="uint8")
    expected = expected_of_small(tensors, image)
    model = built()
    for source in (small, str(small / "model.safetensors"), tmp_path / "last.ckpt", tensors):
        model.set_weights([np.zeros(w.shape, "float32") for w in model.weights])
        report = kd.weights.load(model, source)
        assert report.complete and report.total == len(model.weights)
        found = run(model, image)
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    assert kd.weights.load(model, small, rules="smp").complete
    with pytest.raises(ValueError, match="`source` must be the path of the network for 'smp'"):
        kd.weights.load(model, "smp")
    # Other classes, and a decoder with layers that the file does not have.
    with pytest.raises(ValueError, match="2 classes, the model predicts 5. With `strict=False`"):
        kd.weights.load(built(5), small)
    with pytest.warns(UserWarning, match="missing in the file: up2/kernel"):
        report = kd.weights.load(built(upsampling="transposed"), tensors, strict=False)
    assert not report.unread


@pytest.mark.once
def test_all_families_are_among_the_stored():
    kinds = {found["config"]["_model_class"] for found in FOLDERS.values()}
    assert kinds == {
        "Unet", "UnetPlusPlus", "FPN", "DeepLabV3", "DeepLabV3Plus", "PSPNet", "Linknet", "MAnet",
        "PAN", "UPerNet", "Segformer",
    }  # fmt: skip


# Numbers, beside a network written again


def tensors_of_small(seed=0):
    """A U-Net on the first stages of ResNet-18, with names and shapes of the package."""
    rng, tensors = np.random.default_rng(seed), {}

    def conv(name, out, into, size):
        scale = np.sqrt(2 / (into * size * size))
        tensors[f"{name}.weight"] = rng.normal(0, scale, (out, into, size, size))

    def norm(name, width):
        tensors[f"{name}.weight"] = rng.uniform(0.5, 1, width)
        tensors[f"{name}.bias"] = rng.normal(0, 0.2, width)
        tensors[f"{name}.running_mean"] = rng.normal(0, 0.2, width)
        tensors[f"{name}.running_var"] = rng.uniform(0.5, 1.5, width)

    conv("encoder.conv1", 64, 3, 7)
    norm("encoder.bn1", 64)
    for stage, (into, width) in enumerate(((64, 64), (64, 128)), 1):
        for block in range(2):
            at = f"encoder.layer{stage}.{block}"
            for n in (1, 2):
                conv(f"{at}.conv{n}", width, into if block == 0 and n == 1 else width, 3)
                norm(f"{at}.bn{n}", width)
    conv("encoder.layer2.0.downsample.0", 128, 64, 1)
    norm("encoder.layer2.0.downsample.1", 128)
    for n, (into, width) in enumerate(((128 + 64, 16), (16 + 64, 8), (8, 8))):
        for k, channels in ((1, into), (2, width)):
            conv(f"decoder.blocks.{n}.conv{k}.0", width, channels, 3)
            norm(f"decoder.blocks.{n}.conv{k}.1", width)
    conv("segmentation_head.0", 2, 8, 3)
    tensors["segmentation_head.0.bias"] = rng.normal(0, 0.1, 2)
    return {name: value.astype("float32") for name, value in tensors.items()}


def expected_of_small(tensors, image):
    """The U-Net, written again from the source of the package."""
    t = {name: torch.tensor(value) for name, value in tensors.items()}

    def conv_norm(x, conv, norm, stride=1):
        size = t[f"{conv}.weight"].shape[-1]
        x = F.conv2d(x, t[f"{conv}.weight"], stride=stride, padding=size // 2)
        values = (t[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *values, eps=1e-5)

    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = torch.tensor(np.moveaxis((image / 255 - mean) / std, -1, 1), dtype=torch.float32)
    skips = [x, torch.relu(conv_norm(x, "encoder.conv1", "encoder.bn1", 2))]
    x = F.max_pool2d(skips[-1], 3, 2, 1)
    for stage in (1, 2):
        for block in range(2):
            at, stride = f"encoder.layer{stage}.{block}", 2 if (stage, block) == (2, 0) else 1
            y = torch.relu(conv_norm(x, f"{at}.conv1", f"{at}.bn1", stride))
            y = conv_norm(y, f"{at}.conv2", f"{at}.bn2")
            if stride == 2:
                x = conv_norm(x, f"{at}.downsample.0", f"{at}.downsample.1", 2)
            x = torch.relu(x + y)
        skips.append(x)
    x = skips.pop()
    for n, skip in enumerate(skips[::-1]):
        x = F.interpolate(x, size=skip.shape[2:], mode="nearest")
        if n < 2:
            x = torch.cat([x, skip], 1)
        for k in (1, 2):
            at = f"decoder.blocks.{n}.conv{k}"
            x = torch.relu(conv_norm(x, f"{at}.0", f"{at}.1"))
    scores = {part: t[f"segmentation_head.0.{part}"] for part in ("weight", "bias")}
    return np.moveaxis(F.conv2d(x, padding=1, **scores).numpy(), 1, -1)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write(tmp_path_factory.mktemp("smp") / "unet", SMALL, tensors_of_small())


@pytest.mark.everywhere
def test_gives_what_the_unet_gives(small):
    model = kd.weights.pretrained("smp", small)
    for size in ((32, 48), (45, 61)):
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype="uint8")
        expected = expected_of_small(tensors_of_small(), image)
        scale = np.abs(expected).max()
        assert 0.1 < scale < 1e3
        found = model.predict(image, verbose=0)
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)


@pytest.mark.once
def test_other_forms_of_a_folder(small, tmp_path):
    for path in (small, str(small / "config.json"), small / "model.safetensors"):
        assert record_of(path)[1] == small / "model.safetensors"
    # A state dict, as a wrapper of training saved it.
    state = {f"model.{name}": torch.tensor(x) for name, x in tensors_of_small().items()}
    other = write(tmp_path / "a", SMALL)
    (other / "model.safetensors").unlink()
    torch.save({"state_dict": state, "epoch": 3}, other / "last.ckpt")
    # Classes with names; files have none.
    head = kd.heads.Segmentation(2, class_names=["sky", "ground"])
    found = kd.weights.pretrained("smp", other, heads=head)
    assert kd.heads.of(found).class_names == ["sky", "ground"]
    model = kd.weights.pretrained("smp", small)
    assert kd.heads.of(model).class_names == ["0", "1"]
    assert all(map(np.array_equal, found.get_weights(), model.get_weights()))


def preprocessing_of(folder):
    record, _ = record_of(folder)
    return record.normalization


@pytest.mark.once
def test_standardization_of_images(tmp_path):
    folder = write(tmp_path / "a", SMALL)
    plain = "{'mean': [123.675, 116.28, 103.53], 'std': [58.395, 57.12, 57.375]}"
    assert preprocessing_of(folder) == plain
    half = "{'mean': [127.5, 127.5, 127.5], 'std': [127.5, 127.5, 127.5]}"
    assert preprocessing_of(write(folder, {**SMALL, "encoder_weights": "advprop"})) == half
    other = {**SMALL, "encoder_name": "tu-tf_efficientnetv2_s.in21k"}
    assert preprocessing_of(write(folder, other)) == "{'mean': 127.5, 'std': 127.5}"
    with pytest.warns(UserWarning, match="does not say how images are standardized; mean and"):
        assert preprocessing_of(write(folder, {**SMALL, "encoder_weights": None})) == plain

    def stored(*steps):
        inner = {"__class_fullname__": "Compose", "p": 1.0, "transforms": list(steps)}
        compose = {"__class_fullname__": "Compose", "p": 1.0, "transforms": [inner]}
        text = json.dumps({"__version__": "2.0.0", "transform": compose})
        (folder / "albumentations_config_eval.json").write_text(text)

    resize = {"__class_fullname__": "Resize", "height": 320, "width": 320}
    values = {"mean": [0.5], "std": [0.25], "max_pixel_value": 255.0, "normalization": "standard"}
    normalize = {"__class_fullname__": "albumentations.augmentations.transforms.Normalize"}
    stored(resize, {**normalize, **values})
    assert preprocessing_of(folder) == "{'mean': 127.5, 'std': 63.75}"
    stored({"__class_fullname__": "ToFloat", "max_value": None})
    assert preprocessing_of(folder) == "{'mean': 0.0, 'std': 255.0}"
    stored(resize)
    assert preprocessing_of(folder) == "none"
    stored(normalize, normalize)
    with pytest.raises(ValueError, match="standardizes images more than once"):
        record_of(folder)
    stored({**normalize, "normalization": "image"})
    with pytest.raises(ValueError, match="each image by its own numbers.*normalization='image'"):
        record_of(folder)
    # What is given comes first.
    assert record_of(folder, "tf")[0].normalization == "tf"
    other = write(tmp_path / "b", {**SMALL, "in_channels": 4})
    with pytest.raises(ValueError, match="`preprocessing` must be given.*with 4 channels"):
        record_of(other)


@pytest.mark.once
def test_modes_of_heads(tmp_path):
    def mode(**changes):
        return record_of(write(tmp_path / "a", {**SMALL, **changes}))[0].head().mode

    assert mode(classes=1) == mode(classes=1, activation="sigmoid") == "binary"
    assert mode(classes=3, activation="sigmoid") == "multilabel"
    assert mode(classes=3, activation="softmax2d") == mode(classes=2) == "multiclass"


@pytest.mark.once
def test_bad_settings(tmp_path):
    def bad(text, **changes):
        with pytest.raises(ValueError, match=text):
            record_of(write(tmp_path / "a", {**SMALL, **changes}))

    bad("`_model_class` must be one of Unet, UnetPlusPlus.*'DPT'", _model_class="DPT")
    bad("`_model_class` must be one of Unet.*=None", _model_class=None)
    bad("`encoder_name` must be one of resnet18, .*'senet154'", encoder_name="senet154")
    bad("`encoder_depth` must be an integer from 3 to 5", encoder_depth=2)
    bad("`decoder_channels` must be.*3", decoder_channels=[16, 8])
    bad("`decoder_use_norm` must be 'batchnorm', True or", decoder_use_norm="instancenorm")
    bad("`decoder_use_norm` must be", decoder_use_batchnorm="inplace")
    bad("`decoder_interpolation` must be", decoder_interpolation="bicubic")
    bad("`decoder_attention_type` must be", decoder_attention_type="cbam")
    bad("at least 16 with decoder_attention_type='scse'", decoder_attention_type="scse")
    bad("`activation` must be", activation="argmax")
    bad("`activation` must be None or 'sigmoid' for one", activation="softmax", classes=1)
    bad("settings of Unet that are known here: encoder_name, .*decoder_new=3", decoder_new=3)
    bad("`decoder_use_norm` must be 'batchnorm' or True for", _model_class="Linknet",
        decoder_channels=None, decoder_use_norm=False)  # fmt: skip
    none = {"decoder_channels": None}
    bad("`upsampling` must be 8, so that scores have", _model_class="PSPNet", upsampling=1, **none)
    bad("`encoder_depth` must be 4 or 5 for FPN", _model_class="FPN", **none)
    convnext = {"encoder_name": "tu-convnext_tiny", "encoder_depth": 5, **none}
    for kind in ("Linknet", "UnetPlusPlus"):
        text = "`encoder_name` must be an encoder with a feature at stride 2.*tu-convnext_tiny"
        bad(text, _model_class=kind, **convnext)
    mit = {"encoder_name": "mit_b0", "encoder_depth": 5, "decoder_channels": 16}
    bad("an encoder that is dilated.*'mit_b0'", _model_class="DeepLabV3", **mit)
    bad("`encoder_output_stride` must be one of 16, 32", _model_class="PAN",
        encoder_output_stride=8, decoder_channels=16)  # fmt: skip
    bad("`encoder_name` must be an encoder that is dilated", _model_class="PAN",
        encoder_name="vgg16", decoder_channels=16, encoder_depth=5)  # fmt: skip
    deep = {"_model_class": "DeepLabV3", "decoder_channels": 16}
    bad("`encoder_name` must be an encoder that is dilated", encoder_name="efficientnet-b0", **deep)
    bad("`encoder_output_stride` must be", encoder_output_stride=32, **deep)


@pytest.mark.once
def test_bad_attention_of_decoders():
    for decoder in (kd.decoders.unet, kd.decoders.nested_unet):
        with pytest.raises(ValueError, match="`attention` must be.*scse.*Received: attention='se'"):
            decoder(attention="se")


@pytest.mark.once
def test_bad_folders(small, tmp_path):
    with pytest.raises(ValueError, match="`path` must be the folder of the network for 'smp'"):
        kd.weights.pretrained("smp")
    with pytest.raises(ValueError, match="`preprocessing` must be None for 'torchvision/fcn_res"):
        kd.weights.pretrained("torchvision/fcn_resnet50", preprocessing="tf")
    with pytest.raises(FileNotFoundError, match="must be a folder that exists"):
        kd.weights.pretrained("smp", tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="a folder with 'config.json', as `save_pretrained"):
        kd.weights.pretrained("smp", tmp_path)
    folder = write(tmp_path / "a", SMALL)
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "b.pth").write_bytes(b"")
    with pytest.raises(ValueError, match="one file of weights in.*'a.safetensors', 'b.pth'"):
        kd.weights.pretrained("smp", folder)
    for file in ("a.safetensors", "b.pth"):
        (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match="must have a file of weights beside"):
        kd.weights.pretrained("smp", folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not a file of JSON"):
        kd.weights.pretrained("smp", folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="must hold an object of JSON"):
        kd.weights.pretrained("smp", folder)
    with pytest.raises(ValueError, match="2 classes, the model predicts 3. With `strict=False`"):
        kd.weights.pretrained("smp", small, num_classes=3)
    # The file of another network.
    write_safetensors(folder / "model.safetensors", {"a.weight": np.zeros(3, "float32")})
    (folder / "config.json").write_text(json.dumps(SMALL))
    with pytest.raises(ValueError, match="another network than 'unet_resnet18'"):
        kd.weights.pretrained("smp", folder)


@pytest.mark.once
def test_older_names_of_deeplabv3(tmp_path):
    (name,) = (n for n in FOLDERS if n.startswith("DeepLabV3 decoder_channels=32"))
    config, shapes = FOLDERS[name]["config"], FOLDERS[name]["shapes"]
    record, _ = record_of(write(tmp_path / "a", config), SETTINGS)
    old = {
        "decoder.aspp.": "decoder.0.",
        "decoder.conv.": "decoder.1.",
        "decoder.bn.": "decoder.2.",
    }
    found = 0
    for key in shapes:
        for new, before in old.items():
            if key.startswith(new) and not key.endswith("num_batches_tracked"):
                module, found = key.replace(new, before).rpartition(".")[0], found + 1
                assert any(rule.kind != "skip" and rule.match(module) for rule in record.rules), key
    assert found > 30


# Beside the package itself


@pytest.fixture(scope="module")
def package():
    if importlib.util.find_spec("segmentation_models_pytorch") is None:
        pytest.skip("needs segmentation_models_pytorch")
    torchvision_operations.declare()
    return importlib.import_module("segmentation_models_pytorch")


def randomized(network, seed=0):
    """Random weights and statistics, so that outputs are of order 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    module.bias.normal_(0, 0.1)
            elif isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                module.weight.uniform_(0.5, 1)
                module.bias.normal_(0, 0.2)
                if isinstance(module, nn.BatchNorm2d):
                    module.running_mean.normal_(0, 0.2)
                    module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def sizes_of(kind, settings):
    """Only a U-Net takes sizes that its strides do not divide; a PAN none below eight cells."""
    if kind == "PAN":
        return ((128, 160),)
    name = settings.get("encoder_name", "")
    rounds_up = "convnext" not in name and "mit" not in name
    return ((64, 96), (75, 101)) if kind == "Unet" and rounds_up else ((64, 96),)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "kind, settings", [pytest.param(*case, id=make_smp.name_of(*case)) for case in make_smp.CASES]
)
def test_gives_what_the_package_gives(package, kind, settings, tmp_path):
    network = randomized(make_smp.build(package, kind, settings))
    stored = FOLDERS[make_smp.name_of(kind, settings)]
    assert make_smp.stored(network) == stored
    network.save_pretrained(tmp_path)
    model = kd.weights.pretrained("smp", tmp_path, preprocessing=SETTINGS)
    for size in sizes_of(kind, settings):
        shape = (1, *size, model.input_shape[-1])
        image = np.random.default_rng(0).integers(0, 256, shape, dtype="uint8")
        with torch.no_grad():
            theirs = network(torch.tensor(np.moveaxis(image / 255, -1, 1), dtype=torch.float32))
        theirs = theirs[0] if isinstance(theirs, tuple) else theirs
        expected, found = np.moveaxis(theirs.numpy(), 1, -1), model.predict(image, verbose=0)
        if settings.get("activation") == "sigmoid":
            found = keras.ops.convert_to_numpy(keras.ops.sigmoid(found))
        scale = np.abs(expected).max()
        assert 0.1 < scale < 1e4
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.parametrize("name", ENCODERS)
def test_widths_of_encoders_are_those_of_the_package(package, name):
    with pytest.warns() if name.startswith("timm-") else contextlib.nullcontext():
        encoder = package.encoders.get_encoder(name, weights=None)
    assert tuple(encoder.out_channels[1:]) == encoder_of(name).widths

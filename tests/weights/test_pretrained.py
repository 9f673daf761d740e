"""Published networks, whole, beside the networks of their own packages."""

import importlib.util

import keras
import numpy as np
import pytest

import keras_dense as kd
from tests import torchvision_operations

from . import published

torch = pytest.importorskip("torch", reason="the published networks are PyTorch's")
nn = torch.nn

SMALL = "torchvision/lraspp_mobilenet_v3_large"
FCN = "torchvision/fcn_resnet50"
# One size that all strides divide, and one that none does.
SIZES = ((64, 96), (75, 101))


def stretched(image):
    """Images as torchvision standardizes them."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    return torch.tensor(np.moveaxis((image / 255 - mean) / std, -1, 1), dtype=torch.float32)


def randomized(network, seed=0):
    """The network with random weights and statistics, so that its outputs are of order 1."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1)
                module.bias.normal_(0, 0.2)
                module.running_mean.normal_(0, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return network.eval()


def check_same(network, name, path, auxiliary):
    """Our outputs beside theirs, at both sizes, to 1e-4 of the largest."""
    model = kd.weights.pretrained(name, path, auxiliary=auxiliary)
    for size in SIZES:
        image = np.random.default_rng(0).integers(0, 256, (1, *size, 3), dtype="uint8")
        with torch.no_grad():
            theirs = network(stretched(image))
        ours = model.predict(image, verbose=0)
        ours = ours if auxiliary else {"segmentation": ours}
        for key, theirs_key in (("segmentation", "out"), ("auxiliary", "aux")):
            if key in ours:
                expected = np.moveaxis(theirs[theirs_key].numpy(), 1, -1)
                scale = np.abs(expected).max()
                assert 0.1 < scale < 1e4
                np.testing.assert_allclose(ours[key], expected, atol=1e-4 * scale)


class Bottleneck(nn.Module):
    """As in torchvision: the stride, and the dilation, are in the 3×3 convolution."""

    def __init__(self, channels, width, stride, dilation, downsample):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(
            width, width, 3, stride, padding=dilation, dilation=dilation, bias=False
        )
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = None
        if downsample:
            conv = nn.Conv2d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


def head(channels):
    width = channels // 4
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(width, 21, 1),
    )


class FCNResNet50(nn.Module):
    """`fcn_resnet50` of torchvision, written again."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.backbone.bn1 = nn.BatchNorm2d(64)
        channels = 64
        # The first block of a dilated stage keeps the dilation of the stage before.
        stages = ((3, 1, 1, 1), (4, 2, 1, 1), (6, 1, 1, 2), (3, 1, 2, 4))
        for n, (count, stride, first, dilation) in enumerate(stages, 1):
            width = 32 * 2**n
            blocks = [Bottleneck(channels, width, stride, first, True)]
            channels = 4 * width
            blocks += [Bottleneck(channels, width, 1, dilation, False) for _ in range(count - 1)]
            setattr(self.backbone, f"layer{n}", nn.Sequential(*blocks))
        self.classifier, self.aux_classifier = head(2048), head(1024)

    def forward(self, image):
        net = self.backbone
        x = torch.relu(net.bn1(net.conv1(image)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        third = net.layer3(net.layer2(net.layer1(x)))
        outputs = {"out": self.classifier(net.layer4(third)), "aux": self.aux_classifier(third)}
        size = {"size": image.shape[2:], "mode": "bilinear", "align_corners": False}
        return {key: nn.functional.interpolate(y, **size) for key, y in outputs.items()}


@pytest.fixture(scope="module")
def fcn(tmp_path_factory):
    """The network, and its weights in a file of the form before PyTorch 1.6, as it is published."""
    network = randomized(FCNResNet50())
    path = tmp_path_factory.mktemp("fcn") / "fcn_resnet50_coco-1167a1af.pth"
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    return network, path


@pytest.mark.once
def test_the_network_written_again_has_the_published_names(fcn):
    network, path = fcn
    shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
    assert shapes == published.shapes("torchvision")[FCN]
    # The published file is of this size, to a few bytes of names within it.
    assert abs(path.stat().st_size - kd.weights.info(FCN).bytes) < 1000


@pytest.mark.slow
def test_gives_what_the_published_network_gives(fcn):
    network, path = fcn
    check_same(network, FCN, path, auxiliary=True)


@pytest.fixture(scope="module")
def torchvision():
    """The package itself, for tests that it is there for."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision")
    torchvision_operations.declare()
    return importlib.import_module("torchvision")


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", kd.weights.list("torchvision/*"))
def test_gives_what_torchvision_gives(torchvision, name, tmp_path):
    record = kd.weights.info(name)
    build = getattr(torchvision.models.segmentation, name.partition("/")[2])
    settings = {} if record.auxiliary is None else {"aux_loss": True}
    network = randomized(build(weights=None, weights_backbone=None, num_classes=21, **settings))
    path = tmp_path / record.remote.file
    zipped = "mobilenet" in name
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=zipped)
    assert abs(path.stat().st_size - record.bytes) < 5000
    check_same(network, name, path, record.auxiliary is not None)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A file of the smallest network."""
    path = tmp_path_factory.mktemp("small") / "lraspp.pth"
    torch.save({k: torch.tensor(v) for k, v in published.random(SMALL).items()}, path)
    return path


@pytest.mark.once
def test_knows_its_classes_and_keeps_them_in_a_file(small, tmp_path):
    model = kd.weights.pretrained(SMALL, small)
    found = kd.heads.of(model)
    assert found.class_names[15] == "person" and found.class_names[0] == "background"
    assert found.palette[15].tolist() == [192, 128, 128]
    image = np.random.default_rng(0).integers(0, 256, (1, 40, 57, 3), dtype="uint8")
    labels = kd.decoded(model).predict(image, verbose=0)
    assert labels.shape == (1, 40, 57)
    assert found.draw(labels[0]).shape == (40, 57, 3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert kd.heads.of(again).class_names == found.class_names
    np.testing.assert_allclose(
        again.predict(image, verbose=0), model.predict(image, verbose=0), rtol=1e-5, atol=1e-5
    )


@pytest.mark.once
def test_bad_arguments(small, tmp_path):
    with pytest.raises(ValueError, match="21 classes, the model predicts 11. With `strict=False`"):
        kd.weights.pretrained(SMALL, small, num_classes=11)
    with pytest.raises(ValueError, match="Give either `num_classes` or `heads`"):
        kd.weights.pretrained(SMALL, small, num_classes=11, heads=kd.heads.Depth())
    with pytest.raises(ValueError, match="`auxiliary` must be False for 'torchvision/lraspp"):
        kd.weights.pretrained(SMALL, small, auxiliary=True)
    with pytest.raises(ValueError, match="`auxiliary` must be False with a dict of `heads`"):
        heads = {"a": kd.heads.Segmentation(21)}
        kd.weights.pretrained(FCN, small, heads=heads, auxiliary=True)
    with pytest.raises(ValueError, match="another network than 'fcn_resnet50'.*LR-ASPP"):
        kd.weights.pretrained(FCN, small)
    with pytest.raises(FileNotFoundError, match="must be a file that exists"):
        kd.weights.pretrained(FCN, tmp_path / "none.pth")
    with pytest.raises(IsADirectoryError):
        kd.weights.pretrained(FCN, tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'torchvision/fcn_resnet50'"):
        kd.weights.pretrained("torchvision/fcn_resnet5")


@pytest.mark.once
def test_bad_network_is_told_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConnectionError, match=f"The file of '{FCN}' could not be downloaded") as e:
        kd.weights.pretrained(FCN)
    text = str(e.value)
    assert f"kd.weights.pretrained('{FCN}', path='…/fcn_resnet50_coco-1167a1af.pth')" in text
    assert "https://download.pytorch.org/models/fcn_resnet50_coco-1167a1af.pth" in text


@pytest.mark.once
def test_other_classes_start_anew(small):
    with pytest.warns(UserWarning, match="of another shape") as caught:
        model = kd.weights.pretrained(SMALL, small, num_classes=11, strict=False)
    assert any("scores_low/kernel" in str(warning.message) for warning in caught)
    assert model.output_shape[-1] == kd.heads.of(model).channels == 11
    scores = model.get_layer("scores_high").get_weights()[0]
    assert scores.std() > 0.01  # random, not zero
    expected = published.random(SMALL)["classifier.cbr.0.weight"]
    np.testing.assert_array_equal(
        model.get_layer("reduce").get_weights()[0], expected.transpose(2, 3, 1, 0)
    )
    model.compile("adam", **kd.objectives(model))
    image, labels = np.zeros((1, 32, 32, 3), "uint8"), np.ones((1, 32, 32), "int32")
    assert np.isfinite(model.train_on_batch(image, labels)[0])

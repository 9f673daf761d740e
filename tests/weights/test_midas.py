"""MiDaS v2.1 beside its original, written again with narrow layers and PyTorch's own modules."""

import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.backbones import efficientnet_lite, resnet_v1b
from keras_dense.layers import PadToMultiple
from keras_dense.testing.expect import reload
from keras_dense.weights import midas
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import check_same, image  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

nn, F = torch.nn, torch.nn.functional
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# The large network: ResNeXt


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride, groups=4):
        super().__init__()
        inner = width // 64 * 16 // 4
        self.conv1, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, width, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = None
        if channels != width:
            short = nn.Conv2d(channels, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(short, nn.BatchNorm2d(width))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


COUNTS = (2, 1, 2, 1)


def resnext():
    stages, channels = [], 64
    for n, count in enumerate(COUNTS):
        width = 256 * 2**n
        first = Bottleneck(channels, width, 2 if n else 1)
        stages.append(
            nn.Sequential(first, *(Bottleneck(width, width, 1) for _ in range(count - 1)))
        )
        channels = width
    stem = (nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU())
    pretrained = nn.Module()
    pretrained.layer1 = nn.Sequential(*stem, nn.MaxPool2d(3, 2, 1), stages[0])
    pretrained.layer2, pretrained.layer3, pretrained.layer4 = stages[1:]
    return pretrained, (256, 512, 1024, 2048)


def narrow_resnext():
    build = resnet_v1b._network(
        "narrow", resnet_v1b._bottleneck, COUNTS, "Few channels.", width=4, groups=4
    )
    return kd.backbone(build(include_top=False), preprocessing="torch")


# The small network: EfficientNet-Lite, here 0 for 3


class Same(nn.Conv2d):
    """A convolution padded as TensorFlow pads."""

    def forward(self, x):
        pads = []
        for size in x.shape[:1:-1]:
            k, s = self.kernel_size[0], self.stride[0]
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(x, pads))


def norm(width):
    return nn.BatchNorm2d(width, eps=1e-3)


class Inverted(nn.Module):
    def __init__(self, channels, width, size, stride, expand):
        super().__init__()
        inner, self.residual = expand * channels, stride == 1 and channels == width
        self.expands = expand > 1
        if self.expands:
            self.conv_pw, self.bn1 = nn.Conv2d(channels, inner, 1, bias=False), norm(inner)
        depthwise = Same(inner, inner, size, stride, groups=inner, bias=False)
        last = nn.Conv2d(inner, width, 1, bias=False)
        if self.expands:
            self.conv_dw, self.bn2, self.conv_pwl, self.bn3 = (
                depthwise,
                norm(inner),
                last,
                norm(width),
            )
        else:
            self.conv_dw, self.bn1, self.conv_pw, self.bn2 = (
                depthwise,
                norm(inner),
                last,
                norm(width),
            )

    def forward(self, x):
        y = x
        if self.expands:
            y = F.relu6(self.bn1(self.conv_pw(y)))
            y = self.bn3(self.conv_pwl(F.relu6(self.bn2(self.conv_dw(y)))))
        else:
            y = self.bn2(self.conv_pw(F.relu6(self.bn1(self.conv_dw(y)))))
        return x + y if self.residual else y


# Kernel, blocks, channels, stride.
LITE0 = (
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 3, 80, 2),
    (5, 3, 112, 1),
    (5, 4, 192, 2),
    (3, 1, 320, 1),
)


def lite():
    stages, channels = [], 32
    for n, (size, count, width, stride) in enumerate(LITE0):
        blocks = []
        for block in range(count):
            step = stride if block == 0 else 1
            blocks.append(Inverted(channels, width, size, step, 6 if n else 1))
            channels = width
        stages.append(nn.Sequential(*blocks))
    pretrained = nn.Module()
    stem = (Same(3, 32, 3, 2, bias=False), norm(32), nn.ReLU6())
    pretrained.layer1 = nn.Sequential(*stem, *stages[:2])
    pretrained.layer2 = nn.Sequential(stages[2])
    pretrained.layer3 = nn.Sequential(*stages[3:5])
    pretrained.layer4 = nn.Sequential(*stages[5:])
    return pretrained, (24, 40, 112, 320)


# The decoder of both


class Unit(nn.Module):
    """In the large network the first ReLU writes into its input."""

    def __init__(self, width, inplace):
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.relu = nn.ReLU(inplace=inplace)

    def forward(self, x):
        return self.conv2(self.relu(self.conv1(self.relu(x)))) + x


class Fusion(nn.Module):
    def __init__(self, width, to, small):
        super().__init__()
        self.resConfUnit1, self.resConfUnit2 = (Unit(width, not small) for _ in range(2))
        if small:
            self.out_conv = nn.Conv2d(width, to, 1)

    def forward(self, *maps):
        x = maps[0]
        if len(maps) == 2:
            x = x + self.resConfUnit1(maps[1])
        x = F.interpolate(self.resConfUnit2(x), scale_factor=2, mode="bilinear", align_corners=True)
        return self.out_conv(x) if hasattr(self, "out_conv") else x


class MiDaS(nn.Module):
    def __init__(self, pretrained, channels, widths, small):
        super().__init__()
        self.pretrained, self.scratch = pretrained, nn.Module()
        for n, (c, width) in enumerate(zip(channels, widths, strict=True), 1):
            setattr(self.scratch, f"layer{n}_rn", nn.Conv2d(c, width, 3, padding=1, bias=False))
            fusion = Fusion(width, widths[max(0, n - 2)], small)
            setattr(self.scratch, f"refinenet{n}", fusion)
        self.scratch.output_conv = nn.Sequential(
            nn.Conv2d(widths[0], widths[0] // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.Conv2d(widths[0] // 2, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 1, 1),
            nn.ReLU(),
        )

    def forward(self, x):
        maps = []
        for n in range(1, 5):
            x = getattr(self.pretrained, f"layer{n}")(x)
            maps.append(getattr(self.scratch, f"layer{n}_rn")(x))
        path = self.scratch.refinenet4(maps.pop())
        for n in (3, 2, 1):
            path = getattr(self.scratch, f"refinenet{n}")(path, maps.pop())
        return self.scratch.output_conv(path)


def drawn(network):
    """Weights at which maps neither vanish nor grow, and a file's usual state."""
    rng = np.random.default_rng(0)
    for name, x in network.state_dict().items():
        if x.ndim > 1:
            value = rng.normal(0, np.sqrt(2 / np.prod(x.shape[1:])), x.shape)
        elif name.endswith("running_var"):
            value = rng.uniform(0.5, 1.5, x.shape)
        elif name.endswith("weight") and x.ndim == 1:
            value = rng.uniform(0.3, 0.6, x.shape)
        elif x.ndim == 1:
            value = rng.normal(0, 0.1, x.shape)
        else:
            continue
        # Depth that is 0 nearly everywhere would show nothing.
        x.copy_(torch.tensor(np.abs(value) if name == "scratch.output_conv.4.weight" else value))
    return network.eval()


def standardized(photograph):
    """Padded as ours pads: the authors' network knows multiples of 32 only."""
    x = np.array(PadToMultiple(32)(photograph.astype("float32")))
    x = (x / 255 - np.array(MEAN)) / np.array(STD)
    return torch.tensor(np.moveaxis(x, -1, 1), dtype=torch.float32)


def original(kind):
    small = kind == "small"
    pretrained, channels = lite() if small else resnext()
    widths = (4, 8, 16, 32) if small else (8,) * 4
    return drawn(MiDaS(pretrained, channels, widths, small)), widths


def ours(kind, widths):
    head = kd.weights.info("midas/v21_384").head()
    if kind == "small":
        network = efficientnet_lite.efficientnet_lite0(include_top=False)
        taps = efficientnet_lite.taps("efficientnet_lite0")
        backbone = kd.backbone(network, taps=taps, preprocessing="torch")
    else:
        backbone = narrow_resnext()
    filters = widths[::-1]
    return midas.network(heads=head, backbone=backbone, filters=filters, small=kind == "small")


@pytest.mark.parametrize("kind", ["large", pytest.param("small", marks=pytest.mark.exhaustive)])
def test_the_same_depth(kind, tmp_path):
    network, widths = original(kind)
    path = tmp_path / "midas.pt"
    # The large file has the optimizer beside the network.
    state = network.state_dict()
    torch.save({"model": state, "optimizer": {}} if kind == "large" else state, path)
    model = ours(kind, widths)
    report = finish(ready_for(model, read(path), midas.RULES[kind], "midas"), strict=True)
    assert report.complete
    unused = report.left_out["a unit of the coarsest level, which the network does not use"]
    assert len(unused) == 4 and len(report.left_out) == 2 and report.left_out["counters"]
    for height, width in ((64, 96), (97, 131)):
        photograph = image(height, width)
        with torch.no_grad():
            theirs = network(standardized(photograph))[:, :, :height, :width]
        check_same(model, photograph, theirs)


def test_records():
    large, small = (kd.weights.info(name) for name in kd.weights.list("midas/*"))
    assert (large.name, small.name) == ("midas/v21_384", "midas/v21_small_256")
    for record in (large, small):
        head = record.head()
        assert isinstance(head, kd.heads.RelativeDepth) and head.activation == "relu"
        assert record.permissive and "multiples of 32" in record.test_size


@pytest.mark.exhaustive
def test_two_lines_to_depth(tmp_path):
    """The small network as it is published, from a file."""
    from .authors_keys import shapes

    rng = np.random.default_rng(0)
    state = {
        key: torch.tensor(np.abs(rng.normal(0, 0.05, shape)).astype("float32"))
        for key, shape in shapes("midas/v21_small_256").items()
    }
    path = tmp_path / "midas_v21_small_256.pt"
    torch.save(state, path)
    model = kd.weights.pretrained("midas/v21_small_256", path=path)
    depth = kd.decoded(model).predict(image(97, 131), verbose=0)
    assert depth.shape == (1, 97, 131, 1) and np.isfinite(depth).all()
    again = reload(model)
    assert kd.heads.of(again).get_config() == kd.heads.of(model).get_config()
    found = again.predict(image(97, 131), verbose=0)
    np.testing.assert_allclose(found, depth, rtol=1e-5, atol=1e-5 * depth.max())
    # As many as in the file, without the unit that is not used, and counters of batches.
    counters = sum(key.endswith("num_batches_tracked") for key in state)
    assert model.count_params() == 21_394_729 - 4_719_616 - counters

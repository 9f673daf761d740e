"""PSPNet beside both originals, written again with narrow layers."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.backbones.resnet import _block, _conv
from keras_dense.layers import Standardize
from keras_dense.weights import pspnet
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import Layers, bgr, check_same, image, write  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

F = torch.nn.functional
STEM, WIDTHS, COUNTS, CLASSES, FUSED = (4, 4, 8), (4, 4, 8, 8), (2, 2, 2, 2), 5, 6
MEAN_BGR = (103.939, 116.779, 123.68)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def narrow(stride_in, **standard):
    """The backbone of PSPNet with few channels."""
    photograph = keras.Input((None, None, 3), name="image")
    x = Standardize(**standard)(photograph)
    for name, width, strides in zip(
        ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3"), STEM, (2, 1, 1), strict=True
    ):
        x = _conv(x, width, 3, name, strides)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, (count, width) in enumerate(zip(COUNTS, WIDTHS, strict=True), 2):
        for n in range(1, count + 1):
            strides = 2 if stage > 2 and n == 1 else 1
            x = _block(x, width, f"conv{stage}_{n}", strides, n == 1, stride_in)
    return kd.backbone(keras.Model(photograph, x))


class Caffe(Layers):
    """`pspnet50_ADE20K_473.prototxt` (strides in 1×1) and `pspnet101_VOC2012_473.prototxt`."""

    def __init__(self, stride_in):
        super().__init__()
        self.stride_in = stride_in

    def norm(self, name, x):
        """BN with four blobs: slope, bias, mean, variance."""
        width, rng = x.shape[1], self.rng

        def make():
            slope, variance = rng.uniform(0.5, 1, width), rng.uniform(0.5, 1.5, width)
            blobs = (slope, rng.normal(0, 0.2, width), rng.normal(0, 0.2, width), variance)
            return [b.reshape(1, -1, 1, 1) for b in blobs]

        slope, bias, mean, variance = (b.ravel() for b in self._drawn(name, make))
        return F.batch_norm(x, mean, variance, slope, bias, eps=1e-5)

    def names(self, name):
        return name, f"{name}/bn"

    def unit(self, name, x, filters, size, relu=True, **settings):
        conv, norm = self.names(name)
        x = self.norm(norm, self.conv(conv, x, filters, size, bias=False, **settings))
        return torch.relu(x) if relu else x

    def pyramid(self, x):
        size = {"size": x.shape[2:], "mode": "bilinear", "align_corners": True}
        width = x.shape[1] // 4
        means = {}
        for n in (1, 2, 3, 6):
            means[n] = self.unit(f"conv5_3_pool{n}_conv", F.adaptive_avg_pool2d(x, n), width, 1)
            means[n] = F.interpolate(means[n], **size)
        return torch.cat([x, *self.order(means)], 1)

    def order(self, means):
        return [means[n] for n in (6, 3, 2, 1)]

    def __call__(self, x):
        for name, width, stride in zip(
            ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3"), STEM, (2, 1, 1), strict=True
        ):
            x = self.unit(name, x, width, 3, stride=stride, padding=1)
        x = F.max_pool2d(x, 3, 2, 1)
        for stage, (count, width) in enumerate(zip(COUNTS, WIDTHS, strict=True), 2):
            rate = {4: 2, 5: 4}.get(stage, 1)
            for n in range(1, count + 1):
                name, stride = f"conv{stage}_{n}", 2 if (stage, n) == (3, 1) else 1
                first, middle = (stride, 1) if self.stride_in == "1x1" else (1, stride)
                y = self.unit(f"{name}_1x1_reduce", x, width, 1, stride=first)
                y = self.unit(
                    f"{name}_3x3", y, width, 3, stride=middle, padding=rate, dilation=rate
                )
                y = self.unit(f"{name}_1x1_increase", y, 4 * width, 1, relu=False)
                if n == 1:
                    x = self.unit(f"{name}_1x1_proj", x, 4 * width, 1, relu=False, stride=stride)
                x = torch.relu(x + y)
        x = self.unit("conv5_4", self.pyramid(x), FUSED, 3, padding=1)
        return self.conv(self.names("conv6")[0], x, CLASSES, 1)


class Semseg(Caffe):
    """`model/pspnet.py` of semseg: the same with names of PyTorch and another order."""

    def names(self, name):
        if name == "conv5_4":
            return "cls.0", "cls.1"
        if name == "conv6":
            return "cls.4", None
        stage, block, *rest = name.removeprefix("conv").split("_")
        stage = int(stage)
        if "pool" in name:
            n = (1, 2, 3, 6).index(int(rest[0][4:]))
            return f"ppm.features.{n}.1", f"ppm.features.{n}.2"
        if stage == 1:
            n = 3 * (int(block) - 1)
            return f"layer0.{n}", f"layer0.{n + 1}"
        start = f"layer{stage - 1}.{int(block) - 1}"
        part = {"reduce": 1, "3x3": 2, "increase": 3, "proj": 0}[rest[-1]]
        if part == 0:
            return f"{start}.downsample.0", f"{start}.downsample.1"
        return f"{start}.conv{part}", f"{start}.bn{part}"

    def order(self, means):
        return list(means.values())

    def state(self):
        state = {}
        for name, blobs in self.blobs.items():
            parts = ("weight", "bias", "running_mean", "running_var")
            for part, value in zip(parts, blobs, strict=False):
                value = value.ravel() if len(blobs) == 4 else value
                state[f"module.{name}.{part}"] = torch.tensor(value)
        rng = np.random.default_rng(5)
        width = 4 * WIDTHS[2]
        for name, shape in (
            ("0.weight", (3, width, 3, 3)),
            *((f"1.{part}", (3,)) for part in ("weight", "bias", "running_mean", "running_var")),
            ("4.weight", (CLASSES, 3, 1, 1)),
            ("4.bias", (CLASSES,)),
        ):
            state[f"module.aux.{name}"] = torch.tensor(rng.uniform(0.5, 1, shape))
        return {"state_dict": state, "epoch": 100}


def padded(x, size):
    """With the mean color, now 0, to 8 k + 1."""
    sizes = [8 * -(-(n - 1) // 8) + 1 for n in size]
    return F.pad(x, (0, sizes[1] - size[1], 0, sizes[0] - size[0])), sizes


def check(network, model, standard, rules, save, path):
    for size in ((73, 97), (68, 90)):
        photograph = image(*size)
        x, sizes = padded(standard(photograph), size)
        with torch.no_grad():
            theirs = F.interpolate(network(x), sizes, mode="bilinear", align_corners=True)
        if size == (73, 97):
            save()
            report = finish(ready_for(model, read(path), pspnet.RULES[rules], ""), strict=True)
            assert report.complete
        check_same(model, photograph, theirs[:, :, : size[0], : size[1]])
    return report


@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
def test_caffe(stride_in, tmp_path):
    network = Caffe(stride_in)
    backbone = narrow(stride_in, mean=MEAN_BGR[::-1], reverse_channels=True)
    model = pspnet.network(heads=kd.heads.Segmentation(CLASSES), backbone=backbone, filters=FUSED)
    path = tmp_path / "pspnet.caffemodel"
    report = check(
        network,
        model,
        lambda photograph: bgr(photograph, MEAN_BGR),
        "caffe",
        lambda: write(path, network.blobs),
        path,
    )
    assert not report.left_out


def test_semseg(tmp_path):
    network, path = Semseg("3x3"), tmp_path / "train_epoch_100.pth"
    model = pspnet.network(
        heads=kd.heads.Segmentation(CLASSES),
        backbone=narrow("3x3", mean=MEAN, std=STD),
        filters=FUSED,
    )

    def standard(photograph):
        x = (photograph - np.array(MEAN)) / np.array(STD)
        return torch.tensor(np.moveaxis(x, -1, 1), dtype=torch.float32)

    report = check(
        network, model, standard, "pytorch", lambda: torch.save(network.state(), path), path
    )
    (reason,) = report.left_out
    assert "auxiliary" in reason

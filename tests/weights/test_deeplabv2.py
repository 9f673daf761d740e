"""DeepLabv2 beside its two originals, written again with narrow layers."""

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.layers import Standardize
from keras_dense.weights import deeplabv2
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")
from keras.src.applications import resnet  # noqa: E402

from .caffe_files import Layers, bgr, check_same, image, pool, write  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

F = torch.nn.functional
WIDTHS, COUNTS, CLASSES = (8, 8, 8, 8), (2, 2, 3, 2), 5
# Stride of the first block and rate of all blocks, of each stage.
STAGES = ((1, 1), (2, 1), (1, 2), (1, 4))


def narrow():
    """A ResNet of Keras with few channels, under the names of the large one."""

    def stages(x):
        for n, (width, count) in enumerate(zip(WIDTHS, COUNTS, strict=True), 2):
            x = resnet.stack_residual_blocks_v1(x, width, count, min(n - 1, 2), name=f"conv{n}")
        return x

    photograph = keras.Input((None, None, 3), name="image")
    x = Standardize(deeplabv2.MEAN_BGR[::-1], reverse_channels=True)(photograph)
    model = resnet.ResNet(
        stages, False, True, weights_name="", include_top=False, weights=None, input_tensor=x,
        name="resnet",
    )  # fmt: skip
    return kd.backbone(model)


def built(grid):
    model = deeplabv2.network(heads=kd.heads.Segmentation(CLASSES), backbone=narrow(), grid=grid)
    assert {
        layer.epsilon for layer in model.get_layer("backbone").layers if "_bn" in layer.name
    } == {1e-5}
    return model


class PyTorch(Layers):
    """kazuto1011's network: names of PyTorch."""

    def unit(self, name, x, filters, size, **settings):
        x = self.conv(f"{name}.conv", x, filters, size, bias=False, **settings)
        return self.norm(f"{name}.bn", x, f"{name}.bn*")

    def stem(self, x):
        x = torch.relu(self.unit("base.layer1.conv1", x, 64, 7, stride=2, padding=3))
        return pool(x, 3, 2, 1)

    def block(self, x, stage, n, stride, rate):
        width, name = WIDTHS[stage - 2], f"base.layer{stage}.block{n}"
        y = torch.relu(self.unit(f"{name}.reduce", x, width, 1, stride=stride))
        y = torch.relu(self.unit(f"{name}.conv3x3", y, width, 3, padding=rate, dilation=rate))
        y = self.unit(f"{name}.increase", y, 4 * width, 1)
        if n == 1:
            x = self.unit(f"{name}.shortcut", x, 4 * width, 1, stride=stride)
        return torch.relu(x + y)

    def scores(self, x, n, rate):
        return self.conv(f"base.aspp.c{n}", x, CLASSES, 3, padding=rate, dilation=rate)

    def __call__(self, x):
        x = self.stem(x)
        for stage, (count, (stride, rate)) in enumerate(zip(COUNTS, STAGES, strict=True), 2):
            for n in range(1, count + 1):
                x = self.block(x, stage, n, stride if n == 1 else 1, rate)
        return sum(self.scores(x, n, 6 * (n + 1)) for n in range(4))

    def state(self):
        """The tensors as PyTorch names them."""
        state = {}
        for name, blobs in self.blobs.items():
            if name.endswith(".bn"):
                mean, variance, factor = blobs
                state[f"{name}.running_mean"] = mean / factor
                state[f"{name}.running_var"] = variance / factor
                state[f"{name}.num_batches_tracked"] = np.array(1)
            else:
                for part, value in zip(("weight", "bias"), blobs, strict=False):
                    state[f"{name.rstrip('*')}.{part}"] = value
        return {name: torch.tensor(value) for name, value in state.items()}


class Caffe(PyTorch):
    """The authors' network: names of Caffe."""

    def unit(self, name, x, filters, size, **settings):
        *_, stage, block, part = name.split(".")
        if block == "conv1" or part == "conv1":
            conv, tail = "conv1", "_conv1"
        else:
            stage, number = int(stage[-1]), int(block[5:])
            # Stages of more than three blocks count b1, b2, ….
            letter = "abc"[number - 1]
            if COUNTS[stage - 2] > 2:
                letter = "a" if number == 1 else f"b{number - 1}"
            branch = {"reduce": "2a", "conv3x3": "2b", "increase": "2c", "shortcut": "1"}[part]
            tail = f"{stage}{letter}_branch{branch}"
            conv = f"res{tail}"
        x = self.conv(conv, x, filters, size, bias=False, **settings)
        return self.norm(f"bn{tail}", x, f"scale{tail}")

    def scores(self, x, n, rate):
        return self.conv(f"fc1_voc12_c{n}", x, CLASSES, 3, padding=rate, dilation=rate)


def test_pytorch(tmp_path):
    network = PyTorch()
    for size in ((97, 129), (76, 101)):
        photograph = image(*size)
        with torch.no_grad():
            scores = network(bgr(photograph, deeplabv2.MEAN_BGR))
            theirs = F.interpolate(scores, size, mode="bilinear", align_corners=False)
        if size == (97, 129):
            path = tmp_path / "kazuto.pth"
            torch.save(network.state(), path)
            model = built("image")
            report = finish(
                ready_for(model, read(path), deeplabv2.RULES["pytorch"], ""), strict=True
            )
            assert report.complete and set(report.left_out) == {"counters"}
        check_same(model, photograph, theirs)


def test_caffe(tmp_path):
    network = Caffe()
    for size in ((97, 129), (76, 101)):
        photograph = image(*size)
        padded = [8 * -(-(n - 1) // 8) + 1 for n in size]
        x = bgr(photograph, deeplabv2.MEAN_BGR)
        # With the mean color, which is 0 now.
        x = F.pad(x, (0, padded[1] - size[1], 0, padded[0] - size[0]))
        with torch.no_grad():
            theirs = F.interpolate(network(x), padded, mode="bilinear", align_corners=True)
        if size == (97, 129):
            layers = {**network.blobs, "res075_conv1": network.blobs["conv1"]}
            path = write(tmp_path / "train2_iter_20000.caffemodel", layers, old=True)
            model = built("corners")
            report = finish(ready_for(model, read(path), deeplabv2.RULES["caffe"], ""), strict=True)
            assert report.left_out == {"copies for other scales": ("res075_conv1.0",)}
        check_same(model, photograph, theirs[:, :, : size[0], : size[1]])

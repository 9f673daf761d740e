"""FCN-AlexNet, written again with narrow layers."""

import math

import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.weights import fcn, fcn_alexnet
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import Layers, bgr, check_same, crop, image, pool, write  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

F = torch.nn.functional
CLASSES, WIDTHS = 4, (8, 12, 10, 10, 8, 14, 14)


class AlexNet(Layers):
    """`net.py` of voc-fcn-alexnet."""

    def grouped(self, name, x, filters, size, groups, **settings):
        def make():
            shape = (filters, x.shape[1] // groups, size, size)
            kernel = self.rng.normal(0, (2 / math.prod(shape[1:])) ** 0.5, shape)
            return kernel, self.rng.normal(0, 0.1, filters)

        return torch.relu(F.conv2d(x, *self._drawn(name, make), groups=groups, **settings))

    def __call__(self, data):
        x = self.relu_conv("conv1", data, WIDTHS[0], 11, stride=4, padding=100)
        x = F.local_response_norm(pool(x, 3), 5, alpha=1e-4, beta=0.75, k=1.0)
        x = self.grouped("conv2", x, WIDTHS[1], 5, 2, padding=2)
        x = F.local_response_norm(pool(x, 3), 5, alpha=1e-4, beta=0.75, k=1.0)
        for n, groups in ((3, 1), (4, 2), (5, 2)):
            x = self.grouped(f"conv{n}", x, WIDTHS[n - 1], 3, groups, padding=1)
        x = self.relu_conv("fc6", pool(x, 3), WIDTHS[5], 6)
        x = self.relu_conv("fc7", x, WIDTHS[6], 1)
        x = self.conv("score_fr", x, CLASSES, 1, gain=1)
        return crop(self.deconv("upscore", x, 63, stride=32), data, 18)


def test_gives_what_the_original_gives(tmp_path):
    network = AlexNet()
    model = fcn_alexnet.network(heads=kd.heads.Segmentation(CLASSES), widths=WIDTHS)
    for size in ((64, 96), (75, 101)):
        photograph = image(*size)
        with torch.no_grad():
            theirs = network(bgr(photograph, fcn.MEAN_BGR))
        if size == (64, 96):
            path = write(tmp_path / "alexnet.caffemodel", network.blobs)
            ready = ready_for(model, read(path), fcn_alexnet.RULES["alexnet"], "")
            assert not finish(ready, strict=True).left_out
        check_same(model, photograph, theirs)


def test_fresh_scores_are_upsampled_as_those_of_the_file():
    model = fcn_alexnet.network(heads=kd.heads.Segmentation(2), widths=WIDTHS)
    (kernel,) = model.get_layer("upscore32").get_weights()
    assert kernel.shape == (63, 63, 2, 2) and not model.get_layer("upscore32").trainable
    line = 1 - np.abs(np.arange(63) - 31) / 32
    np.testing.assert_allclose(kernel[..., 0, 0], np.outer(line, line), atol=1e-6)
    assert not kernel[..., 0, 1].any()

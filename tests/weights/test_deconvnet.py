"""DeconvNet, written again with narrow layers."""

import keras
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.layers import Standardize
from keras_dense.weights import deconvnet
from keras_dense.weights.load import finish, ready_for
from keras_dense.weights.segnet import DEPTHS

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import Layers, bgr, check_same, image, write  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

F = torch.nn.functional
CLASSES, HIDDEN = 4, 10


def width(block):
    return 3 + block


def narrow():
    photograph = keras.Input((None, None, 3), name="image")
    x = Standardize(deconvnet.MEAN_BGR[::-1], reverse_channels=True)(photograph)
    for block, count in enumerate(DEPTHS, 1):
        for n in range(1, count + 1):
            conv = layers.Conv2D(
                width(block), 3, padding="same", activation="relu", name=f"block{block}_conv{n}"
            )
            x = conv(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return kd.backbone(keras.Model(photograph, x))


class DeconvNet(Layers):
    """`DeconvNet_inference_deploy.prototxt`: BN of mode INFERENCE has a scale and a shift."""

    def norm_relu(self, name, x):
        def make():
            shape = (1, x.shape[1], 1, 1)
            return self.rng.uniform(0.5, 1.5, shape), self.rng.normal(0, 0.2, shape)

        scale, shift = self._drawn(name, make)
        return torch.relu(x * scale + shift)

    def deconvolved(self, name, x, filters, size, **settings):
        def make():
            shape = (x.shape[1], filters, size, size)
            # Of the cells that unpooling leaves, or of the window, few reach a pixel.
            reach = size * size if size == 3 else 1
            kernel = self.rng.normal(0, (2 / (x.shape[1] * reach)) ** 0.5, shape)
            return kernel, self.rng.normal(0, 0.1, filters)

        return F.conv_transpose2d(x, *self._drawn(name, make), **settings)

    def __call__(self, x):
        masks = []
        for block, count in enumerate(DEPTHS, 1):
            for n in range(1, count + 1):
                x = self.conv(f"conv{block}_{n}", x, width(block), 3, padding=1)
                x = self.norm_relu(f"bn{block}_{n}", x)
            size = x.shape[2:]
            x, mask = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
            masks.append((mask, size))
        for n, size in ((6, 7), (7, 1)):
            x = self.norm_relu(f"bnfc{n}", self.conv(f"fc{n}", x, HIDDEN, size))
        x = self.deconvolved("fc6-deconv", x, width(5), 7)
        x = self.norm_relu("fc6-deconv-bn", x)
        for block in range(5, 0, -1):
            mask, size = masks.pop()
            x = F.max_unpool2d(x, mask, 2, 2, output_size=size)
            count = DEPTHS[block - 1]
            for n in range(1, count + 1):
                finer = n == count and block > 1
                x = self.deconvolved(f"deconv{block}_{n}", x, width(block - finer), 3, padding=1)
                x = self.norm_relu(f"debn{block}_{n}", x)
        return self.conv("seg-score-voc", x, CLASSES, 1)


def test_gives_what_the_original_gives(tmp_path):
    network = DeconvNet()
    model = deconvnet.network(
        heads=kd.heads.Segmentation(CLASSES), filters=HIDDEN, backbone=narrow()
    )
    # The authors' size, and one whose maps have odd sizes: 99×131, 50×66, 25×33, …, 7×9.
    for size in ((224, 224), (197, 261)):
        photograph = image(*size)
        with torch.no_grad():
            theirs = network(bgr(photograph, deconvnet.MEAN_BGR))
        if size == (224, 224):
            path = write(tmp_path / "deconvnet.caffemodel", network.blobs, first=True)
            ready = ready_for(model, read(path), deconvnet.RULES["deconvnet"], "")
            assert not finish(ready, strict=True).left_out
        check_same(model, photograph, theirs)

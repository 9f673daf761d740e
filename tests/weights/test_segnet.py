"""SegNet, written again with narrow layers."""

import keras
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.layers import Standardize
from keras_dense.weights import segnet
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import Layers, bgr, check_same, image, write  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

F = torch.nn.functional
CLASSES = 4


def narrow():
    photograph = keras.Input((None, None, 3), name="image")
    x = Standardize(reverse_channels=True)(photograph)
    for block, count in enumerate(segnet.DEPTHS, 1):
        for n in range(1, count + 1):
            conv = layers.Conv2D(
                3 + block, 3, padding="same", activation="relu", name=f"block{block}_conv{n}"
            )
            x = conv(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return kd.backbone(keras.Model(photograph, x))


class SegNet(Layers):
    """`segnet_inference.prototxt`: BN of mode INFERENCE has a scale and a shift."""

    def unit(self, name, x, filters):
        x = self.conv(name, x, filters, 3, padding=1)

        def make():
            shape = (1, filters, 1, 1)
            return self.rng.uniform(0.5, 1.5, shape), self.rng.normal(0, 0.2, shape)

        scale, shift = self._drawn(f"{name}_bn", make)
        return torch.relu(x * scale + shift)

    def __call__(self, x):
        masks = []
        for block, count in enumerate(segnet.DEPTHS, 1):
            for n in range(1, count + 1):
                x = self.unit(f"conv{block}_{n}", x, 3 + block)
            size = x.shape
            x, mask = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
            masks.append((mask, size))
        for block in range(5, 0, -1):
            mask, size = masks.pop()
            x = F.max_unpool2d(x, mask, 2, 2, output_size=size[2:])
            for n in range(segnet.DEPTHS[block - 1], 0, -1):
                if (block, n) == (1, 1):
                    return self.conv("conv1_1_D", x, CLASSES, 3, padding=1)
                x = self.unit(f"conv{block}_{n}_D", x, 3 + block - (n == 1))
        return None


def test_gives_what_the_original_gives(tmp_path):
    network = SegNet()
    model = segnet.network(heads=kd.heads.Segmentation(CLASSES), backbone=narrow())
    # 360×480 becomes 45×60, 23×30, 12×15.
    for size in ((90, 120), (75, 101)):
        photograph = image(*size)
        with torch.no_grad():
            theirs = network(bgr(photograph, (0, 0, 0)))
        if size == (90, 120):
            path = write(tmp_path / "segnet.caffemodel", network.blobs, old=True)
            ready = ready_for(model, read(path), segnet.RULES["segnet"], "")
            assert not finish(ready, strict=True).left_out
        check_same(model, photograph, theirs)

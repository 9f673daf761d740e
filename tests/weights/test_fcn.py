"""The authors' FCNs, written again with narrow layers and all that Caffe does at borders."""

import keras
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.layers import Standardize
from keras_dense.weights import fcn
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import Layers, bgr, check_same, crop, image, pool, write  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

COUNTS, CLASSES = (2, 2, 3, 3, 3), 4
SIZES = ((64, 96), (75, 101))
# fc6 and fc7.
HIDDEN = 12


def narrow():
    """VGG-16 with few channels, under the names of the large one."""
    photograph = keras.Input((224, 224, 3))
    x = Standardize(fcn.MEAN_BGR[::-1], reverse_channels=True)(photograph)
    for block, count in enumerate(COUNTS, 1):
        for n in range(1, count + 1):
            conv = layers.Conv2D(
                4 + block, 3, padding="same", activation="relu", name=f"block{block}_conv{n}"
            )
            x = conv(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    x = layers.Flatten()(x)
    for n in (1, 2):
        x = layers.Dense(HIDDEN, activation="relu", name=f"fc{n}")(x)
    return keras.Model(photograph, layers.Dense(3, name="predictions")(x))


class FCN(Layers):
    """`net.py` of voc-fcn32s, voc-fcn16s, voc-fcn8s and voc-fcn8s-atonce."""

    def features(self, x):
        pools = {}
        for block, count in enumerate(COUNTS, 1):
            for n in range(1, count + 1):
                margin = 100 if (block, n) == (1, 1) else 1
                x = self.relu_conv(f"conv{block}_{n}", x, 4 + block, padding=margin)
            x = pools[block] = pool(x)
        x = self.relu_conv("fc6", x, HIDDEN, 7)
        return self.relu_conv("fc7", x, HIDDEN, 1), pools

    def scale(self, x, name, factor):
        self.blobs[name] = [[factor] * x.shape[1]]
        return x * factor

    def __call__(self, data, stride, classes=CLASSES, suffix="", at_once=False):
        x, pools = self.features(data)
        x = self.conv(f"score_fr{suffix}", x, classes, 1, gain=1)
        if stride == 32:
            x = self.deconv(f"upscore{suffix}", x, 64, stride=32)
            return crop(x, data, 19)
        third, fourth = pools[3], pools[4]
        if at_once:
            third = self.scale(third, "scale_pool3", 0.0001)
            fourth = self.scale(fourth, "scale_pool4", 0.01)
        x = self.deconv(f"upscore2{suffix}", x, 4, stride=2)
        x = x + crop(self.conv(f"score_pool4{suffix}", fourth, classes, 1), x, 5)
        if stride == 16:
            return crop(self.deconv(f"upscore16{suffix}", x, 32, stride=16), data, 27)
        x = self.deconv(f"upscore_pool4{suffix}", x, 4, stride=2)
        x = x + crop(self.conv(f"score_pool3{suffix}", third, classes, 1), x, 9)
        return crop(self.deconv(f"upscore8{suffix}", x, 16, stride=8), data, 31)


@pytest.mark.parametrize(("stride", "at_once"), [(32, False), (16, False), (8, False), (8, True)])
def test_gives_what_the_original_gives(stride, at_once, tmp_path):
    network = FCN()
    model = fcn.network(
        stride, heads=kd.heads.Segmentation(CLASSES), at_once=at_once, backbone=narrow()
    )
    for size in SIZES:
        photograph = image(*size)
        with torch.no_grad():
            theirs = network(bgr(photograph, fcn.MEAN_BGR), stride, at_once=at_once)
        if size == SIZES[0]:
            path = write(tmp_path / "fcn.caffemodel", network.blobs)
            ready = ready_for(model, read(path), fcn.RULES["one"], "")
            report = finish(ready, strict=True)
            assert report.complete and len(report.left_out) == at_once
        check_same(model, photograph, theirs)


def test_two_heads_of_sift_flow(tmp_path):
    network, photograph = FCN(), image(64, 90)
    data = bgr(photograph, fcn.MEAN_BGR)
    with torch.no_grad():
        semantic = network(data, 16, 4, "_sem")
        geometric = network(data, 16, 3, "_geo")
    path = write(tmp_path / "siftflow.caffemodel", network.blobs, old=True)
    tensors = read(path)
    model = fcn.network(16, heads=kd.heads.Segmentation(4), backbone=narrow())
    report = finish(ready_for(model, tensors, fcn.RULES["two"], ""), strict=True)
    (reason,) = report.left_out
    assert "geometric" in reason and len(report.left_out[reason]) == 6
    check_same(model, photograph, semantic)
    heads = {"semantic": kd.heads.Segmentation(4), "geometric": kd.heads.Segmentation(3)}
    model = fcn.network(16, heads=heads, backbone=narrow())
    assert not finish(ready_for(model, tensors, fcn.RULES["two"], ""), strict=True).left_out
    first = keras.Model(model.input, model.output["semantic"])
    check_same(first, photograph, semantic)
    check_same(keras.Model(model.input, model.output["geometric"]), photograph, geometric)


@pytest.mark.everywhere
def test_the_names_of_pytorch(tmp_path):
    network, photograph = FCN(), image(75, 101)
    with torch.no_grad():
        theirs = network(bgr(photograph, fcn.MEAN_BGR), 8)
    state = {
        f"{name}.{part}": torch.tensor(value)
        for name, blobs in network.blobs.items()
        for part, value in zip(("weight", "bias"), blobs, strict=False)
    }
    torch.save(state, tmp_path / "fcn8s_from_caffe.pth", _use_new_zipfile_serialization=False)
    model = fcn.network(8, heads=kd.heads.Segmentation(CLASSES), backbone=narrow())
    tensors = read(tmp_path / "fcn8s_from_caffe.pth")
    assert finish(ready_for(model, tensors, fcn.RULES["one"], ""), strict=True).complete
    check_same(model, photograph, theirs)

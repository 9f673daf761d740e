"""CRF-RNN, written again: its FCN-8s with PyTorch, its mean field with NumPy, pair by pair."""

import h5py
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read
from keras_dense.weights import crfasrnn
from keras_dense.weights.load import finish, ready_for

torch = pytest.importorskip("torch", reason="the original is written with PyTorch")

from .caffe_files import bgr, check_same, image  # noqa: E402
from .test_fcn import CLASSES, FCN, narrow  # noqa: E402

# JAX compiles for each size.
pytestmark = pytest.mark.slow

NAMES = {
    "score_fr": "score-fr",
    "score_pool4": "score-pool4",
    "score_pool3": "score-pool3",
    "upscore2": "score2",
    "upscore_pool4": "score4",
    "upscore8": "upsample",
}
MATRICES = ("spatial_ker_weights", "bilateral_ker_weights", "compatibility_matrix")


class FCN8s(FCN):
    """`score2` has a bias, as it was converted."""

    def deconv(self, name, x, size, **settings):
        x = super().deconv(name, x, size, **settings)
        if name != "upscore2":
            return x
        if len(self.blobs[name]) == 1:
            self.blobs[name].append(self.rng.normal(0, 0.3, CLASSES).astype("float32"))
        return x + torch.from_numpy(self.blobs[name][1])[:, None, None]


def write(path, blobs, matrices):
    """A file of Keras 2 as the project's: Keras' order of axes, names of layers twice."""
    with h5py.File(path, "w") as file:
        for name, arrays in blobs.items():
            name = NAMES.get(name, name)
            for part, value in zip(("kernel:0", "bias:0"), arrays, strict=False):
                value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
                file[f"{name}/{name}/{part}"] = value
        for name, value in zip(MATRICES, matrices, strict=True):
            file[f"crfrnn/crfrnn/{name}:0"] = value
    return path


def softmax(x):
    e = np.exp(x - x.max(0))
    return e / e.sum(0)


def kernels(photograph):
    """The two kernels between all pixels, each row divided by its sum."""
    height, width = photograph.shape[:2]
    place = np.stack(np.mgrid[:height, :width], -1).reshape(-1, 2) / 1.0
    color = photograph.reshape(-1, 3).astype("float64")

    def squares(x):
        return ((x[:, None] - x[None]) ** 2).sum(-1)

    spatial = np.exp(-squares(place / 3) / 2)
    bilateral = np.exp(-squares(place / 160) / 2 - squares(color / 3) / 2)
    return [k / k.sum(1, keepdims=True) for k in (spatial, bilateral)]


def mean_field(unaries, photograph, matrices):
    """`crfrnn_layer.py`: unaries `(C, H, W)`."""
    spatial, bilateral = kernels(photograph)
    flat = unaries.reshape(len(unaries), -1).astype("float64")
    w_spatial, w_bilateral, compatibility = matrices
    q = flat
    for _ in range(10):
        p = softmax(q)
        message = w_spatial @ (p @ spatial.T) + w_bilateral @ (p @ bilateral.T)
        q = flat - compatibility @ message
    return q.reshape(unaries.shape)


@pytest.mark.parametrize("size", [(24, 32), (25, 37)])
def test_gives_what_the_original_gives(size, tmp_path):
    rng = np.random.default_rng(1)
    # Smooth, so that pixels of one color meet.
    photograph = np.repeat(np.repeat(image(4, 5), 8, 1), 8, 2)[:, : size[0], : size[1]]
    matrices = [rng.normal(0, 0.2, (CLASSES, CLASSES)) for _ in range(3)]
    matrices = [m + k * np.eye(CLASSES) for m, k in zip(matrices, (2, 3, -1), strict=True)]
    network = FCN8s()
    with torch.no_grad():
        unaries = network(bgr(photograph, (104.00699, 116.66877, 122.67892)), 8)
    expected = mean_field(unaries[0].numpy(), photograph[0], matrices)
    assert np.abs(expected - unaries[0].numpy()).max() > 0.5
    path = write(tmp_path / "crfrnn_keras_model.h5", network.blobs, matrices)
    tensors = read(path)
    heads = kd.heads.Segmentation(CLASSES)
    model = crfasrnn.network(heads=heads, backbone=narrow(), exact=True)
    ready = ready_for(model, tensors, crfasrnn.RULES["keras"], "")
    assert not finish(ready, strict=True).left_out
    check_same(model, photograph, torch.from_numpy(expected[None]))
    # The lattice approximates.
    model = crfasrnn.network(heads=heads, backbone=narrow())
    finish(ready_for(model, tensors, crfasrnn.RULES["keras"], ""), strict=True)
    ours = np.moveaxis(model.predict(photograph, verbose=0)[0], -1, 0)
    assert np.abs(softmax(ours) - softmax(expected)).mean() < 0.02
    assert (ours.argmax(0) == expected.argmax(0)).mean() > 0.97

"""Networks of Caffe, as files and as they compute: its layers on arrays, written with PyTorch."""

import numpy as np
import torch

from .make_fixtures import blob, field

F = torch.nn.functional


def write(path, layers, *, old=False, first=False):
    """Write a `.caffemodel`.

    Args:
        path: the file.
        layers: dict from the name of a layer to its list of blobs.
        old: bool, whether blobs have the four sizes of the first files.
        first: bool, whether layers are those of the first version, too.
    """
    data = field(1, "net")
    for name, blobs in layers.items():
        if first:
            layer = field(4, name) + field(5, 4)
            layer += b"".join(field(6, blob(np.asarray(x), old=True)) for x in blobs)
            data += field(2, layer)
            continue
        layer = field(1, name) + field(2, "Any")
        layer += b"".join(field(7, blob(np.asarray(x), old=old)) for x in blobs)
        data += field(100, layer)
    path.write_bytes(data)
    return path


class Layers:
    """Layers of Caffe on tensors `(B, C, H, W)` that draw their weights at first use.

    Attributes:
        blobs: dict from the name of a layer to its list of blobs.
    """

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)
        self.blobs = {}

    def _drawn(self, name, make):
        if name not in self.blobs:
            self.blobs[name] = [np.asarray(x, "float32") for x in make()]
        return [torch.from_numpy(x) for x in self.blobs[name]]

    def conv(self, name, x, filters, size, *, bias=True, gain=2.0, **settings):
        def make():
            shape = (filters, x.shape[1], size, size)
            kernel = self.rng.normal(0, np.sqrt(gain / np.prod(shape[1:])), shape)
            return [kernel, self.rng.normal(0, 0.1, filters)][: 2 if bias else 1]

        return F.conv2d(x, *self._drawn(name, make), **settings)

    def relu_conv(self, name, x, filters, size=3, **settings):
        return torch.relu(self.conv(name, x, filters, size, **settings))

    def norm(self, name, x, scale):
        """BatchNorm with its third blob, and Scale, with names of their own."""
        width, rng = x.shape[1], self.rng
        statistics = (rng.normal(0, 0.2, width) * 999, rng.uniform(0.5, 1.5, width) * 999, [999])
        mean, variance, factor = self._drawn(name, lambda: statistics)
        gamma, beta = self._drawn(
            scale, lambda: (rng.uniform(0.5, 1, width), rng.normal(0, 0.2, width))
        )
        return F.batch_norm(x, mean / factor, variance / factor, gamma, beta, eps=1e-5)

    def deconv(self, name, x, size, *, group=1, **settings):
        """A Deconvolution with the fixed kernel that interpolates, one for each channel."""
        width = x.shape[1]
        factor = (size + 1) // 2
        line = 1 - np.abs(np.arange(size) - (size - 1) / 2) / factor
        kernel = np.outer(line, line) * (
            np.eye(width)[..., None, None] if group == 1 else np.ones((width, 1, 1, 1))
        )
        if group == 1:  # Off by a little, so that input and output channels cannot be confused.
            kernel = kernel + self.rng.normal(0, 0.01, kernel.shape)
        return F.conv_transpose2d(x, *self._drawn(name, lambda: [kernel]), groups=group, **settings)


def pool(x, size=2, stride=2, padding=0):
    """Max pooling: Caffe rounds sizes up."""
    return F.max_pool2d(x, size, stride, padding, ceil_mode=True)


def crop(x, like, offset):
    height, width = like.shape[2:]
    return x[:, :, offset : offset + height, offset : offset + width]


def bgr(image, mean):
    """RGB images `(B, H, W, 3)` as BGR minus a mean `(blue, green, red)`, `(B, 3, H, W)`."""
    x = image[..., ::-1].astype("float32") - np.asarray(mean, "float32")
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (1, height, width, 3), dtype="uint8")


def check_same(model, photograph, theirs):
    """Our output beside theirs `(B, C, H, W)`, to 1e-4 of the largest."""
    expected = np.moveaxis(theirs.numpy(), 1, -1)
    ours = model.predict(photograph, verbose=0)
    scale = np.abs(expected).max()
    assert 1e-2 < scale < 1e5
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-4 * scale, rtol=0)

"""Layers of PyTorch with the weights of one of our networks, by the names of its layers."""

import keras
import numpy as np
import torch
import torch.nn.functional as F
from keras import layers

from .small import run


def outputs(model, image):
    """Compiled, but on torch: elsewhere one compilation is cheaper than all single operations."""
    image = image.astype("float32")
    return (
        run(model, image) if keras.backend.backend() == "torch" else model.predict_on_batch(image)
    )


def draw_weights(model, seed=0):
    """Weights that no layer starts with, of a size at which maps neither vanish nor grow."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        kind, shape = weight.path.split("/")[-1], weight.shape
        if kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) > 1:
            depthwise = "depthwise" in weight.path and len(shape) == 4
            inputs = np.prod(shape[:-1]) if not depthwise else shape[0] * shape[1] * shape[3]
            value = rng.normal(0, np.sqrt(2 / inputs), shape)
        else:
            value = rng.normal(0, 0.2, shape)
        weight.assign(value)


class Reference:
    """Layers of PyTorch on maps `(B, C, H, W)`.

    Args:
        model: the network with the weights.
        align_corners: bool, for all resizing.
    """

    def __init__(self, model, align_corners=False):
        self.model, self.align_corners = model, align_corners

    def weights(self, name):
        return [torch.from_numpy(np.array(w)) for w in self.model.get_layer(name).get_weights()]

    def features(self, image):
        """The features of the backbone, as they are."""
        found = outputs(self.model.get_layer("backbone"), image)
        return {
            level: torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for level, x in found.items()
        }

    def conv(self, x, name):
        layer, (kernel, *bias) = self.model.get_layer(name), self.weights(name)
        rate = getattr(layer, "rate", (1, 1))[0]
        depthwise = isinstance(layer, layers.DepthwiseConv2D)
        kernel = kernel.permute(2, 3, 0, 1) if depthwise else kernel.permute(3, 2, 0, 1)
        groups = x.shape[1] if depthwise else 1
        padding = rate * (kernel.shape[-1] // 2)
        return F.conv2d(x, kernel, *bias, padding=padding, dilation=rate, groups=groups)

    def transposed(self, x, name):
        kernel, bias = self.weights(name)  # (h, w, out, in)
        return F.conv_transpose2d(x, kernel.permute(3, 2, 0, 1), bias, stride=2, padding=1)

    def bn_relu(self, x, name):
        gamma, beta, mean, variance = self.weights(name)
        return F.relu(F.batch_norm(x, mean, variance, gamma, beta, eps=1e-5))

    def cbr(self, x, name):
        """Convolution, batch norm, ReLU."""
        return self.bn_relu(self.conv(x, name), f"{name}_bn")

    def separable(self, x, name, between):
        """A depthwise convolution, a 1×1 one, and batch norm and ReLU, between them or not."""
        x = self.conv(x, f"{name}_depthwise")
        x = self.bn_relu(x, f"{name}_depthwise_bn") if between else x
        return self.cbr(x, name)

    def double_conv(self, x, name):
        for n in (1, 2):
            x = self.bn_relu(self.conv(x, f"{name}_conv{n}"), f"{name}_bn{n}")
        return x

    def resize(self, x, size):
        size = size if isinstance(size, tuple) else size.shape[2:]
        return F.interpolate(x, size=size, mode="bilinear", align_corners=self.align_corners)

    def grow(self, x, factor=2):
        return self.resize(x, tuple(factor * n for n in x.shape[2:]))

    def scores(self, x, image, name="scores"):
        """Scores of a map in the size of the image, as ours come."""
        x = self.resize(self.conv(x, name), image.shape[1:3])
        return x.numpy().transpose(0, 2, 3, 1)


def compare(model, reference, image):
    """Both give the same numbers, to 1e-4 of the largest."""
    with torch.no_grad():
        wanted = reference(image)
    found = outputs(model, image)
    assert keras.tree.map_structure(np.shape, found) == keras.tree.map_structure(np.shape, wanted)
    for f, w in zip(keras.tree.flatten(found), keras.tree.flatten(wanted), strict=True):
        assert w.std() > 0.05 and np.isfinite(w).all()
        np.testing.assert_allclose(f, w, rtol=0, atol=1e-4 * np.abs(w).max())

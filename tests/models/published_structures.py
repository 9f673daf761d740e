"""Networks as other libraries publish them: parts common to the tests of all decoders."""

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers

from .small import images
from .torch_reference import Reference, compare, draw_weights

torch.set_num_threads(1)
LEVELS = ("P5", "P4", "P3", "P2")
# One of each grid: unpadded, padded with aligned corners, and of sizes k s + 1.
_EVERYWHERE = (
    "lraspp_of_torchvision-75x101",
    "fpn_of_smp-64x96",
    "deeplabv3_of_tensorflow-65x97",
)


def backbone(stride=32, width=8):
    """Convolutions of 3×3 whose maps have rounded up sizes, as those of PyTorch's backbones."""
    x = image = keras.Input((None, None, 3))
    features = {}
    for n in range(1, 6):
        step = 2 if 2**n <= stride else 1
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(width + 4 * n, 3, strides=step, name=f"conv_{n}")(x)
        features[f"P{n}"] = layers.Activation("tanh", name=f"P{n}")(x)
        x = features[f"P{n}"]
    return keras.Model(image, features, name="backbone")


def layer_norm(t, x, level):
    norm = t.weights(f"norm_{level}")
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], *norm, 1e-6).permute(0, 3, 1, 2)


def nearest(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def pools(t, x, bins=(1, 2, 3, 6)):
    maps = [x]
    for n in bins:
        maps.append(t.resize(t.cbr(F.adaptive_avg_pool2d(x, n), f"pool{n}_conv"), x))
    return torch.cat(maps, 1)


def cases(rounded=(), divided=(), others=()):
    """Parameters of `test_the_same_function`: builders and sizes.

    Args:
        rounded: builders of networks for any size, whose maps have rounded up sizes.
        divided: builders of those that take only sizes that their stride divides.
        others: pairs of a builder and a size.
    """
    found = [(build, (75, 101)) for build in rounded]
    found += [(build, (64, 96)) for build in (*rounded, *divided)]
    params = []
    for build, size in (*found, *others):
        name = f"{build.__name__}-{size[0]}x{size[1]}"
        marks = [pytest.mark.everywhere] if name in _EVERYWHERE else []
        params.append(pytest.param(build, size, marks=marks, id=name))
    return params


def check_function(build, in_torch, size):
    """Check that a network is the same function as the one written again in PyTorch."""
    model = build()
    draw_weights(model)
    aligned = any(grid in ("smp", "tensorflow") for grid in build.__name__.split("_"))
    aligned = aligned and build.__name__ not in ("upernet_of_smp", "manet_of_smp")
    compare(model, lambda image: in_torch(Reference(model, aligned), image), images(1, *size))

"""UPerNet, FPN, SegFormer and PAN as other libraries publish them: the same function.

Each is written again in PyTorch, and gets the weights of ours.
"""

import pytest
import torch
import torch.nn.functional as F

import keras_dense as kd
from keras_dense.heads import Segmentation

from .published_structures import (
    LEVELS,
    backbone,
    cases,
    check_function,
    layer_norm,
    nearest,
    pools,
)
from .small import images
from .torch_reference import Reference, compare, draw_weights


def upernet_of_mmsegmentation():
    return kd.upernet(backbone(), 5, filters=8, grid="image")


def upernet_of_mmsegmentation_in_torch(t, image, read=lambda x, level: x):
    p = {level: read(x, level) for level, x in t.features(image).items() if level in LEVELS}
    x = t.cbr(pools(t, p["P5"]), "pyramid_fuse")
    maps = [x]
    for level in LEVELS[1:]:
        lateral = t.cbr(p[level], f"lateral_{level}")
        x = lateral + t.resize(x, lateral)
        maps.insert(0, t.cbr(x, f"fpn_{level}"))
    return t.scores(t.cbr(torch.cat([t.resize(m, p["P2"]) for m in maps], 1), "fuse"), image)


def upernet_of_swin():
    """Layer norm of every feature but the last one, which the backbone normalizes."""
    decoder = kd.decoders.upernet(8, normalize=("P4", "P3", "P2"))
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="image")


def upernet_of_swin_in_torch(t, image):
    def read(x, level):
        return x if level == "P5" else layer_norm(t, x, level)

    return upernet_of_mmsegmentation_in_torch(t, image, read)


def upernet_of_smp():
    decoder = kd.decoders.upernet(8, normalize=True)
    return kd.assemble(backbone(), decoder, Segmentation(5))


def upernet_of_smp_in_torch(t, image):
    def read(x, level):
        return layer_norm(t, x, level)

    return upernet_of_mmsegmentation_in_torch(t, image, read)


def fpn_of_mmsegmentation():
    decoder = kd.decoders.fpn((8, 6), norm="batch")
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="image")


def fpn_of_mmsegmentation_in_torch(t, image):
    p, x, total = t.features(image), None, 0
    for level in LEVELS:
        lateral = t.conv(p[level], f"lateral_{level}")
        if x is not None:
            lateral = lateral + F.interpolate(x, size=lateral.shape[2:], mode="nearest")
        x = lateral
        y = t.conv(x, f"pyramid_{level}")
        for n in range(1, max(2, int(level[1]) - 1)):
            y = t.cbr(y, f"branch_{level}_{n}")
            y = y if level == "P2" else t.grow(y)
        total = total + t.resize(y, p["P2"])
    return t.scores(total, image)


def fpn_of_smp(merge="add"):
    decoder = kd.decoders.fpn((8, 6), smooth=False, merge=merge)
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="multiple_corners")


def fpn_of_smp_in_torch(t, image, merge="add"):
    p, x, maps = t.features(image), None, []
    for level in LEVELS:
        lateral = t.conv(p[level], f"lateral_{level}")
        y = x = lateral if x is None else lateral + nearest(x)
        for n in range(1, max(2, int(level[1]) - 1)):
            y = t.conv(y, f"branch_{level}_{n}")
            y = F.relu(F.group_norm(y, 2, *t.weights(f"branch_{level}_{n}_gn")))
            y = y if level == "P2" else t.grow(y)
        maps.append(y)
    return t.scores(sum(maps) if merge == "add" else torch.cat(maps, 1), image)


def fpn_cat_of_smp():
    return fpn_of_smp("cat")


def fpn_cat_of_smp_in_torch(t, image):
    return fpn_of_smp_in_torch(t, image, "cat")


def segformer_of_transformers():
    return kd.segformer(backbone(), 5, filters=8, grid="image")


def fused(t, maps):
    """Upsampled, concatenated and then fused, as published: ours is the sum of the parts."""
    kernel = torch.cat([t.weights(f"fuse_{level}")[0] for level in maps], 0)
    finest = maps["P2"]
    x = torch.cat([t.resize(x, finest) for x in maps.values()], 1)
    return t.bn_relu(F.conv2d(x, kernel.T[..., None, None]), "fuse_bn")


def segformer_of_transformers_in_torch(t, image):
    p, maps = t.features(image), {}
    for level in LEVELS:
        kernel, bias = t.weights(f"project_{level}")
        maps[level] = F.conv2d(p[level], kernel.T[..., None, None], bias)
    return t.scores(fused(t, maps), image)


def segformer_of_mmsegmentation():
    decoder = kd.decoders.segformer(8, normalize=True)
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="image")


def segformer_of_mmsegmentation_in_torch(t, image):
    p = t.features(image)
    return t.scores(fused(t, {n: t.cbr(p[n], f"project_{n}") for n in LEVELS}), image)


def pan_of_smp():
    decoder = kd.decoders.pan(8, use_bias=True)
    return kd.assemble(backbone(16), decoder, Segmentation(5), grid="multiple_corners")


def pan_of_smp_in_torch(t, image):
    p = t.features(image)
    x = p["P5"]
    mean = t.cbr(x.mean((2, 3), keepdim=True), "fpa_global")
    down = [x]
    for n in (1, 2, 3):
        down.append(t.cbr(F.max_pool2d(down[-1], 2), f"fpa_down{n}"))
    y = t.resize(t.cbr(down[3], "fpa_up3"), down[2]) + t.cbr(down[2], "fpa_up2")
    y = t.resize(y, down[1]) + t.cbr(down[1], "fpa_up1")
    x = t.resize(y, x) * t.cbr(x, "fpa_middle") + mean
    for level in LEVELS[1:]:
        skip, name = p[level], f"gau_{level}"
        gate = t.conv(x.mean((2, 3), keepdim=True), f"{name}_gate")
        gate = torch.sigmoid(t.batch_norm(gate, f"{name}_gate_bn"))
        x = t.resize(x, skip) + t.cbr(skip, f"{name}_low") * gate
    return t.scores(x, image)


ROUNDED = [
    upernet_of_mmsegmentation,
    fpn_of_mmsegmentation,
    segformer_of_transformers,
    segformer_of_mmsegmentation,
    upernet_of_swin,
]
DIVIDED = [
    fpn_of_smp,
    fpn_cat_of_smp,
    upernet_of_smp,
]
# Halved three times from stride 16: sizes are rounded down.
OTHERS = [(pan_of_smp, (128, 208))]


@pytest.mark.parametrize("build, size", cases(ROUNDED, DIVIDED, OTHERS))
def test_the_same_function(build, size):
    check_function(build, globals()[f"{build.__name__}_in_torch"], size)


def test_corners_lie_on_each_other_where_the_finer_feature_is_read():
    """MMSegmentation at 769: unpadded, with aligned corners."""
    model = kd.upernet(backbone(), 5, filters=8, grid="image_corners")
    draw_weights(model)
    reference = Reference(model, align_corners=True)
    compare(model, lambda x: upernet_of_mmsegmentation_in_torch(reference, x), images(1, 75, 101))

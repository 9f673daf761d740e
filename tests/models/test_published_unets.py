"""U-Nets, LinkNet and MA-Net as other libraries publish them: the same function.

Each is written again in PyTorch, and gets the weights of ours.
"""

import pytest
import torch
import torch.nn.functional as F

import keras_dense as kd
from keras_dense.heads import Auxiliary, Segmentation
from keras_dense.models.unet_backbone import whole_unet_backbone

from .published_structures import backbone, cases, check_function, nearest
from .torch_reference import Reference


def unet_of_mmsegmentation():
    """UNet-S5-D16 with a head and an auxiliary one, here with three levels."""
    heads = {"out": Segmentation(2), "aux": Auxiliary(Segmentation(2), "P1", filters=4)}
    decoder = kd.decoders.fcn_head(4, level="P0")
    return kd.assemble(whole_unet_backbone((8, 6, 4)), decoder, heads)


def unet_of_mmsegmentation_in_torch(t, image):
    outer, t = t, Reference(t.model.get_layer("backbone"))
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    )
    x, maps = (torch.from_numpy(image.astype("float32")).permute(0, 3, 1, 2) - mean) / std, []
    for n in range(4):
        x = t.double_conv(F.max_pool2d(x, 2) if n else x, f"down{n}")
        maps.append(x)
    ups = {}
    for n in (2, 1, 0):
        x = t.cbr(t.grow(x), f"up{n}_reduce")
        x = ups[n] = t.double_conv(torch.cat([maps[n], x], 1), f"up{n}")
    aux = outer.bn_relu(outer.conv(ups[1], "aux_convolution"), "aux_normalization")
    out = outer.scores(outer.cbr(x, "head_1"), image, "out_scores")
    return {"out": out, "aux": outer.scores(aux, image, "aux_scores")}


def unet_of_smp():
    decoder = kd.decoders.unet(
        (12, 10, 8, 6, 4), upsampling="nearest", reduction=None, center=True, scores_size=3
    )
    return kd.assemble(backbone(), decoder, Segmentation(5))


def unet_of_smp_in_torch(t, image):
    p = t.features(image)
    x = t.double_conv(p["P5"], "center")
    for n in (4, 3, 2, 1, 0):
        x = nearest(x)
        x = t.double_conv(torch.cat([p[f"P{n}"], x], 1) if n else x, f"up{n}")
    return t.scores(x, image)


def nested_unet_of_smp():
    decoder = kd.decoders.nested_unet(
        (12, 10, 8, 6, 4), upsampling="nearest", reduction=None, keep_width=True, scores_size=3
    )
    return kd.assemble(backbone(), decoder, Segmentation(5))


def nested_unet_of_smp_in_torch(t, image):
    """Node x_{depth}_{layer} is at level 4 - layer, the (layer - depth + 1)-th of that level."""
    p, x = t.features(image), {}
    p = [p[f"P{n}"] for n in (5, 4, 3, 2, 1)]
    for layer in range(4):
        for depth in range(layer, -1, -1):
            below = p[layer] if depth == layer else x[depth, layer - 1]
            before = [p[layer + 1], *(x[d, layer] for d in range(layer, depth, -1))]
            name = f"node{4 - layer}_{layer - depth + 1}"
            x[depth, layer] = t.double_conv(torch.cat([*before, nearest(below)], 1), name)
    return t.scores(t.double_conv(nearest(x[0, 3]), "node0_5"), image)


def linknet_of_smp():
    return kd.assemble(backbone(), kd.decoders.linknet(6, use_bias=True), Segmentation(5))


def linknet_of_smp_in_torch(t, image):
    p = t.features(image)
    x = p["P5"]
    for n in (4, 3, 2, 1, 0):
        x = t.cbr(x, f"up{n}_reduce")
        x = t.bn_relu(t.transposed(x, f"up{n}"), f"up{n}_bn")
        x = t.cbr(x, f"up{n}_widen")
        x = x + p[f"P{n}"] if n else x
    return t.scores(x, image)


def manet_of_smp():
    """One softmax over all pairs of cells, whose result is read as channels first."""
    decoder = kd.decoders.manet((12, 10, 8, 6, 4), attention_filters=6, reduction=4, joint=True)
    return kd.assemble(backbone(), decoder, Segmentation(5))


def manet_of_smp_in_torch(t, image, joint=True):
    p = t.features(image)
    x = p["P5"]
    query, key, value = (
        t.conv(x, f"attention_{part}").flatten(2) for part in ("query", "key", "value")
    )
    weights = query.transpose(1, 2) @ key
    if joint:
        weights = F.softmax(weights.flatten(1), -1).reshape(weights.shape)
        mean = (weights @ value.transpose(1, 2)).reshape(x.shape)
    else:
        mean = (value @ F.softmax(weights, -1).transpose(1, 2)).reshape(x.shape)
    x = t.conv(x + mean, "attention_out")
    for n in (4, 3, 2, 1, 0):
        name = f"up{n}"
        if n == 0:
            x = nearest(x)
        else:
            x, skip = nearest(t.cbr(t.cbr(x, f"{name}_high"), f"{name}_reduce")), p[f"P{n}"]
            gate = t.excite(x, f"{name}_of_high") + t.excite(skip, f"{name}_of_low")
            x = torch.cat([x * gate, skip], 1)
        x = t.double_conv(x, name)
    return t.scores(x, image)


def manet_of_the_paper():
    """A softmax for each cell."""
    decoder = kd.decoders.manet((12, 10, 8, 6, 4), attention_filters=6, reduction=4)
    return kd.assemble(backbone(), decoder, Segmentation(5))


def manet_of_the_paper_in_torch(t, image):
    return manet_of_smp_in_torch(t, image, joint=False)


DIVIDED = [
    unet_of_mmsegmentation,
    unet_of_smp,
    nested_unet_of_smp,
    linknet_of_smp,
    manet_of_smp,
    manet_of_the_paper,
]


@pytest.mark.parametrize("build, size", cases(divided=DIVIDED))
def test_the_same_function(build, size):
    check_function(build, globals()[f"{build.__name__}_in_torch"], size)

"""Networks as other libraries publish them: the same function, and as many parameters.

Each is written again in PyTorch, and gets the weights of ours.
"""

import keras
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from keras import layers

import keras_dense as kd
from keras_dense.heads import Auxiliary, Segmentation
from keras_dense.models.unet_backbone import whole_unet_backbone

from .small import images, pyramid_of, run, trained
from .torch_reference import Reference, compare, draw_weights

torch.set_num_threads(1)
LEVELS = ("P5", "P4", "P3", "P2")


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


# torchvision


def fcn_of_torchvision():
    """Its auxiliary classifier reads the fourth stage, like its head the fifth."""
    head = Segmentation(5)
    heads = {"out": head, "aux": Auxiliary(head, "P4", filters=6)}
    return kd.assemble(backbone(8), kd.decoders.fcn_head(), heads, grid="image")


def fcn_of_torchvision_in_torch(t, image):
    p = t.features(image)
    assert t.weights("head_1")[0].shape[-1] == p["P5"].shape[1] // 4
    out = t.scores(t.cbr(p["P5"], "head_1"), image, "out_scores")
    aux = t.bn_relu(t.conv(p["P4"], "aux_convolution"), "aux_normalization")
    return {"out": out, "aux": t.scores(aux, image, "aux_scores")}


def deeplabv3_of_torchvision():
    decoder = kd.decoders.deeplabv3((2, 3, 4), filters=8, refine=True, dropout=0.5)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def pyramid(t, x, rates, separable=None):
    """The branches of atrous spatial pyramid pooling, fused."""
    maps = [t.cbr(x, "aspp_1x1")]
    for n, _ in enumerate(rates, 1):
        name = f"aspp_3x3_{n}"
        maps.append(t.cbr(x, name) if separable is None else t.separable(x, name, separable))
    mean = t.cbr(x.mean((2, 3), keepdim=True), "aspp_image")
    maps.append(mean.expand(-1, -1, *x.shape[2:]))
    return t.cbr(torch.cat(maps, 1), "aspp_project")


def deeplabv3_of_torchvision_in_torch(t, image):
    x = pyramid(t, t.features(image)["P5"], (2, 3, 4))
    return t.scores(t.cbr(x, "refine"), image)


def lraspp_of_torchvision():
    return kd.lraspp(backbone(16), 5, filters=12, grid="image")


def lraspp_of_torchvision_in_torch(t, image):
    p = t.features(image)
    x = t.cbr(p["P5"], "reduce")
    x = x * torch.sigmoid(t.conv(p["P5"].mean((2, 3), keepdim=True), "mean_weight"))
    x = t.conv(t.resize(x, p["P3"]), "scores_high") + t.conv(p["P3"], "scores_low")
    return t.resize(x, image.shape[1:3]).numpy().transpose(0, 2, 3, 1)


# MMSegmentation


def fcn_of_mmsegmentation():
    decoder = kd.decoders.fcn_head(8, convolutions=2, join=True)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def fcn_of_mmsegmentation_in_torch(t, image):
    x = seen = t.features(image)["P5"]
    for n in (1, 2):
        x = t.cbr(x, f"head_{n}")
    return t.scores(t.cbr(torch.cat([seen, x], 1), "head_fuse"), image)


def pspnet_of_mmsegmentation():
    decoder = kd.decoders.pspnet(filters=8, bin_filters=8)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def pools(t, x, bins=(1, 2, 3, 6)):
    maps = [x]
    for n in bins:
        maps.append(t.resize(t.cbr(F.adaptive_avg_pool2d(x, n), f"pool{n}_conv"), x))
    return torch.cat(maps, 1)


def pspnet_of_mmsegmentation_in_torch(t, image):
    return t.scores(t.cbr(pools(t, t.features(image)["P5"]), "fuse"), image)


def deeplabv3_of_mmsegmentation():
    decoder = kd.decoders.deeplabv3((2, 3, 4), filters=8, projection_size=3)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def deeplabv3_of_mmsegmentation_in_torch(t, image):
    return t.scores(pyramid(t, t.features(image)["P5"], (2, 3, 4)), image)


def deeplabv3plus_of_mmsegmentation():
    decoder = kd.decoders.deeplabv3plus(
        (2, 3, 4), filters=8, low_filters=6, separable=True, projection_size=3
    )
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def deeplabv3plus_of_mmsegmentation_in_torch(t, image):
    p = t.features(image)
    x, low = pyramid(t, p["P5"], (2, 3, 4), separable=True), t.cbr(p["P2"], "low_level")
    x = torch.cat([t.resize(x, low), low], 1)
    for n in (1, 2):
        x = t.separable(x, f"decoder_{n}", between=True)
    return t.scores(x, image)


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


def upernet_of_swin():
    """Layer norm of every feature but the last one, which the backbone normalizes."""
    decoder = kd.decoders.upernet(8, normalize=("P4", "P3", "P2"))
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="image")


def upernet_of_swin_in_torch(t, image):
    def read(x, level):
        return x if level == "P5" else layer_norm(t, x, level)

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


# segmentation_models_pytorch: only sizes that the stride divides


def deeplabv3_of_smp():
    decoder = kd.decoders.deeplabv3(
        (2, 3, 4), filters=8, separable=True, depthwise_bn=False, refine=True
    )
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="multiple_corners")


def deeplabv3_of_smp_in_torch(t, image):
    x = pyramid(t, t.features(image)["P5"], (2, 3, 4), separable=False)
    return t.scores(t.cbr(x, "refine"), image)


def deeplabv3plus_of_smp():
    decoder = kd.decoders.deeplabv3plus(
        (2, 3, 4),
        filters=8,
        low_filters=6,
        separable=True,
        depthwise_bn=False,
        refine=True,
        convolutions=1,
    )
    return kd.assemble(backbone(16), decoder, Segmentation(5), grid="multiple_corners")


def deeplabv3plus_of_smp_in_torch(t, image):
    p = t.features(image)
    x = t.separable(pyramid(t, p["P5"], (2, 3, 4), separable=False), "refine", between=False)
    x = torch.cat([t.grow(x, 4), t.cbr(p["P2"], "low_level")], 1)
    return t.scores(t.separable(x, "decoder_1", between=False), image)


def pspnet_of_smp():
    decoder = kd.decoders.pspnet(filters=8, mean_bn=False, fuse_size=1, scores_size=3, level="P3")
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="multiple_corners")


def pspnet_of_smp_in_torch(t, image):
    x = t.features(image)["P3"]
    maps = [x, F.relu(t.conv(x.mean((2, 3), keepdim=True), "pool1_conv")).expand_as(x[:, :5])]
    for n in (2, 3, 6):
        maps.append(t.resize(t.cbr(F.adaptive_avg_pool2d(x, n), f"pool{n}_conv"), x))
    return t.scores(t.cbr(torch.cat(maps, 1), "fuse"), image)


def unet_of_smp():
    decoder = kd.decoders.unet(
        (12, 10, 8, 6, 4), upsampling="nearest", reduction=None, center=True, scores_size=3
    )
    return kd.assemble(backbone(), decoder, Segmentation(5))


def nearest(x):
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


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


def upernet_of_smp():
    decoder = kd.decoders.upernet(8, normalize=True)
    return kd.assemble(backbone(), decoder, Segmentation(5))


def layer_norm(t, x, level):
    norm = t.weights(f"norm_{level}")
    return F.layer_norm(x.permute(0, 2, 3, 1), x.shape[1:2], *norm, 1e-6).permute(0, 3, 1, 2)


def upernet_of_smp_in_torch(t, image):
    def read(x, level):
        return layer_norm(t, x, level)

    return upernet_of_mmsegmentation_in_torch(t, image, read)


# TensorFlow's DeepLab: aligned corners at sizes k s + 1


def deeplabv3_of_tensorflow():
    """DeepLab on MobileNetV2, without 3×3 convolutions."""
    return kd.deeplabv3(
        backbone(16), 5, rates=(), multi_grid=None, output_stride=16, grid="corners"
    )


def deeplabv3_of_tensorflow_in_torch(t, image):
    return t.scores(pyramid(t, t.features(image)["P5"], ()), image)


ROUNDED = [
    fcn_of_torchvision,
    deeplabv3_of_torchvision,
    lraspp_of_torchvision,
    fcn_of_mmsegmentation,
    pspnet_of_mmsegmentation,
    deeplabv3_of_mmsegmentation,
    deeplabv3plus_of_mmsegmentation,
    upernet_of_mmsegmentation,
    fpn_of_mmsegmentation,
    segformer_of_transformers,
    segformer_of_mmsegmentation,
    upernet_of_swin,
]
DIVIDED = [
    unet_of_mmsegmentation,
    deeplabv3_of_smp,
    deeplabv3plus_of_smp,
    pspnet_of_smp,
    unet_of_smp,
    nested_unet_of_smp,
    fpn_of_smp,
    fpn_cat_of_smp,
    linknet_of_smp,
    upernet_of_smp,
]
CASES = [(build, (75, 101)) for build in ROUNDED]
CASES += [(build, (64, 96)) for build in ROUNDED + DIVIDED]
CASES += [(deeplabv3_of_tensorflow, (65, 97))]
# One of each grid: unpadded, padded with aligned corners, and of sizes k s + 1.
EVERYWHERE = [
    (lraspp_of_torchvision, (75, 101)),
    (fpn_of_smp, (64, 96)),
    (deeplabv3_of_tensorflow, (65, 97)),
]


def case(build, size):
    marks = [pytest.mark.everywhere] if (build, size) in EVERYWHERE else []
    return pytest.param(build, size, marks=marks, id=f"{build.__name__}-{size[0]}x{size[1]}")


@pytest.mark.parametrize("build, size", [case(*each) for each in CASES])
def test_the_same_function(build, size):
    model = build()
    draw_weights(model)
    in_torch = globals()[f"{build.__name__}_in_torch"]
    corners = any(grid in ("smp", "tensorflow") for grid in build.__name__.split("_"))
    corners = corners and build not in (upernet_of_smp,)
    compare(model, lambda image: in_torch(Reference(model, corners), image), images(1, *size))


# Their numbers of parameters, on features as wide as those of their backbones

RESNET50 = (64, 256, 512, 1024, 2048)
RESNET34 = (64, 64, 128, 256, 512)
VGG16 = (128, 256, 512, 512, 512)
MOBILENET_V3 = (16, 24, 40, 112, 960)
AUXILIARY = 2_365_205  # torchvision's and MMSegmentation's, with 21 classes

COUNTS = {
    # torchvision's total, and how much of it is the backbone
    "fcn_resnet50": (RESNET50, kd.decoders.fcn_head(), 35_322_218 - 23_508_032 - AUXILIARY),
    "deeplabv3_resnet50": (
        RESNET50,
        kd.decoders.deeplabv3((12, 24, 36), refine=True),
        42_004_074 - 23_508_032 - AUXILIARY,
    ),
    "deeplabv3_mobilenet": (
        MOBILENET_V3,
        kd.decoders.deeplabv3((12, 24, 36), refine=True),
        11_029_328 - 2_971_952 - 3_851,
    ),
    "lraspp_mobilenet": (MOBILENET_V3, kd.decoders.lraspp(), 3_221_538 - 2_971_952),
    # MMSegmentation's heads
    "mm_fcn": (RESNET50, kd.decoders.fcn_head(512, convolutions=2, join=True), 23_606_805),
    "mm_pspnet": (RESNET50, kd.decoders.pspnet(), 23_084_565),
    "mm_pspnet_18": (
        RESNET34,
        kd.decoders.pspnet(filters=128, bin_filters=128),
        1_445_781,
    ),
    "mm_deeplabv3": (
        RESNET50,
        kd.decoders.deeplabv3((12, 24, 36), filters=512, projection_size=3),
        42_222_101,
    ),
    "mm_deeplabv3plus": (
        RESNET50,
        kd.decoders.deeplabv3plus((12, 24, 36), filters=512, separable=True, projection_size=3),
        17_698_949,
    ),
    "mm_upernet": (RESNET50, kd.decoders.upernet(), 40_524_309),
    "mm_semantic_fpn": (RESNET50, kd.decoders.fpn(norm="batch"), 4_970_901),
    # The decoder and the head of segmentation_models_pytorch
    "smp_unet": (
        RESNET34,
        kd.decoders.unet(upsampling="nearest", reduction=None, scores_size=3),
        3_151_552 + 3_045,
    ),
    "smp_unet_vgg16": (
        VGG16,
        kd.decoders.unet(upsampling="nearest", reduction=None, center=True, scores_size=3),
        9_033_408 + 3_045,
    ),
    "smp_nested_unet": (
        RESNET34,
        kd.decoders.nested_unet(
            upsampling="nearest", reduction=None, keep_width=True, scores_size=3
        ),
        4_793_792 + 3_045,
    ),
    "smp_fpn": (RESNET34, kd.decoders.fpn(smooth=False), 1_870_592 + 2_709),
    "smp_fpn_cat": (RESNET34, kd.decoders.fpn(smooth=False, merge="cat"), 1_870_592 + 10_773),
    "smp_deeplabv3": (
        RESNET34,
        kd.decoders.deeplabv3((12, 24, 36), refine=True),
        4_722_176 + 5_397,
    ),
    "smp_deeplabv3plus": (
        RESNET34,
        kd.decoders.deeplabv3plus(
            (12, 24, 36), separable=True, depthwise_bn=False, refine=True, convolutions=1
        ),
        1_152_528 + 5_397,
    ),
    "smp_pspnet": (
        RESNET34,
        kd.decoders.pspnet(mean_bn=False, fuse_size=1, scores_size=3, level="P3"),
        148_704 + 96_789,
    ),
    "smp_linknet": (RESNET34, kd.decoders.linknet(use_bias=True), 487_232 + 693),
    "smp_upernet": (RESNET34, kd.decoders.upernet(256, normalize=True), 8_314_752 + 5_397),
}


@pytest.mark.parametrize("name", COUNTS)
def test_as_many_parameters(name, zero_weights):
    widths, decoder, count = COUNTS[name]
    assert trained(kd.assemble(pyramid_of(widths), decoder, Segmentation(21))) == count


def test_as_many_parameters_as_the_u_net_of_mmsegmentation(zero_weights):
    backbone, head = whole_unet_backbone(), Segmentation(21)
    assert trained(backbone) == 28_949_568
    heads = {"out": head, "aux": Auxiliary(head, "P1", filters=64)}
    model = kd.assemble(backbone, kd.decoders.fcn_head(64, level="P0"), heads)
    assert trained(model) == 28_949_568 + 38_357 + 75_221


@pytest.mark.slow
def test_as_many_parameters_as_lraspp_of_torchvision(zero_weights):
    taps = {"P3": "expanded_conv_3_project_bn", "P5": "activation_19"}
    backbone = kd.backbone("mobilenet_v3_large", weights=None, taps=taps)
    assert trained(kd.lraspp(backbone)) == 3_221_538


# On every grid

ON_EVERY_GRID = {
    "deeplabv2": lambda b, grid: kd.deeplabv2(b, 3, output_stride=16, grid=grid),
    "deeplabv3": lambda b, grid: kd.deeplabv3(b, 3, multi_grid=None, grid=grid),
    "deeplabv3plus": lambda b, grid: kd.deeplabv3plus(b, 3, upsampling="up_conv", grid=grid),
    "pspnet": lambda b, grid: kd.pspnet(b, 3, grid=grid),
    "lraspp": lambda b, grid: kd.lraspp(b, 3, grid=grid),
    "fpn": lambda b, grid: kd.fpn(b, 3, filters=(8, 4), grid=grid),
    "upernet": lambda b, grid: kd.upernet(b, 3, filters=8, grid=grid),
    "linknet": lambda b, grid: kd.linknet(b, 3, filters=4, grid=grid),
    "dpt": lambda b, grid: kd.dpt(b, 3, filters=8, grid=grid),
    "unet_of_2015": lambda b, grid: kd.unet(num_classes=3, filters=(8, 6, 4), grid=grid),
    "unet": lambda b, grid: kd.unet(b, 3, attention=True, grid=grid),
    "nested_unet": lambda b, grid: kd.unet(b, 3, nested=True, upsampling="bilinear", grid=grid),
}


@pytest.mark.parametrize("name", ON_EVERY_GRID)
def test_every_size_on_every_grid(name):
    """Unpadded is the same as padded where nothing has to be padded."""
    build = ON_EVERY_GRID[name]
    padded, unpadded, corners = (
        build(backbone(), grid) for grid in ("multiple", "image", "corners")
    )
    draw_weights(padded)
    kd.models.initialize(unpadded, padded)  # layers may come in another order
    image = images(1, 64, 96)
    wanted = run(padded, image)
    np.testing.assert_allclose(run(unpadded, image), wanted, rtol=0, atol=1e-5 * abs(wanted).max())
    kd.models.initialize(corners, padded)
    for model in (unpadded, corners):
        y = run(model, images(1, 45, 67))
        assert y.shape == (1, 45, 67, 3) and np.isfinite(y).all()


def test_corners_lie_on_each_other_where_the_finer_feature_is_read():
    """MMSegmentation at 769: unpadded, with aligned corners."""
    decoder = kd.decoders.pspnet(filters=8, bin_filters=8)
    model = kd.assemble(backbone(8), decoder, Segmentation(5), grid="image_corners")
    draw_weights(model)
    reference = Reference(model, align_corners=True)
    compare(model, lambda x: pspnet_of_mmsegmentation_in_torch(reference, x), images(1, 75, 101))
    model = kd.upernet(backbone(), 5, filters=8, grid="image_corners")
    draw_weights(model)
    reference = Reference(model, align_corners=True)
    compare(model, lambda x: upernet_of_mmsegmentation_in_torch(reference, x), images(1, 75, 101))


# Bad input


@pytest.mark.parametrize("option", ["filters", "projection_size"])
def test_bad_widths(option):
    for build in (kd.decoders.deeplabv3, kd.decoders.deeplabv3plus):
        with pytest.raises(ValueError, match=f"`{option}` must be an integer >= 1"):
            build(**{option: 0})


@pytest.mark.parametrize("option", ["filters", "bin_filters", "fuse_size", "scores_size"])
def test_bad_widths_of_pspnet(option):
    with pytest.raises(ValueError, match=f"`{option}` must be an integer >= 1"):
        kd.decoders.pspnet(**{option: 0})


def test_bad_options():
    decoders = kd.decoders
    for option in ("low_filters", "convolutions"):
        with pytest.raises(ValueError, match=f"`{option}` must be an integer >= 1"):
            decoders.deeplabv3plus(**{option: 0})
    with pytest.raises(ValueError, match="`separable` must be one of True, False, 'decoder'"):
        decoders.deeplabv3plus(separable="encoder")
    with pytest.raises(ValueError, match="`rates` must be a tuple of integers >= 1.*rates=None"):
        decoders.deeplabv3(None)
    for option in ("filters", "convolutions"):
        with pytest.raises(ValueError, match=f"`{option}` must be an integer >= 1"):
            decoders.fcn_head(**{option: 0})
    with pytest.raises(ValueError, match="`norm` must be one of 'group', 'batch'"):
        decoders.fpn(norm="layer")
    with pytest.raises(ValueError, match="`merge` must be one of 'add', 'cat'"):
        decoders.fpn(merge="concat")
    for build in (decoders.unet, decoders.nested_unet):
        with pytest.raises(ValueError, match="`reduction` must be one of 'upsampling'.*None"):
            build(reduction="pooling")
        with pytest.raises(ValueError, match="`scores_size` must be an integer >= 1"):
            build(scores_size=0)
    with pytest.raises(ValueError, match="`preprocessing` must be one of None, 'none', 'tf'"):
        whole_unet_backbone(preprocessing="imagenet")
    with pytest.raises(ValueError, match="`grid` must be 'multiple'.*padding=\"valid\".*image"):
        kd.unet(filters=(8, 4), padding="valid", grid="image")

"""FCN, DeepLab, PSPNet and LR-ASPP as other libraries publish them: the same function.

Each is written again in PyTorch, and gets the weights of ours.
"""

import pytest
import torch
import torch.nn.functional as F

import keras_dense as kd
from keras_dense.heads import Auxiliary, Segmentation

from .published_structures import backbone, cases, check_function, pools
from .small import images
from .torch_reference import Reference, compare, draw_weights


def pyramid(t, x, rates, separable=None):
    """The branches of atrous spatial pyramid pooling, fused."""
    maps = [t.cbr(x, "aspp_1x1")]
    for n, _ in enumerate(rates, 1):
        name = f"aspp_3x3_{n}"
        maps.append(t.cbr(x, name) if separable is None else t.separable(x, name, separable))
    mean = t.cbr(x.mean((2, 3), keepdim=True), "aspp_image")
    maps.append(mean.expand(-1, -1, *x.shape[2:]))
    return t.cbr(torch.cat(maps, 1), "aspp_project")


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


def fcn_of_mmsegmentation():
    decoder = kd.decoders.fcn_head(8, convolutions=2, join=True)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def fcn_of_mmsegmentation_in_torch(t, image):
    x = seen = t.features(image)["P5"]
    for n in (1, 2):
        x = t.cbr(x, f"head_{n}")
    return t.scores(t.cbr(torch.cat([seen, x], 1), "head_fuse"), image)


def deeplabv3_of_torchvision():
    decoder = kd.decoders.deeplabv3((2, 3, 4), filters=8, refine=True, dropout=0.5)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def deeplabv3_of_torchvision_in_torch(t, image):
    x = pyramid(t, t.features(image)["P5"], (2, 3, 4))
    return t.scores(t.cbr(x, "refine"), image)


def deeplabv3_of_mmsegmentation():
    decoder = kd.decoders.deeplabv3((2, 3, 4), filters=8, projection_size=3)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def deeplabv3_of_mmsegmentation_in_torch(t, image):
    return t.scores(pyramid(t, t.features(image)["P5"], (2, 3, 4)), image)


def deeplabv3_of_smp():
    decoder = kd.decoders.deeplabv3(
        (2, 3, 4), filters=8, separable=True, depthwise_bn=False, refine=True
    )
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="multiple_corners")


def deeplabv3_of_smp_in_torch(t, image):
    x = pyramid(t, t.features(image)["P5"], (2, 3, 4), separable=False)
    return t.scores(t.cbr(x, "refine"), image)


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


def pspnet_of_mmsegmentation():
    decoder = kd.decoders.pspnet(filters=8, bin_filters=8)
    return kd.assemble(backbone(8), decoder, Segmentation(5), grid="image")


def pspnet_of_mmsegmentation_in_torch(t, image):
    return t.scores(t.cbr(pools(t, t.features(image)["P5"]), "fuse"), image)


def pspnet_of_smp():
    decoder = kd.decoders.pspnet(filters=8, mean_bn=False, fuse_size=1, scores_size=3, level="P3")
    return kd.assemble(backbone(), decoder, Segmentation(5), grid="multiple_corners")


def pspnet_of_smp_in_torch(t, image):
    x = t.features(image)["P3"]
    maps = [x, F.relu(t.conv(x.mean((2, 3), keepdim=True), "pool1_conv")).expand_as(x[:, :5])]
    for n in (2, 3, 6):
        maps.append(t.resize(t.cbr(F.adaptive_avg_pool2d(x, n), f"pool{n}_conv"), x))
    return t.scores(t.cbr(torch.cat(maps, 1), "fuse"), image)


def lraspp_of_torchvision():
    return kd.lraspp(backbone(16), 5, filters=12, grid="image")


def lraspp_of_torchvision_in_torch(t, image):
    p = t.features(image)
    x = t.cbr(p["P5"], "reduce")
    x = x * torch.sigmoid(t.conv(p["P5"].mean((2, 3), keepdim=True), "mean_weight"))
    x = t.conv(t.resize(x, p["P3"]), "scores_high") + t.conv(p["P3"], "scores_low")
    return t.resize(x, image.shape[1:3]).numpy().transpose(0, 2, 3, 1)


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
]
DIVIDED = [
    deeplabv3_of_smp,
    deeplabv3plus_of_smp,
    pspnet_of_smp,
]


@pytest.mark.parametrize(
    "build, size", cases(ROUNDED, DIVIDED, [(deeplabv3_of_tensorflow, (65, 97))])
)
def test_the_same_function(build, size):
    check_function(build, globals()[f"{build.__name__}_in_torch"], size)


def test_corners_lie_on_each_other_where_the_finer_feature_is_read():
    """MMSegmentation at 769: unpadded, with aligned corners."""
    decoder = kd.decoders.pspnet(filters=8, bin_filters=8)
    model = kd.assemble(backbone(8), decoder, Segmentation(5), grid="image_corners")
    draw_weights(model)
    reference = Reference(model, align_corners=True)
    compare(model, lambda x: pspnet_of_mmsegmentation_in_torch(reference, x), images(1, 75, 101))

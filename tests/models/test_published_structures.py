"""Networks as other libraries publish them: as many parameters, and every option on every grid.

That they are the same functions is tested for each decoder by itself.
"""

import numpy as np
import pytest

import keras_dense as kd
from keras_dense.heads import Auxiliary, Segmentation
from keras_dense.models.unet_backbone import whole_unet_backbone

from .published_structures import backbone
from .small import images, pyramid_of, run, trained
from .torch_reference import draw_weights

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
    "smp_manet": (RESNET34, kd.decoders.manet(joint=True), 10_498_816 + 3_045),
    "smp_pan": (RESNET34, kd.decoders.pan(use_bias=True), 190_855 + 6_069),
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
    "manet": lambda b, grid: kd.manet(b, 3, filters=(8, 8, 4, 4, 4), grid=grid),
    "pan": lambda b, grid: kd.pan(b, 3, filters=8, grid=grid),
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

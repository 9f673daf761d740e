"""SegFormer: parameters of the published networks, all heads, arguments."""

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.testing import check_model

from .small import images, plain_backbone, pyramid_of, run, trained

# The authors' numbers of parameters with 150 classes: of the backbone and of the whole network.
PUBLISHED = {
    "mit_b0": (3_319_392, 3_752_694),
    "mit_b1": (13_151_424, 13_715_798),
    "mit_b2": (24_196_288, 27_461_974),
    "mit_b3": (44_072_128, 47_337_814),
    "mit_b4": (60_842_688, 64_108_374),
    "mit_b5": (81_443_008, 84_708_694),
}


def filters_of(name):
    return 256 if name in ("mit_b0", "mit_b1") else 768


@pytest.mark.parametrize("name", PUBLISHED)
def test_as_many_parameters_as_published_heads(name, zero_weights):
    whole = [b - a for a, b in PUBLISHED.values()]
    widths = (32, 32, 64, 160, 256) if name == "mit_b0" else (64, 64, 128, 320, 512)
    model = kd.segformer(pyramid_of(widths), 150, filters=filters_of(name))
    assert trained(model) == whole[list(PUBLISHED).index(name)]


@pytest.mark.parametrize(
    "name",
    ["mit_b0", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in list(PUBLISHED)[1:])],
)
def test_as_many_parameters_as_published_networks(name, zero_weights):
    backbone = kd.backbone(name, weights=None)
    assert trained(backbone) == PUBLISHED[name][0]
    assert kd.surgery.strides(backbone) == {"P2": 4, "P3": 8, "P4": 16, "P5": 32}


@pytest.mark.exhaustive
def test_contract_of_the_whole_network():
    check_model(kd.segformer("mit_b0", 3, filters=16), sizes=((64, 64), (97, 131)), tolerance=1e-4)


@pytest.mark.exhaustive
def test_contract_of_all_heads():
    heads = {
        "labels": kd.heads.Segmentation(3),
        "depth": kd.heads.Depth(max_depth=10.0),
        "normals": kd.heads.Normals(),
        "color": kd.heads.Colorization(),
    }
    check_model(kd.segformer(plain_backbone(), heads=heads, filters=8), steps=5, tolerance=1e-4)


def test_the_sum_of_parts_is_the_fusion_of_a_concatenation():
    """The kernel of the published fusion, cut into parts, gives the same at the finest stride."""
    image = keras.Input((None, None, 3))
    features = {}
    for n in range(2, 6):
        x = keras.layers.AveragePooling2D(2**n)(image)
        features[f"P{n}"] = keras.layers.Conv2D(4 + n, 1)(x)
    backbone = keras.Model(image, features, name="backbone")
    model = kd.segformer(backbone, 2, filters=6)
    x = images(1, 64, 96).astype("float32")
    parts = run(keras.Model(model.input, model.get_layer("fuse").output), x)
    maps = run(backbone, x)
    whole = 0
    for level in ("P5", "P4", "P3", "P2"):
        kernel, bias = model.get_layer(f"project_{level}").get_weights()
        y = kd.ops.resize_bilinear(maps[level] @ kernel + bias, 16, 24)
        y = keras.ops.convert_to_numpy(y)
        whole = whole + y @ model.get_layer(f"fuse_{level}").get_weights()[0]
    np.testing.assert_allclose(parts, whole, atol=1e-4 * np.abs(whole).max())


def test_bad_arguments():
    with pytest.raises(ValueError, match="`filters` must be an integer >= 1"):
        kd.decoders.segformer(0)
    with pytest.raises(ValueError, match="`levels` must be one or more names of features"):
        kd.decoders.segformer(levels=())
    with pytest.raises(ValueError, match="`normalize` must be True or False"):
        kd.decoders.segformer(normalize="no")
    with pytest.raises(ValueError, match="no feature P6 for the SegFormer to read"):
        decoder = kd.decoders.segformer(4, levels=("P6", "P5"))
        kd.assemble(plain_backbone(), decoder, kd.heads.Segmentation(2))
    with pytest.raises(ValueError, match="no ImageNet weights of 'mit_b0' are published"):
        kd.segformer(weights="imagenet")
    with pytest.raises(ValueError, match=r"`normalize` must be True, False, or some of \('P5'"):
        kd.decoders.upernet(normalize=("P9",))

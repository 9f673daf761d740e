"""Backbones of published segmentation networks that keras.applications lacks."""

import math

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense.backbones.table import PREPROCESSING

# Weights that are trained, without and with the ImageNet top: the first three as counted from the
# authors' files, the others by the same rules.
COUNTS = {
    "xception65": (37_867_312, 39_916_312),
    "resnet101c": (42_623_936, 44_672_936),
    "resnet38": (105_070_912, 109_167_912),
    "xception71": (40_289_736, 42_338_736),
    "resnet50c": (23_631_808, 25_680_808),
    "resnet152c": (58_267_584, 60_316_584),
    "densenet161": (26_472_000, 28_681_000),
}
NAMES = list(COUNTS)
CHANNELS = {
    "xception65": (128, 256, 728, 1024, 2048),
    "xception71": (128, 256, 728, 1024, 2048),
    "resnet50c": (128, 256, 512, 1024, 2048),
    "resnet101c": (128, 256, 512, 1024, 2048),
    "resnet152c": (128, 256, 512, 1024, 2048),
    "resnet38": (64, 128, 256, 512, 1024, 4096),
    "densenet161": (96, 384, 768, 2112, 2208),
}
FORWARD = ["resnet50c"] + [
    pytest.param(name, marks=pytest.mark.exhaustive) for name in ("xception65", "resnet38")
]


def build(name, **kwargs):
    return getattr(kd.backbones, name)(**kwargs)


def trained(model):
    return sum(math.prod(w.shape) for w in model.trainable_weights)


def run(model, x):
    """Without `predict`, which would compile networks that are used once."""
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, training=False))


def images(count=1, height=64, width=64, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype="uint8")


@pytest.mark.parametrize("name", NAMES)
def test_counts_names_and_shapes(name, zero_weights):
    model = build(name)
    assert model.name == name and model.output_shape == (None, 1000)
    assert model.input_shape == (None, None, None, 3)
    top = sum(math.prod(w.shape) for w in model.get_layer("predictions").weights)
    assert (trained(model) - top, trained(model)) == COUNTS[name]
    assert not any(
        layer.use_bias
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
    )


@pytest.mark.parametrize("name", NAMES)
def test_features_of_the_backbone(name, zero_weights):
    backbone = kd.backbone(name, weights=None)
    assert trained(backbone) == COUNTS[name][0]
    levels = range(6 - len(CHANNELS[name]), 6)  # ResNet-38 has features of the image's size too
    assert kd.surgery.strides(backbone) == {f"P{n}": 2**n for n in levels}
    assert tuple(x.shape[-1] for x in backbone.output.values()) == CHANNELS[name]
    # The pooling of DenseNets drops a last row, where it is odd.
    for size in ((96, 64),) if name == "densenet161" else ((96, 64), (65, 97)):
        shapes = backbone.compute_output_shape((1, *size, 3))
        for n in levels:
            assert shapes[f"P{n}"][1:3] == tuple(-(-s // 2**n) for s in size)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("xception65", "separable_conv2", 4),
        ("xception71", "separable_conv2", 4),
        ("resnet50c", "relu", 5),
        ("resnet38", "relu", 5),
    ],
)
def test_taps(name, first, last, zero_weights):
    """Read before a block strides (Xception), at the end of a stage (ResNet), or, pre-activated,
    as the next stage reads it (ResNet-38)."""
    backbone = kd.backbone(name, weights=None)
    for n in range(1, last + 1):
        assert first in backbone.output[f"P{n}"]._keras_history.operation.name


def test_taps_of_deeplabv3plus(zero_weights):
    """Block 2 of Xception-65, block 3 of Xception-71: `separable_conv2_pointwise`, normalized but
    not rectified."""
    for name, block in (("xception65", 2), ("xception71", 3)):
        tap = kd.backbone(name, weights=None).output["P2"]._keras_history.operation
        assert tap.name == f"entry_flow_block{block}_separable_conv2_pointwise_bn"


@pytest.mark.parametrize(
    ("stride_in", "strided"), [("1x1", "conv3_1_1x1_reduce"), ("3x3", "conv3_1_3x3")]
)
def test_where_resnets_stride(stride_in, strided, zero_weights):
    model = build("resnet50c", include_top=False, stride_in=stride_in)
    found = [
        layer.name
        for layer in model.layers
        if layer.name.startswith("conv3") and getattr(layer, "strides", (1, 1)) == (2, 2)
    ]
    assert sorted(found) == sorted([strided, "conv3_1_1x1_proj"])
    assert kd.surgery.strides(model) == 32


def test_where_resnet38_strides_and_drops(zero_weights):
    model = build("resnet38", include_top=False)
    strided = {layer.name for layer in model.layers if getattr(layer, "strides", 1) == (2, 2)}
    assert strided == {f"res{n}a_branch{b}" for n in range(2, 7) for b in ("1", "2a")}
    drops = {x.name: x.rate for x in model.layers if isinstance(x, keras.layers.Dropout)}
    assert drops == {"res6a_branch2b2_do": 0.3, "res7a_branch2b2_do": 0.5}


@pytest.mark.parametrize("name", FORWARD)
def test_padding_is_alike_on_all_sides(name):
    """With symmetric kernels, the features of a mirrored image are the mirrored features."""
    model = build(name, include_top=False)
    for layer in model.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            kernel = layer.get_weights()[0]
            layer.set_weights([(kernel + kernel[:, ::-1]) / 2])
    x = np.random.default_rng(0).uniform(-1, 1, (1, 33, 65, 3)).astype("float32")
    y, mirrored = (run(model, z)[0] for z in (x, x[:, :, ::-1]))
    assert y.shape[:2] == (2, 3)
    np.testing.assert_allclose(mirrored[:, ::-1], y, rtol=1e-3, atol=1e-3 * np.abs(y).max())


def test_predicts_probabilities_after_a_round_trip(tmp_path):
    model = build("resnet50c", classes=7)
    x = images(2).astype("float32") / 127.5 - 1
    y = run(model, x)
    assert y.shape == (2, 7)
    np.testing.assert_allclose(y.sum(-1), 1, atol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(run(again, x), y, atol=1e-6)


def test_weights_from_a_file_with_or_without_top(tmp_path):
    model = build("resnet50c", classes=5)
    model.save_weights(tmp_path / "net.weights.h5")
    x = images(1)
    features = keras.Model(model.input, model.get_layer("conv5_3_relu").output)
    blue_green_red = x[..., ::-1] - np.float32([103.939, 116.779, 123.68])
    y = run(features, blue_green_red)
    classifier = build("resnet50c", weights=tmp_path / "net.weights.h5", classes=5)
    for backbone in (
        kd.backbone("ResNet50C", tmp_path / "net.weights.h5"),
        kd.backbone(classifier, preprocessing="caffe"),
    ):
        np.testing.assert_allclose(
            run(backbone, x)["P5"], y, rtol=1e-4, atol=1e-4 * np.abs(y).max()
        )
    with pytest.raises(ValueError, match=r"net\.weights\.h5' do not fit resnet50c.*another"):
        build("resnet50c", weights=tmp_path / "net.weights.h5", classes=6)
    with pytest.raises(FileNotFoundError, match="or the path of an existing file"):
        build("resnet50c", weights=tmp_path / "none.weights.h5")


@pytest.mark.parametrize(
    ("name", "convention"), [("xception65", "tf"), ("resnet50c", "caffe"), ("resnet38", "torch")]
)
def test_preprocessing_of_the_authors(name, convention, zero_weights):
    layer = kd.backbone(name, weights=None).get_layer("standardize")
    wanted = kd.layers.Standardize(**PREPROCESSING[convention], name="standardize")
    assert layer.get_config() == wanted.get_config()


def test_input_tensor_and_channels(zero_weights):
    image = keras.Input((64, 64, 4))
    model = build("resnet50c", input_tensor=keras.layers.Rescaling(1 / 255)(image), classes=3)
    assert model.input is image and model.input_shape == (None, 64, 64, 4)
    assert kd.backbone("resnet50c", None, channels=1).input_shape == (None, None, None, 1)


@pytest.mark.parametrize("name", ["xception_65", "Xception-65", "XCEPTION65"])
def test_names_in_any_case(name, zero_weights):
    assert kd.backbone(name, weights=None).output["P5"].shape[-1] == 2048


@pytest.mark.parametrize(
    ("name", "near"),
    [("xception66", "xception65"), ("resnet_38c", "resnet38"), ("resnet101d", "resnet101c")],
)
def test_unknown_names_suggest_the_nearest(name, near):
    with pytest.raises(ValueError, match=f"Received: '{name}'. Did you mean .*'{near}'"):
        kd.backbone(name)


def test_bad_arguments():
    for name in NAMES:
        with pytest.raises(ValueError, match=f"no ImageNet weights of '{name}' are published"):
            build(name, weights="imagenet")
    with pytest.raises(ValueError, match="no ImageNet weights of 'resnet38' are published"):
        kd.backbone("resnet38")
    with pytest.raises(ValueError, match="`stride_in` must be one of '1x1', '3x3'.*stride_in=3"):
        build("resnet101c", stride_in=3)
    with pytest.raises(ValueError, match="`input_shape` must be .*input_shape=224"):
        build("resnet38", input_shape=224)

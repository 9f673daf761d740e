"""ResNets of torchvision's kind, against one in PyTorch and torchvision's own."""

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.rules import plan
from keras_dense.backbones import resnet_v1b
from keras_dense.backbones.torchvision_rules import RESNET

SIZES = [(64, 96), (75, 101)]
# Weights that are trained, with the top of 1000 classes: torchvision's own numbers.
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50_v1b": 25_557_032,
    "resnet101_v1b": 44_549_160,
    "resnet152_v1b": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    # A stem of 28,512 weights and batch norms, instead of 9,536.
    "resnet18_v1c": 11_708_744,
    "resnet50_v1c": 25_576_264,
    "resnet101_v1c": 44_568_392,
}
BASIC, BOTTLENECK = (64, 64, 128, 256, 512), (64, 256, 512, 1024, 2048)
QUICK = ("resnet18", "resnext50_32x4d", "resnet18_v1c")
NAMES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive) for name in COUNTS
]
# What each network is made of; as few blocks as show it.
KINDS = {
    "basic": ({"basic": True}, {"block": resnet_v1b._basic}),
    "bottleneck": ({"basic": False}, {"block": resnet_v1b._bottleneck}),
    "grouped": (
        {"basic": False, "width": 4, "groups": 32},
        {"block": resnet_v1b._bottleneck, "width": 4, "groups": 32},
    ),
    "wide": (
        {"basic": False, "width": 128},
        {"block": resnet_v1b._bottleneck, "width": 128},
    ),
    "deep stem": (
        {"basic": True, "deep": True},
        {"block": resnet_v1b._basic, "stem": resnet_v1b._deep_stem},
    ),
}


def pair(kind, counts=(1, 2, 1, 2), include_top=False):
    """The network in PyTorch with random weights, and ours with the same."""
    from .torch_resnet import ResNet, arrays, randomized

    theirs, ours = KINDS[kind]
    block, settings = ours["block"], {k: v for k, v in ours.items() if k != "block"}
    net = randomized(ResNet(counts, **theirs))
    build = resnet_v1b._network("small", block, counts, "A small one.", **settings)
    model = build(include_top=include_top, classes=7)
    ready = plan(arrays(net), model, RESNET)
    ready.check()
    ready.apply()
    return net, model


def images(height, width):
    rng = np.random.default_rng(height)
    return rng.normal(size=(1, height, width, 3)).astype("float32")


def call(model, x):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(x, training=False))


def assert_equal(got, wanted):
    assert set(got) == set(wanted)
    for level, value in wanted.items():
        assert got[level].shape == value.shape
        np.testing.assert_allclose(got[level], value, atol=1e-5 * np.abs(value).max())


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("grouped", marks=pytest.mark.everywhere),
        *(kind for kind in KINDS if kind != "grouped"),
    ],
)
def test_features_equal_pytorch(kind):
    from .torch_resnet import run

    net, model = pair(kind, (1, 1, 1, 1))
    backbone = kd.backbone(model)
    for size in SIZES:
        x = images(*size)
        assert_equal(call(backbone, x), run(net.features, x))


@pytest.mark.parametrize("kind", ["basic", "deep stem"])
def test_probabilities_equal_pytorch(kind):
    from .torch_resnet import run

    net, model = pair(kind, (1, 1, 1, 1), include_top=True)
    x = images(64, 96)
    np.testing.assert_allclose(call(model, x), run(net, x), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "how"), [("grouped", "before"), ("grouped", "after"), ("basic", "after")]
)
def test_dilated_as_in_other_libraries(kind, how):
    """`strided_rate="before"` is torchvision's and MMSegmentation's way for bottlenecks (they
    have none for basic blocks that keeps the weights' meaning), "after" is SMP's."""
    from .torch_resnet import dilated, run

    net, model = pair(kind)
    dense = kd.surgery.dilate(kd.backbone(model), 8, strided_rate=how)
    dilated(net, how)
    for size in SIZES:
        x = images(*size)
        wanted = run(net.features, x)
        assert wanted["P5"].shape[1:3] == tuple(-(-n // 8) for n in size)
        assert_equal(call(dense, x), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_counts_and_features(name, zero_weights):
    model = getattr(kd.backbones, name)()
    assert model.name == name and model.output_shape == (None, 1000)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == COUNTS[name]
    assert not any(x.use_bias for x in model.layers if isinstance(x, keras.layers.Conv2D))
    backbone = kd.backbone(name, weights=None)
    assert kd.surgery.strides(backbone) == {f"P{n}": 2**n for n in range(1, 6)}
    channels = tuple(x.shape[-1] for x in backbone.output.values())
    assert channels == (BASIC if name in ("resnet18", "resnet34", "resnet18_v1c") else BOTTLENECK)
    assert backbone.output["P5"]._keras_history.operation.name.startswith("layer4_")


def test_settings_of_pytorch():
    _, model = pair("basic", (1, 1, 1, 1))
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(x.epsilon, x.momentum) for x in norms} == {(1e-5, 0.9)}
    assert model.get_layer("layer2_0_downsample_0").strides == (2, 2)
    for kind, strided in (("basic", "layer2_0_conv1"), ("bottleneck", "layer2_0_conv2")):
        _, model = pair(kind, (1, 1, 1, 1))
        assert model.get_layer(strided).strides == (2, 2)


def test_input_tensor_names_and_round_trip(tmp_path, zero_weights):
    image = keras.Input((64, 64, 4))
    model = kd.backbones.resnet18(
        input_tensor=keras.layers.Rescaling(1 / 255)(image), classes=3, name="mine"
    )
    assert model.input is image and model.name == "mine" and model.output_shape == (None, 3)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert [x.name for x in again.layers] == [x.name for x in model.layers]
    for spelling in ("ResNet-18", "resnet_18"):
        assert kd.backbone(spelling, weights=None).output["P5"].shape[-1] == 512


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="no ImageNet weights of 'resnet18' are published"):
        kd.backbones.resnet18("imagenet")
    with pytest.raises(FileNotFoundError, match="or the path of an existing file"):
        kd.backbones.resnet18(tmp_path / "none.weights.h5")
    with pytest.raises(ValueError, match="`input_shape` must be .*input_shape=224"):
        kd.backbones.resnet18(input_shape=224)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnext50_32x4d", "wide_resnet50_2"])
def test_equals_torchvision(name):
    models = pytest.importorskip("torchvision.models", exc_type=ImportError)
    from .torch_resnet import arrays, randomized, run

    net = randomized(getattr(models, name)(weights=None))
    model = getattr(kd.backbones, name.replace("resnet50", "resnet50_v1b", name == "resnet50"))()
    ready = plan(arrays(net), model, RESNET)
    ready.check()
    ready.apply()
    for size in SIZES:
        x = images(*size)
        wanted = np.exp(run(net, x))
        wanted /= wanted.sum()
        np.testing.assert_allclose(call(model, x), wanted, rtol=1e-3, atol=1e-7)

"""EfficientNet-Lite beside timm, and its counts of weights."""

import importlib.util
import math

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.rules import plan
from keras_dense.backbones.torchvision import NETWORKS
from tests import torchvision_operations

# Weights that are trained, with the top: as timm's tf_efficientnet_lite….
COUNTS = {"0": 4_652_008, "1": 5_416_680, "2": 6_092_072, "3": 8_197_096, "4": 13_006_568}
CHANNELS = {
    "0": (16, 24, 40, 112, 320),
    "1": (16, 24, 40, 112, 320),
    "2": (16, 24, 48, 120, 352),
    "3": (24, 32, 48, 136, 384),
    "4": (24, 32, 56, 160, 448),
}
QUICK = "3"
EVERY = [n if n == QUICK else pytest.param(n, marks=pytest.mark.exhaustive) for n in COUNTS]


def trained(model):
    return sum(math.prod(w.shape) for w in model.trainable_weights)


@pytest.mark.parametrize("n", EVERY)
def test_counts_and_features(n, zero_weights):
    name = f"efficientnet_lite{n}"
    model = getattr(kd.backbones, name)()
    assert model.name == name and model.output_shape == (None, 1000)
    assert trained(model) == COUNTS[n]
    backbone = kd.backbone(name, weights=None)
    assert kd.surgery.strides(backbone) == {f"P{level}": 2**level for level in range(1, 6)}
    assert tuple(x.shape[-1] for x in backbone.output.values()) == CHANNELS[n]
    shapes = backbone.compute_output_shape((1, 97, 131, 3))
    assert [shapes[f"P{k}"][1:3] for k in (1, 5)] == [(49, 66), (4, 5)]
    assert backbone.get_layer("standardize").mean == 127.5


def test_bad_weights():
    with pytest.raises(ValueError, match="no ImageNet weights of 'efficientnet_lite3' are publish"):
        kd.backbone("efficientnet_lite3")
    with pytest.raises(ValueError, match="timm publishes tf_efficientnet_lite3: pass the path of"):
        kd.backbone("efficientnet_lite3", weights="torchvision")


@pytest.mark.exhaustive
@pytest.mark.parametrize("n", COUNTS)
def test_the_same_features_as_timm(n, tmp_path):
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    torchvision_operations.declare()
    import timm

    name = f"efficientnet_lite{n}"
    theirs = timm.create_model(f"tf_{name}", pretrained=False).eval()
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for key, x in theirs.state_dict().items():
            if x.ndim > 1:
                value = rng.normal(0, np.sqrt(1 / np.prod(x.shape[1:])), x.shape)
            elif key.endswith(("running_var", "weight")):
                value = rng.uniform(0.5, 1, x.shape)
            else:
                value = rng.normal(0, 0.1, x.shape)
            x.copy_(torch.tensor(value))
    path = tmp_path / f"tf_{name}.pth"
    torch.save(theirs.state_dict(), path)
    ours = kd.backbone(name, weights=path)
    image = np.random.default_rng(1).integers(0, 256, (1, 75, 101, 3), "uint8")
    x = torch.tensor(np.moveaxis(image / 127.5 - 1, -1, 1), dtype=torch.float32)
    found = ours.predict(image, verbose=0)
    with torch.no_grad():
        x, stages = theirs.bn1(theirs.conv_stem(x)), []
        for stage in theirs.blocks:
            x = stage(x)
            stages.append(np.moveaxis(x.numpy(), 1, -1))
    for level, stage in zip(range(1, 6), (0, 1, 2, 4, 6), strict=True):
        wanted = stages[stage]
        np.testing.assert_allclose(
            found[f"P{level}"], wanted, rtol=0, atol=1e-4 * np.abs(wanted).max()
        )


@pytest.mark.parametrize("n", EVERY)
def test_every_name_of_timms_file_is_covered(n, zero_weights):
    """From the counts of blocks; the file of timm has no other names."""
    name = f"efficientnet_lite{n}"
    model = getattr(kd.backbones, name)()
    tensors = dict(_names(model))
    report = plan(tensors, model, NETWORKS[name].rules).report
    assert report.complete, report


def _names(model):
    """Names and shapes as in the file, from the layers of ours in the order of the graph."""
    parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean"}
    parts |= {"moving_variance": "running_var", "kernel": "weight", "bias": "bias"}
    inner = {"expand_conv": "conv_pw", "expand_bn": "bn1", "dwconv": "conv_dw", "bn": "bn2"}
    inner |= {"project_conv": "conv_pwl", "project_bn": "bn3"}
    first = {"dwconv": "conv_dw", "bn": "bn1", "project_conv": "conv_pw", "project_bn": "bn2"}
    alone = {"stem_conv": "conv_stem", "stem_bn": "bn1", "top_conv": "conv_head", "top_bn": "bn2"}
    alone |= {"predictions": "classifier"}
    for layer in model.layers:
        for weight in layer.weights:
            name = alone.get(layer.name)
            if name is None:
                block, _, part = layer.name.removeprefix("block").partition("_")
                stage, letter = int(block[0]) - 1, ord(block[1]) - ord("a")
                name = f"blocks.{stage}.{letter}.{(first if stage == 0 else inner)[part]}"
            shape = tuple(weight.shape)
            if len(shape) == 4:
                depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
                shape = (shape[2], 1, *shape[:2]) if depthwise else (shape[3], shape[2], *shape[:2])
            shape = shape[::-1] if len(shape) == 2 else shape
            value = np.broadcast_to(np.float32(0), shape)
            yield f"{name}.{parts[weight.name]}", value

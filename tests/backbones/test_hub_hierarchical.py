"""Hierarchical backbones of KerasHub: its own numbers at its size, and any other size."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd

from . import hub_hierarchical as small

pytest.importorskip("keras_hub")

BACKEND = keras.backend.backend()
FIVE = {f"P{n}": 2**n for n in range(1, 6)}
FOUR = {f"P{n}": 2**n for n in range(2, 6)}
LEVELS = {"mit": FOUR, "swin": FOUR, **dict.fromkeys(("cspnet", "vgg"), {"P0": 1, **FIVE})}
QUICK = ("mit", "swin", "hgnetv2")
EACH = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.exhaustive)
    for name in small.MODELS
]


def image(height, width, count=1):
    return np.random.default_rng(0).uniform(-1, 1, (count, height, width, 3)).astype("float32")


def run(model, x):
    return keras.tree.map_structure(ops.convert_to_numpy, model(x, training=False))


def drawn(model):
    """Random scores, which are zero before training."""
    draw = np.random.default_rng(3)
    for weight in model.get_layer("scores").weights:
        weight.assign(draw.normal(0, 0.1, weight.shape))
    return model


def assert_same(actual, expected, tolerance):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("name", EACH)
def test_numbers_of_kerashub(name):
    """At the size that it was built for; strides are read off the graph, not off its names."""
    hub = small.model(name)
    backbone = kd.backbone(hub)
    assert kd.surgery.strides(backbone) == LEVELS.get(name, FIVE)
    x = image(small.SIZE, small.SIZE)
    features = run(backbone, x)
    if name in ("cspnet", "xception"):
        return  # Windows of their stems have no padding; they are padded here.
    if name in ("mit", "hgnetv2"):
        expected = {y.shape: y for y in small.outputs(hub, x)}
        for level in FOUR:
            assert_same(features[level], expected[features[level].shape], 1e-5)
    else:
        expected = small.outputs(hub, x)[-1]
        assert_same(features["P5"].reshape(expected.shape), expected, 1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", small.MODELS)
def test_any_size(name):
    backbone = kd.backbone(small.model(name))
    for size in ((97, 131), (32, 64)):
        for level, feature in run(backbone, image(*size)).items():
            cells = [n / 2 ** int(level[1]) for n in size]
            # Pooling without padding rounds down.
            assert all(abs(a - b) < 1 for a, b in zip(feature.shape[1:3], cells, strict=True))
            assert np.isfinite(feature).all()


@pytest.mark.parametrize("name", small.TRANSFORMERS)
def test_maps_of_transformers_have_ceil_sizes(name):
    backbone = kd.backbone(small.model(name))
    shapes = {level: y.shape[1:3] for level, y in run(backbone, image(97, 131)).items()}
    assert shapes == {"P2": (25, 33), "P3": (13, 17), "P4": (7, 9), "P5": (4, 5)}


def test_weights_are_copies():
    hub = small.model("mit")
    backbone = kd.backbone(hub)
    before = [w.copy() for w in hub.get_weights()]
    for weight in backbone.weights:
        weight.assign(0 * weight)
    for old, new in zip(before, hub.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert backbone.count_params() == hub.count_params()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", small.TRANSFORMERS)
def test_frozen_and_in_half_precision(name):
    hub = small.model(name)
    hub.trainable = False
    assert not kd.backbone(hub).trainable_weights
    keras.config.set_dtype_policy("mixed_bfloat16")
    hub = small.model(name)
    keras.config.set_dtype_policy("float32")
    backbone = kd.backbone(hub)
    policies = {w.dtype_policy.name for w in backbone.layers if w.weights}
    assert policies == {"mixed_bfloat16"}
    features = run(backbone, image(97, 131))
    assert all(np.isfinite(np.asarray(y, "float32")).all() for y in features.values())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["mit", "swin", "hgnetv2"])
def test_preprocessing_and_channels(name):
    hub = small.model(name)
    x = image(64, 96) * 100 + 120
    plain, inside = kd.backbone(hub), kd.backbone(hub, preprocessing="tf")
    for level, y in run(inside, x).items():
        assert_same(y, run(plain, x / 127.5 - 1)[level], 1e-4)
    assert kd.backbone(hub, channels=1).input_shape == (None, None, None, 1)
    assert kd.backbone(hub, channels=4)(image(64, 64)[..., [0, 1, 2, 0]])["P5"].shape[1] == 2


@pytest.mark.exhaustive
def test_chosen_taps():
    backbone = kd.backbone(small.model("mit"), taps={"P3": "stage2_block1_add2"})
    assert kd.surgery.strides(backbone) == {"P3": 8}
    with pytest.raises(ValueError, match="`taps` must name layers of .*Received: 'P3': 'block9'"):
        kd.backbone(small.model("swin"), taps={"P3": "block9"})
    flat = kd.backbone(small.model("hgnetv2"))
    name = flat.output["P3"]._keras_history.operation.name
    assert list(kd.backbone(small.model("hgnetv2"), taps={"P3": name}).output) == ["P3"]


@pytest.mark.exhaustive
def test_builders_take_models_of_kerashub():
    """HGNetV2 gives a dict, but its names are no levels."""
    for name in ("hgnetv2", "swin"):
        model = kd.segformer(small.model(name), 3, filters=8)
        assert model(image(64, 64)).shape == (1, 64, 64, 3)


@pytest.mark.exhaustive
def test_blocks_are_opened():
    """The graph has convolutions: so they can be dilated, at every cell as the old network."""
    x = image(64, 64)
    for name in ("mobilenet", "hgnetv2"):
        backbone = kd.backbone(small.model(name))
        dense = kd.surgery.dilate(backbone, 8)
        expected = run(backbone, x)["P5"]
        assert_same(run(dense, x)["P5"][:, ::4, ::4], expected, 1e-4)


@pytest.mark.exhaustive
def test_bad_dilation_of_transformers():
    for name, kind in (("mit", "SpatialReductionAttention"), ("swin", "MergePatches")):
        backbone = kd.backbone(small.model(name))
        with pytest.raises(ValueError, match=rf"\({kind}\) looks at more than one pixel"):
            kd.surgery.dilate(backbone, 8)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", small.MODELS)
def test_contract_of_networks(name):
    model = kd.fpn(kd.backbone(small.model(name)), 3, filters=(8, 8))
    kd.testing.check_model(model, sizes=((97, 131), (64, 64), (32, 64)), tolerance=1e-4)


LOAD = """
import sys
import keras, numpy as np
import keras_dense  # no custom_objects
images = np.load(sys.argv[1])
for path in sys.argv[2:]:
    model = keras.saving.load_model(path)
    for size in images.files:
        np.save(f"{path}.{size}.npy", model.predict(images[size], verbose=0))
    hub = any(type(x).__module__.startswith("keras_hub") for x in model._flatten_layers())
    assert hub == ("hgnetv2" in path), path
"""


@pytest.mark.once
@pytest.mark.exhaustive
def test_files_in_a_fresh_process(tmp_path):
    sizes = {"small": image(32, 64), "odd": image(97, 131)}
    np.savez(tmp_path / "images.npz", **sizes)
    models = {name: drawn(kd.segformer(small.model(name), 3, filters=8)) for name in small.MODELS}
    for name, model in models.items():
        model.save(tmp_path / f"{name}.keras")
    paths = [str(tmp_path / f"{name}.keras") for name in models]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(tmp_path / "images.npz"), *paths],
        env={**os.environ, "KERAS_BACKEND": BACKEND},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name, model in models.items():
        for size, x in sizes.items():
            y = np.load(tmp_path / f"{name}.keras.{size}.npy")
            assert_same(y, model.predict(x, verbose=0), 1e-5)

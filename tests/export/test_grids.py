"""Exports of any size of networks on every grid, in their own runtimes."""

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense.models.grid import GRIDS

from .test_export import FORMATS, HEAD, assert_same, expected, lively, on_tensorflow, photos, run

# One that all strides divide, and one that none does.
SIZES = ((64, 96), (97, 131))
PACKAGES = {"onnx": "tf2onnx", "openvino": "openvino", "litert": "ai_edge_litert"}


def strided():
    """Convolutions of stride 2 whose maps have ceil sizes, as torch pads them."""
    x = image = keras.Input((None, None, 3))
    x = kd.layers.Standardize(mean=(120.0, 110.0, 100.0), std=60.0)(x)
    for n in range(5):
        x = layers.ZeroPadding2D(1)(x)
        x = layers.Conv2D(8, 3, strides=2, name=f"conv{n}")(x)
        x = layers.BatchNormalization(name=f"bn{n}")(x)
        x = layers.ReLU(name=f"relu{n}")(x)
    return kd.backbone(keras.Model(image, x))


BUILD = {
    "fcn8s": lambda grid: kd.fcn8s(strided(), heads=HEAD, grid=grid),
    "deeplabv3plus": lambda grid: kd.deeplabv3plus(strided(), heads=HEAD, rates=(2,), grid=grid),
    "unet": lambda grid: kd.unet(strided(), heads=HEAD, filters=(8, 8, 8, 4), grid=grid),
}


def drawn(model):
    """Scores that differ between pixels: fresh FCNs have none."""
    rng = np.random.default_rng(0)
    for weight in lively(model).weights:
        if "score" in weight.path and weight.path.endswith("kernel"):
            weight.assign(rng.normal(0, 0.3, weight.shape))
    return model


# The formats whose operations are not those of TensorFlow on each grid, the others on one, with the
# networks in turn: all combinations take six minutes. The first grid is that of the other tests of
# exports.
CASES = [
    (list(BUILD)[(n + m) % len(BUILD)], grid, format)
    for n, grid in enumerate(list(GRIDS)[1:])
    for m, format in enumerate(FORMATS)
    if n == m or format in ("onnx", "litert")
]


@on_tensorflow
@pytest.mark.exhaustive
@pytest.mark.parametrize("name, grid, format", CASES)
def test_any_size_on_every_grid(name, grid, format, tmp_path):
    pytest.importorskip(PACKAGES.get(format, "tensorflow"))
    model = drawn(BUILD[name](grid))
    path = tmp_path / f"model{FORMATS[format]}"
    found = getattr(kd.export, format)(model, path)
    assert found["labels"] < 1e-3 and found["confidence"] < 1e-3
    for size in SIZES:
        images = photos(size)
        wanted = expected(model, HEAD, images)
        assert wanted["labels"].shape[1:] == size and len(np.unique(wanted["labels"])) > 1
        assert_same(run(format, path, images), wanted)


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="PyTorch's own exporter")
@pytest.mark.filterwarnings("ignore")  # of the exporter
@pytest.mark.parametrize("grid", GRIDS)
def test_pytorch_writes_onnx_of_any_size(grid, tmp_path):
    """By tracing; `model.export` of Keras writes fixed sizes on PyTorch."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = drawn(BUILD["unet"](grid))
    model.eval()
    path = tmp_path / "model.onnx"
    traced = torch.from_numpy(photos(SIZES[0]).astype("float32"))
    torch.onnx.export(
        model,
        (traced,),
        path,
        input_names=["image"],
        dynamic_axes={"image": {0: "batch", 1: "height", 2: "width"}},
        opset_version=18,
        dynamo=False,
    )
    session = runtime.InferenceSession(path)
    for size in SIZES:
        image = photos(size, 1).astype("float32")
        wanted = keras.ops.convert_to_numpy(model(image))
        (found,) = session.run(None, {"image": image})
        np.testing.assert_allclose(found, wanted, atol=1e-4 * np.abs(wanted).max(), rtol=0)


@on_tensorflow
@pytest.mark.exhaustive
@pytest.mark.parametrize("format", ["onnx", "litert"])
def test_images_below_half_the_stride(format, tmp_path):
    """They are mirrored several times, as in Keras: files know no size when they are written."""
    pytest.importorskip(PACKAGES.get(format, "tensorflow"))
    model = drawn(BUILD["fcn8s"]("multiple"))
    path = tmp_path / f"model{FORMATS[format]}"
    getattr(kd.export, format)(model, path)
    for size in ((17, 17), (9, 31), (3, 40), (97, 131)):
        images = photos(size)
        assert_same(run(format, path, images), expected(model, HEAD, images))

"""Exports of KerasHub's backbones for images of any size: every family, in two formats."""

import os

import keras
import numpy as np
import pytest

import keras_dense as kd
from tests.models.small import run

from . import hub_hierarchical as small
from .hub_networks import MAKERS, network

pytest.importorskip("keras_hub")
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports"),
]


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype="uint8")


def built(name):
    """A head for depth on a backbone, its scores random instead of zero."""
    if name in MAKERS:
        taps = {"P3": 1, "P4": 2}
        backbone = kd.backbone(network(name), taps=taps, preprocessing="tf")
        decoder = kd.decoders.segformer(8, levels=("P4", "P3"))
    else:
        backbone = kd.backbone(small.model(name), preprocessing="tf")
        decoder = kd.decoders.segformer(8)
    model = kd.assemble(backbone, decoder, kd.heads.Depth(max_depth=10.0))
    draw = np.random.default_rng(3)
    for weight in model.get_layer("scores").weights:
        weight.assign(draw.normal(0, 0.1, weight.shape))
    return model


def functions(folder):
    """The written files as functions of an image."""
    import onnxruntime
    import tensorflow as tf

    served = tf.saved_model.load(str(folder / "saved"))
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )

    def saved(x):
        (y,) = served.signatures["serving_default"](tf.constant(x)).values()
        return y.numpy()

    return {"SavedModel": saved, "ONNX": lambda x: session.run(None, {"images": x})[0]}


# Convolutional families have the layers of networks that other tests export, and the rest of the
# transformers differ from these in numbers and in where they normalize.
ON_REQUEST = pytest.mark.skipif(
    not os.environ.get("KERAS_DENSE_ON_REQUEST"), reason="KERAS_DENSE_ON_REQUEST=1 runs it"
)
ALWAYS = ("vit", "dinov2", "dinov3", "vit_det", "mit", "swin")
FAMILIES = [
    name if name in ALWAYS else pytest.param(name, marks=ON_REQUEST)
    for name in (*MAKERS, *small.MODELS)
]


@pytest.mark.parametrize("name", FAMILIES)
def test_exports_of_free_sizes(name, tmp_path):
    pytest.importorskip("onnxruntime")
    model = built(name)
    # Both compare on this image themselves.
    kd.export.savedmodel(model, tmp_path / "saved", images=image(97, 131))
    kd.export.onnx(model, tmp_path / "model.onnx", images=image(97, 131))
    x = image(64, 96)
    (expected,) = keras.tree.flatten(run(kd.decoded(model), x))
    assert expected.shape == (1, 64, 96, 1)
    # Of some random networks all depths are near to each other.
    tolerance = min(1e-4 * np.abs(expected).max(), 1e-2 * np.ptp(expected))
    for format, function in functions(tmp_path).items():
        np.testing.assert_allclose(function(x), expected, rtol=0, atol=tolerance, err_msg=format)

"""Exports of KerasHub's backbones for any size of image: every family, one graph in two formats."""

import keras
import numpy as np
import pytest

import keras_dense as kd

from . import hub_hierarchical as small
from .hub_networks import MAKERS, network

pytest.importorskip("keras_hub")
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports"),
]
SIZES = ((97, 131), (64, 96))


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (1, height, width, 3), dtype="uint8")


def built(name):
    """A head for depth on two features, its scores random instead of zero."""
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


def runs(folder):
    """The written files as functions of an image."""
    import onnxruntime
    import tensorflow as tf

    served = tf.saved_model.load(str(folder / "saved"))  # it lives as long as its functions
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    return {
        "SavedModel": lambda x: next(
            iter(served.signatures["serving_default"](tf.constant(x)).values())
        ).numpy(),
        "ONNX": lambda x: session.run(None, {"images": x})[0],
    }


@pytest.mark.parametrize("name", [*MAKERS, *small.MODELS])
def test_exports_of_free_sizes(name, tmp_path):
    pytest.importorskip("onnxruntime")
    model = built(name)
    # They compare on this image themselves.
    kd.export.savedmodel(model, tmp_path / "saved", images=image(*SIZES[0]))
    kd.export.onnx(model, tmp_path / "model.onnx", images=image(*SIZES[0]))
    result = kd.decoded(model)
    for size in SIZES:
        x = image(*size)
        (expected,) = keras.tree.flatten(result.predict_on_batch(x))
        assert expected.shape == (1, *size, 1) and np.ptp(expected) > 0.01
        for format, run in runs(tmp_path).items():
            difference = np.abs(run(x) - expected).max()
            assert difference <= 1e-4 * np.abs(expected).max(), (format, size, difference)

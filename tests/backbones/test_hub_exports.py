"""Exports of KerasHub's backbones for images of any size: all families, several in one graph."""

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
# One graph of several networks takes far less time than a graph of each.
GRAPHS = {
    "plain": list(MAKERS),
    "hierarchical": list(small.TRANSFORMERS),
    "convolutional": list(small.CONVOLUTIONAL),
}
HEAD = kd.heads.Depth(max_depth=10.0)


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
    model = kd.assemble(backbone, decoder, HEAD, name=f"{name}_network")
    draw = np.random.default_rng(3)
    for weight in model.get_layer("scores").weights:
        weight.assign(draw.normal(0, 0.1, weight.shape))
    return model


def functions(folder):
    """The written files as functions from an image to results by name."""
    import onnxruntime
    import tensorflow as tf

    served = tf.saved_model.load(str(folder / "saved"))
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]

    def saved(x):
        found = served.signatures["serving_default"](tf.constant(x))
        return {name: y.numpy() for name, y in found.items()}

    def onnx(x):
        return dict(zip(names, session.run(None, {"images": x}), strict=True))

    return {"SavedModel": saved, "ONNX": onnx}


@pytest.mark.parametrize("graph", GRAPHS)
def test_exports_of_free_sizes(graph, tmp_path):
    pytest.importorskip("onnxruntime")
    heads = dict.fromkeys(GRAPHS[graph], HEAD)
    shared = keras.Input((None, None, 3), name="image")
    model = keras.Model(shared, {name: built(name)(shared) for name in heads})
    # Both compare every output on this image themselves.
    kd.export.savedmodel(model, tmp_path / "saved", heads, images=image(97, 131))
    kd.export.onnx(model, tmp_path / "model.onnx", heads, images=image(97, 131))
    x = image(64, 96)
    expected = run(kd.decoded(model, heads), x)
    for format, function in functions(tmp_path).items():
        found = function(x)
        assert len(found) == len(heads)
        for name, y in expected.items():
            z = found[f"{name}_depth"]
            assert z.shape == (1, 64, 96, 1) and np.ptp(z) > 0.01
            difference = np.abs(z - y).max()
            assert difference <= 1e-4 * np.abs(y).max(), (format, name, difference)

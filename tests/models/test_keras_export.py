"""Keras' own `model.export` writes our networks wherever it writes a plain one."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_dense as kd

from .small import plain_backbone

BACKEND = keras.backend.backend()
torch_only = pytest.mark.skipif(BACKEND != "torch", reason="what PyTorch's exporter writes")
tensorflow_only = pytest.mark.skipif(BACKEND != "tensorflow", reason="what TensorFlow writes")
jax_only = pytest.mark.skipif(BACKEND != "jax", reason="what JAX writes")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # of the exporters
    pytest.mark.everywhere,
]


def more(*values):
    return [pytest.param(value, marks=pytest.mark.exhaustive) for value in values]


def network(name, size):
    """A small network with weights that tell pixels apart."""
    known = {
        "segnet": lambda: kd.segnet_basic(num_classes=3, input_shape=(*size, 3), filters=4),
        "two_heads": lambda: kd.fcn8s(
            plain_backbone(),
            heads={"labels": kd.heads.Segmentation(3), "depth": kd.heads.Depth(max_depth=10.0)},
            input_shape=(*size, 3),
        ),
    }
    build = known.get(name, lambda: getattr(kd, name)(plain_backbone(), 3, input_shape=(*size, 3)))
    model = build()
    draw = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(draw.normal(0, 0.3, weight.shape))
    model(image_of(64, 64) if None in size else image_of(*size))  # Keras exports what was called
    return model


def image_of(height, width):
    return np.random.default_rng(1).uniform(0, 255, (1, height, width, 3)).astype("float32")


def check(found, model, image):
    """Outputs of a runtime, in any order, are those of the model."""
    wanted = [ops.convert_to_numpy(x) for x in keras.tree.flatten(model(image))]
    found = sorted((np.asarray(x) for x in found), key=lambda x: x.shape[-1])
    wanted = sorted(wanted, key=lambda x: x.shape[-1])
    assert len(found) == len(wanted)
    for f, w in zip(found, wanted, strict=True):
        assert np.std(w) > 1e-3
        np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-4 * np.abs(w).max())


def run_onnx(path, image):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: image})


def run_openvino(path, image):
    compiled = (
        pytest.importorskip("openvino")
        .Core()
        .compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    )
    # From TensorFlow, Keras' export leaves sizes that the graph computes as outputs, too.
    return [x for x in compiled(image).values() if x.ndim == 4]


@torch_only
@pytest.mark.parametrize("size", [pytest.param((64, 64), marks=pytest.mark.exhaustive), (65, 71)])
@pytest.mark.parametrize(
    "name",
    [
        "segnet",
        "two_heads",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("fpn", "unet", "deeplabv3plus")),
    ],
)
def test_pytorch_writes_onnx_at_fixed_sizes(name, size, tmp_path):
    model, image, path = network(name, size), image_of(*size), str(tmp_path / "model.onnx")
    model.export(path, format="onnx", verbose=False)
    check(run_onnx(path, image), model, image)


EVERY = {
    "fcn32s": {},
    "deeplabv2": {},
    "deeplabv3": {},
    "pspnet": {},
    "dilated_context": {},
    "dpt": {"filters": 8},
    "duc_hdc": {},
    "refinenet": {"filters": (8, 8, 8, 8)},
    "global_convolutional_network": {},
    "hypercolumn": {},
    "layer_cascade": {"filters": 8},
    "linknet": {"filters": 4},
    "lraspp": {"filters": 8},
    "idw_cnn": {"filters": 8},
    "dis": {},
    "manet": {"filters": (8,) * 5, "attention_filters": 4},
    "pan": {"filters": 8},
    "upernet": {"filters": 8},
    "segformer": {"filters": 8},
    "stacked_deconvolutional_network": {"units": 2, "growth": 4, "widths": (4, 4, 4)},
    "eigen_fergus": {"size": (64, 80), "units": 8, "filters": 8},
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", EVERY)
def test_every_network_is_written(name, tmp_path):
    """PyTorch writes ONNX, TensorFlow and JAX a SavedModel."""
    size = (65, 71)
    model = getattr(kd, name)(plain_backbone(), 3, input_shape=(*size, 3), **EVERY[name])
    draw = np.random.default_rng(0)
    for weight in model.trainable_weights:
        weight.assign(draw.normal(0, 0.3, weight.shape))
    image = image_of(*size)
    model(image)
    format = "onnx" if BACKEND == "torch" else "tf_saved_model"
    path = str(tmp_path / ("model.onnx" if format == "onnx" else "model"))
    model.export(path, format=format, verbose=False)
    check(RUN[format](path, image), model, image)


@pytest.mark.exhaustive
@torch_only
def test_pytorch_writes_openvino_at_a_fixed_size(tmp_path):
    model, image, path = network("fpn", (65, 71)), image_of(65, 71), str(tmp_path / "model.xml")
    model.export(path, format="openvino", verbose=False)
    check(run_openvino(path, image), model, image)


@tensorflow_only
@pytest.mark.parametrize("name", ["fpn", pytest.param("segnet", marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("format", ["onnx", *more("openvino", "litert", "tf_saved_model")])
def test_tensorflow_writes_every_format(name, format, tmp_path):
    size = (65, 71)
    suffix = {"onnx": ".onnx", "openvino": ".xml", "litert": ".tflite", "tf_saved_model": ""}
    path = str(tmp_path / f"model{suffix[format]}")
    model, image = network(name, size), image_of(*size)
    model.export(path, format=format, verbose=False)
    check(RUN[format](path, image), model, image)


@tensorflow_only
@pytest.mark.exhaustive
@pytest.mark.parametrize("format", ["onnx", "tf_saved_model"])
def test_tensorflow_writes_networks_of_any_size(format, tmp_path):
    path = str(tmp_path / ("model.onnx" if format == "onnx" else "model"))
    model = network("fpn", (None, None))
    model.export(path, format=format, verbose=False)
    for size in ((64, 64), (65, 71)):
        image = image_of(*size)
        check(RUN[format](path, image), model, image)


@jax_only
def test_jax_writes_a_savedmodel_at_a_fixed_size(tmp_path):
    model, image = network("fpn", (65, 71)), image_of(65, 71)
    model.export(str(tmp_path / "model"), format="tf_saved_model", verbose=False)
    check(run_savedmodel(str(tmp_path / "model"), image), model, image)


def run_savedmodel(path, image):
    tf = pytest.importorskip("tensorflow")
    loaded = tf.saved_model.load(path)  # its variables live as long as it does
    return keras.tree.flatten(loaded.serve(image))


def run_litert(path, image):
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(path)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]


RUN = {
    "onnx": run_onnx,
    "openvino": run_openvino,
    "litert": run_litert,
    "tf_saved_model": run_savedmodel,
}

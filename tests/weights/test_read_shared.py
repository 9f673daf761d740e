"""Real files of weights: every tensor beside the framework whose format it is."""

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read_file

pytestmark = pytest.mark.once
NETWORKS = ("deeplabv3_mnv2_pascal_quant.tflite", "deeplabv3_mnv2_dm05_pascal_quant.tflite")


@pytest.mark.parametrize("name", NETWORKS)
def test_litert_beside_its_interpreter(shared_data, name):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path = shared_data / "weights" / name
    contents = read_file(path, everything=True)
    interpreter = litert.Interpreter(
        str(path),
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    seen, quantized = set(), contents.meta["quantization"]
    for detail in interpreter.get_tensor_details():
        name, settings = detail["name"], detail["quantization_parameters"]
        if len(settings["scales"]):
            np.testing.assert_array_equal(quantized[name].scale, settings["scales"])
            np.testing.assert_array_equal(quantized[name].zero_point, settings["zero_points"])
            assert quantized[name].axis == settings["quantized_dimension"]
        if name not in contents.tensors:
            continue
        seen.add(name)
        expected = interpreter.get_tensor(detail["index"])
        found = quantized[name].values if name in quantized else contents.tensors[name]
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
        if name in quantized:
            scale, zero = detail["quantization"]
            real = ((expected.astype("float64") - zero) * scale).astype("float32")
            np.testing.assert_allclose(contents.tensors[name], real, rtol=1e-6, atol=1e-30)
    assert seen == set(contents.tensors) and len(seen) > 100
    interpreter.allocate_tensors()
    ends = [interpreter.get_input_details(), interpreter.get_output_details()]
    assert [contents.meta["inputs"], contents.meta["outputs"]] == [
        [detail["name"] for detail in end] for end in ends
    ]
    weights = kd.weights.read(path)
    assert set(weights) < seen and all(x.dtype == "float32" for x in weights.values())


def test_constants_of_the_interpreter_are_all_read(shared_data):
    """Tensors without values are those that an operation writes, or the input."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path = shared_data / "weights" / NETWORKS[0]
    interpreter = litert.Interpreter(str(path))
    names = {detail["index"]: detail["name"] for detail in interpreter.get_tensor_details()}
    written = {n for op in interpreter._get_ops_details() for n in op["outputs"]}
    written |= {detail["index"] for detail in interpreter.get_input_details()}
    read = {n for op in interpreter._get_ops_details() for n in op["inputs"]} - {-1}
    found = kd.weights.read(path, everything=True)
    assert {names[n] for n in read - written} <= set(found)


@pytest.mark.parametrize(
    "name, build, settings",
    [
        ("mobilenet_v1_0.25_128", "MobileNet", {"input_shape": (128, 128, 3), "alpha": 0.25}),
        ("mobilenet_v1_0.5_160", "MobileNet", {"input_shape": (160, 160, 3), "alpha": 0.5}),
        ("mobilenet_v2_1.0_224", "MobileNetV2", {}),
    ],
)
def test_weights_of_keras_beside_keras(shared_data, name, build, settings):
    model = getattr(keras.applications, build)(weights=None, **settings)
    path = shared_data / "weights" / f"{name}.weights.h5"
    model.load_weights(path)
    found = kd.weights.read(path)
    expected = {
        f"{layer.name}/{n}": keras.ops.convert_to_numpy(weight)
        for layer in model.layers
        for n, weight in enumerate(layer.weights)
    }
    assert set(found) == set(expected)
    for key, x in expected.items():
        np.testing.assert_array_equal(found[key], x)


def test_weights_of_squeezenet(shared_data):
    found = kd.weights.read(shared_data / "weights" / "squeezenet_v1.1_notop.weights.h5")
    assert len(found) == 50 and found["conv1/0"].shape[:3] == (3, 3, 3)
    assert all(x.dtype == "float32" for x in found.values())

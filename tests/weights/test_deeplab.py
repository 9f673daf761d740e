"""Google's DeepLab: numbers beside an independent network, and real weights on photographs."""

import numpy as np
import pytest
from keras import ops

import keras_dense as kd
from keras_dense._weights.rules import plan
from keras_dense.weights import deeplab
from keras_dense.weights.load import ready_for

from .published import shapes

pytest.importorskip("torch", reason="the other network is PyTorch's")
from .deeplab_reference import WRITERS, Reference, of_keras  # noqa: E402

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (75, 101, 3)).astype("uint8")
ON_GRID = IMAGE[:65, :81]


def scores(model, image):
    return ops.convert_to_numpy(model.predict_on_batch(image[None]))[0]


def difference(model, reference, image):
    """The largest difference over the largest value."""
    expected = reference(image)
    return np.abs(scores(model, image) - expected).max() / np.abs(expected).max()


def narrow(classes=5, **arguments):
    return deeplab.network(
        "mobilenet_v2", width=0.25, heads=kd.heads.Segmentation(classes), **arguments
    )


@pytest.mark.parametrize("output_stride", [16, 8])
def test_mobilenet_equals_another_implementation(output_stride):
    reference = Reference("mobilenet", 5, width=0.25, output_stride=output_stride)
    reference(ON_GRID)
    model = narrow(output_stride=output_stride)
    ready = plan(reference.weights, model, deeplab.RULES["mobilenetv2"])
    assert ready.report.complete and not ready.report.left_out
    ready.apply()
    for image in (ON_GRID, IMAGE):
        assert difference(model, reference, image) < 1e-4


@pytest.mark.exhaustive
@pytest.mark.parametrize("output_stride", [16, 8])
def test_xception_equals_another_implementation(output_stride):
    reference = Reference("xception", 5, output_stride=output_stride)
    reference(ON_GRID)
    head = kd.heads.Segmentation(5)
    model = deeplab.network("xception65", heads=head, output_stride=output_stride)
    for weights in (of_keras(reference.weights), reference.weights):
        ready = plan(weights, model, deeplab.RULES["xception65"])
        assert ready.report.complete and not ready.report.left_out
        ready.apply()
        for image in (ON_GRID, IMAGE):
            assert difference(model, reference, image) < 1e-4


@pytest.mark.once
@pytest.mark.parametrize("form", WRITERS)
def test_every_published_form(form, tmp_path):
    if form != "Keras":
        pytest.importorskip("tensorflow")
    reference = Reference("mobilenet", 5, width=0.25)
    reference(ON_GRID)
    file, write = WRITERS[form]
    path = write(tmp_path / file, reference.weights)
    model = narrow()
    report = kd.weights.load(model, path)  # Finds the rules by itself.
    assert report.complete and len(report.read) == len(reference.weights)
    reasons = {
        "checkpoint": {"counters"},
        "frozen graph": {"constants of the graph"},
        "Keras": {*()},
    }
    assert set(report.left_out) == reasons[form]
    assert difference(model, reference, ON_GRID) < 1e-4


@pytest.mark.once
def test_folded_batch_norms():
    """In the quantized form each batch norm is a part of the convolution before it."""
    model, reference = narrow(), Reference("mobilenet", 5, width=0.25, seed=1)
    reference(ON_GRID)
    tensors = {}
    for key, value in reference.weights.items():
        name, _, part = key.rpartition("/")
        if not part.endswith("weights"):
            continue
        kernel, depthwise = np.float64(value), part.startswith("depthwise")
        if name == "logits/semantic":
            bias = reference.weights[f"{name}/biases"]
            tensors[f"{name}/BiasAdd;{name}/Conv2D;{name}/biases"] = bias
        else:
            epsilon = 1e-3 if name.startswith("MobilenetV2") else 1e-5
            gamma, beta, mean, variance = (
                np.float64(reference.weights[f"{name}/BatchNorm/{n}"])
                for n in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            scale = gamma / np.sqrt(variance + epsilon)
            kernel = kernel * (scale[:, None] if depthwise else scale)
            # Names of operations that were fused with it come first.
            fused = f"{name}/add_fold;MobilenetV2/expanded_conv_5/project/Conv2D_Fold;"
            tensors[f"{fused}{name}/BatchNorm_Fold/bias"] = beta - mean * scale
        axes = (3, 0, 1, 2)
        end = f"{name}/weights_quant/FakeQuantWithMinMaxVars"
        tensors[f"{name}/Conv2D_Fold;{end}"] = np.float32(kernel.transpose(axes))
    ready = plan(tensors, model, deeplab.RULES["mobilenetv2"])
    assert ready.report.complete, ready.report
    ready.apply()
    assert difference(model, reference, IMAGE) < 1e-4


@pytest.mark.once
@pytest.mark.parametrize("name", shapes("litert/deeplab"))
def test_quantized_files_are_covered(name):
    record, found = kd.weights.info(name), shapes("litert/deeplab")[name]
    tensors = {key: np.broadcast_to(np.float32(0), shape) for key, shape in found.items()}
    model = record.builder(heads=record.head(), **record.arguments)
    report = ready_for(model, tensors, record.rules, name).report
    assert report.complete and not report.left_out


@pytest.mark.once
def test_classes_of_ade20k_begin_with_the_wall():
    reference = Reference("mobilenet", 151, width=0.25)
    reference(ON_GRID)
    model = narrow(150)
    plan(reference.weights, model, deeplab.RULES["mobilenetv2_ade20k"]).apply()
    expected = reference(ON_GRID)[..., 1:]
    assert np.abs(scores(model, ON_GRID) - expected).max() < 1e-4 * np.abs(expected).max()
    assert kd.weights.info("deeplab/mobilenetv2_ade20k").classes.names[0] == "wall"


@pytest.mark.once
def test_state_of_the_training_and_of_quantization_is_left_out():
    reference = Reference("mobilenet", 5, width=0.25)
    reference(ON_GRID)
    one = "MobilenetV2/Conv"
    extra = {
        "global_step": np.int64(3),
        f"{one}/weights/ExponentialMovingAverage": reference.weights[f"{one}/weights"],
        f"{one}/weights_quant/min": np.float32(-1),
        f"{one}/act_quant/Relu6/max/biased": np.float32(6),
        f"{one}/BatchNorm/Const": np.zeros(0, "float32"),
    }
    model = narrow()
    report = plan({**reference.weights, **extra}, model, deeplab.RULES["mobilenetv2"]).report
    assert report.complete and sum(map(len, report.left_out.values())) == len(extra)
    stray = {f"{one}/another": np.zeros(3, "float32")}
    report = plan({**reference.weights, **stray}, model, deeplab.RULES["mobilenetv2"]).report
    assert report.unread == tuple(stray)


@pytest.mark.once
def test_other_classes():
    reference = Reference("mobilenet", 5, width=0.25)
    reference(ON_GRID)
    model = narrow(3)
    rules = deeplab.RULES["mobilenetv2"]
    with pytest.raises(ValueError, match="trained for 5 classes, the model predicts 3"):
        kd.weights.load(model, reference.weights, rules=rules)
    with pytest.warns(UserWarning, match="scores/kernel"):
        report = kd.weights.load(model, reference.weights, rules=rules, strict=False)
    assert len(report.mismatched) == 2 and not report.missing and not report.unread


FILES = {
    "deeplab/mobilenetv2_voc_8bit": "deeplabv3_mnv2_pascal_quant.tflite",
    "deeplab/mobilenetv2_dm05_voc_8bit": "deeplabv3_mnv2_dm05_pascal_quant.tflite",
}
CASES = [("deeplab/mobilenetv2_dm05_voc_8bit", 3, 0.98)] + [
    pytest.param(name, 24, 0.99, marks=pytest.mark.exhaustive) for name in FILES
]


@pytest.mark.once
@pytest.mark.parametrize(("name", "count", "least"), CASES)
def test_real_weights_label_photographs_as_their_interpreter(name, count, least, shared_data):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path = shared_data / "weights" / FILES[name]
    model = kd.weights.pretrained(name, path=path)
    head = kd.heads.of(model)
    assert head.class_names[15] == "person" and len(head.class_names) == 21
    interpreter = litert.Interpreter(str(path))
    interpreter.allocate_tensors()
    (given,), (found,) = interpreter.get_input_details(), interpreter.get_output_details()
    voc = shared_data / "voc_mini"
    samples = kd.datasets.folder(voc / "images", voc / "masks", num_classes=21)
    agreements, right = [], []
    for sample in (samples[index] for index in range(count)):
        image, truth = sample["image"], sample["segmentation"]
        height, width = truth.shape
        canvas = np.full((513, 513, 3), 128, "uint8")
        canvas[:height, :width] = image
        interpreter.set_tensor(given["index"], canvas[None])
        interpreter.invoke()
        expected = interpreter.get_tensor(found["index"]).reshape(513, 513)[:height, :width]
        labels = scores(model, canvas)[:height, :width].argmax(-1)
        agreements.append((labels == expected).mean())
        right.append((labels == truth)[truth != 255].mean())
    assert np.mean(agreements) > least and np.mean(right) > 0.85


@pytest.mark.once
def test_xception_as_a_backbone(tmp_path):
    """From the network of DeepLab around it; the weights are read, and the images scaled."""
    found = shapes("deeplab")["deeplab/xception65_voc"]
    tensors = {key: np.zeros(shape, "float32") for key, shape in found.items()}
    tensors["xception_65/entry_flow/conv1_1/BatchNorm/beta"] += 0.5
    np.savez(tmp_path / "xception.npz", **tensors)
    backbone = kd.backbone("xception65", weights=tmp_path / "xception.npz")
    beta = backbone.get_layer("entry_flow_conv1_1_bn").beta
    assert (ops.convert_to_numpy(beta) == 0.5).all()
    assert backbone.get_layer("standardize").get_config()["mean"] == 127.5
    with pytest.raises(ValueError, match="torchvision does not have 'xception65'. Its authors do"):
        kd.backbone("xception65", weights="torchvision")

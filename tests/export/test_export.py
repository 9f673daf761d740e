"""Exports, run by their own runtimes, beside the models they came from."""

import json
import os
import subprocess
import sys
import types
import zipfile

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd

on_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="TensorFlow is the backend that exports"
)
SIZES = ((67, 91), (96, 64))
QUICK = (("onnx", "int8"),)
SMALLER = {"float16": 0.6, "int8": 0.35}  # and how large files are at most, of those in float32
HEAD = kd.heads.Segmentation(5, class_names=list("abcdé"))
FORMATS = {"savedmodel": "", "onnx": ".onnx", "openvino": ".xml", "litert": ".tflite"}


def lively(model):
    """Weights unlike those of a fresh network: scores of some size, busy batch norms."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                one = weight.name in ("gamma", "moving_variance")
                value = (
                    rng.uniform(0.8, 1.2, weight.shape) if one else rng.normal(size=weight.shape)
                )
                weight.assign(value if one else 0.1 * value)
        elif isinstance(layer, layers.Conv2D) and layer.kernel_size == (1, 1):
            layer.kernel.assign(rng.normal(0, 0.3, layer.kernel.shape))
    return model


def four():
    return {
        "segmentation": kd.heads.Segmentation(5),
        "depth": kd.heads.Depth(max_depth=30.0),
        "normals": kd.heads.Normals(concentration=True),
        "color": kd.heads.Colorization(grid=40),
        "early": kd.heads.Auxiliary(kd.heads.Segmentation(5), "P4", filters=4),
    }


def small_unet(backbone, heads):
    return kd.assemble(backbone, kd.decoders.unet((8, 8, 4, 4, 4)), heads)


BUILD = {
    "fcn8s": lambda backbone: (kd.fcn8s(backbone, heads=HEAD), HEAD),
    "deeplabv3plus": lambda backbone: (kd.deeplabv3plus(backbone, heads=HEAD, rates=(2,)), HEAD),
    "segnet": lambda backbone: (kd.segnet_basic(heads=HEAD, filters=4, kernel_size=3), HEAD),
    "unet": lambda backbone: (small_unet(backbone, HEAD), HEAD),
    "four": lambda backbone: (small_unet(backbone, four()), four()),
    "crf": lambda backbone: (kd.with_crf(kd.fcn32s(backbone, heads=HEAD), iterations=2), HEAD),
}


def network(name, backbone):
    model, heads = BUILD[name](backbone)
    return lively(model), heads


def photos(size, count=2):
    return np.random.default_rng(1).integers(0, 256, (count, *size, 3), dtype="uint8")


def expected(model, heads, images):
    """Results of `kd.decoded`, and the probability of the label from the logits."""
    images = images.astype("float32")
    product, output = kd.decoded(model, heads)(images), model(images)
    if not isinstance(heads, dict):
        wanted = {"labels": product, "confidence": keras.ops.max(keras.ops.softmax(output), -1)}
    else:
        confidence = keras.ops.max(keras.ops.softmax(output["segmentation"]), -1)
        wanted = {
            "segmentation_labels": product.pop("segmentation"),
            "segmentation_confidence": confidence,
            "normals_uncertainty": heads["normals"].uncertainty(output["normals"]),
            **product,
        }
    return {name: np.asarray(y) for name, y in wanted.items()}


def assert_same(found, wanted, share=1e-3):
    """Equal but for rounding, which decides about single labels: at most a `share` of them."""
    assert sorted(found) == sorted(wanted)
    for name, y in wanted.items():
        if name.endswith("labels"):
            assert found[name].dtype == np.uint8 and found[name].shape == y.shape
            assert (found[name] != y).mean() <= share
        elif name == "color":
            assert found[name].dtype == np.uint8
            np.testing.assert_allclose(found[name].astype(int), y, atol=1)
        else:
            assert found[name].dtype == np.float32
            close = np.isclose(found[name], y, atol=1e-3, rtol=1e-3)
            assert (~close).mean() <= share, np.abs(found[name] - y).max()


# Where two cells of a window are all but equal, rounding decides which one the decoder of SegNet
# writes to, and everything around it follows.
SHARE = {"segnet": 0.1}


def run(format, path, images):
    """An export in its own runtime, as its users call it."""
    if format == "onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(path)
        names = [y.name for y in session.get_outputs()]
        return dict(zip(names, session.run(names, {"images": images}), strict=True))
    if format == "savedmodel":
        import tensorflow as tf

        serve = tf.saved_model.load(str(path)).signatures["serving_default"]
        return {name: y.numpy() for name, y in serve(images=tf.constant(images)).items()}
    if format == "openvino":
        core = pytest.importorskip("openvino").Core()
        answers = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(images)
        return {y.get_any_name(): value for y, value in answers.items()}
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    return litert.Interpreter(str(path)).get_signature_runner()(images=images)


def onnx_about(path):
    session = pytest.importorskip("onnxruntime").InferenceSession(path)
    return session.get_modelmeta().custom_metadata_map["about"]


def exhaustive(*names):
    return [pytest.param(name, marks=pytest.mark.exhaustive) for name in names]


@on_tensorflow
@pytest.mark.parametrize("name", ["four", *exhaustive("fcn8s", "deeplabv3plus", "segnet", "unet")])
def test_any_size(backbone, tmp_path, capsys, name):
    for package in ("tf2onnx", "onnxruntime", "openvino", "ai_edge_litert"):
        pytest.importorskip(package)
    model, heads = network(name, backbone)
    before, images = model.get_weights(), [photos(size) for size in SIZES]
    wanted = [expected(model, heads, x) for x in images]
    for format in ("onnx", "openvino", "litert"):
        # A name that a user might give as well.
        path = tmp_path / f"{format}, µ" / f"model{FORMATS[format]}"
        found = getattr(kd.export, format)(model, path, heads)
        for x, y in zip(images, wanted, strict=True):
            assert_same(run(format, path, x), y, SHARE.get(name, 1e-3))
        assert sorted(found) == sorted(wanted[0])
        if name not in SHARE:
            assert all(value <= (1 if key == "color" else 1e-3) for key, value in found.items())
        assert f"{path} (" in capsys.readouterr().out
        files = {"model.xml", "model.bin"} if format == "openvino" else {path.name}
        assert {p.name for p in path.parent.iterdir()} == files
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))


ALONE = """
import sys, json, pathlib
sys.modules["keras"] = sys.modules["keras_dense"] = None  # cannot be imported
import numpy as np, tensorflow as tf
folder = pathlib.Path(sys.argv[1])
for name in json.loads(sys.argv[2]):
    module = tf.saved_model.load(str(folder / name))
    images = dict(np.load(folder / "images.npz"))
    for size, pixels in images.items():
        for signature in ("serving_default", "raw"):
            found = module.signatures[signature](images=tf.constant(pixels))
            found = {key: y.numpy() for key, y in found.items()}
            np.savez(folder / f"{name}_{signature}_{size}.npz", **found)
"""


@on_tensorflow
@pytest.mark.parametrize("names", [("fcn8s",), *exhaustive(tuple(BUILD)[1:])], ids=["one", "all"])
def test_savedmodels_in_a_fresh_process_without_keras(backbone, tmp_path, names):
    images = {str(n): photos(size) for n, size in enumerate(SIZES)}
    np.savez(tmp_path / "images.npz", **images)
    networks = {name: network(name, backbone) for name in names}
    for name, (model, heads) in networks.items():
        kd.export.savedmodel(model, tmp_path / name, heads)
    command = [sys.executable, "-c", ALONE, tmp_path, json.dumps(list(networks))]
    subprocess.run(command, check=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"})
    for name, (model, heads) in networks.items():
        for size, pixels in images.items():
            found = dict(np.load(tmp_path / f"{name}_serving_default_{size}.npz"))
            assert_same(found, expected(model, heads, pixels), SHARE.get(name, 1e-3))
            raw = dict(np.load(tmp_path / f"{name}_raw_{size}.npz"))
            wanted = model(pixels.astype("float32"))
            wanted = wanted if isinstance(heads, dict) else {"prediction": wanted}
            assert sorted(raw) == sorted(key for key in wanted if key != "early")
            for key, y in raw.items():
                close = np.isclose(y, wanted[key], rtol=1e-3, atol=1e-3)
                assert (~close).mean() <= SHARE.get(name, 0)


@on_tensorflow
def test_savedmodel_of_encoded_images(backbone, tmp_path):
    import tensorflow as tf

    model, heads = network("fcn8s", backbone)
    path = tmp_path / "served"
    for _ in range(2):  # The second takes the place of the first.
        kd.export.savedmodel(model, path, heads)
    module = tf.saved_model.load(str(path))
    images = photos((40, 50))
    files = [tf.io.encode_png(image).numpy() for image in images]
    assert_same(
        {k: y.numpy() for k, y in module.signatures["encoded"](tf.constant(files)).items()},
        expected(model, heads, images),
    )
    jpeg = tf.io.encode_jpeg(images[0], quality=95)
    decoded = tf.io.decode_jpeg(jpeg).numpy()[None]
    found = module.signatures["encoded"](encoded=jpeg[None])["labels"].numpy()
    assert (found != expected(model, heads, decoded)["labels"]).mean() < 1e-3
    deep = tf.io.encode_png(np.zeros((40, 50, 3), "uint16"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="has 16 bits a channel"):
        module.signatures["encoded"](encoded=deep[None])
    other = tf.io.encode_png(photos((40, 48))[0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be of one size; send them one"):
        module.signatures["encoded"](encoded=tf.stack([files[0], other]))
    about = json.loads((path / "assets" / "about.json").read_text(encoding="utf-8"))
    assert about["outputs"]["labels"]["classes"] == list("abcdé")
    assert [p.name for p in tmp_path.iterdir()] == ["served"]


@on_tensorflow
def test_fixed_size_and_what_travels_along(backbone, tmp_path):
    ort, ov = pytest.importorskip("onnxruntime"), pytest.importorskip("openvino")
    pytest.importorskip("tf2onnx")
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model, heads = network("fcn8s", backbone)
    images = photos((64, 80), 3)
    wanted, said = expected(model, heads, images), {}
    for format in ("onnx", "openvino", "litert"):
        path = tmp_path / f"model{FORMATS[format]}"
        getattr(kd.export, format)(model, path, heads, size=(64, 80), images=images)
        if format != "litert":
            assert_same(run(format, path, images), wanted)
        else:
            each = [run(format, path, images[n : n + 1]) for n in range(3)]
            assert_same({k: np.concatenate([y[k] for y in each]) for k in wanted}, wanted)
    session = ort.InferenceSession(tmp_path / "model.onnx")
    assert session.get_inputs()[0].shape[1:] == [64, 80, 3]
    said["onnx"] = session.get_modelmeta().custom_metadata_map["about"]
    network_ = ov.Core().read_model(tmp_path / "model.xml")
    said["openvino"] = network_.get_rt_info("about").astype(str)
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:
        said["litert"] = archive.read("about.json").decode()
    interpreter = litert.Interpreter(str(tmp_path / "model.tflite"))
    assert interpreter.get_input_details()[0]["shape"].tolist() == [1, 64, 80, 3]
    for text in said.values():
        about = json.loads(text)
        assert about["outputs"]["labels"]["classes"] == list("abcdé")
        assert about["outputs"]["labels"]["palette"] == HEAD.palette.tolist()
        assert about["inputs"]["images"]["channels"] == "RGB"


@on_tensorflow
@pytest.mark.parametrize(
    "name, last",
    [
        ("fcn8s", "upscore8"),
        pytest.param("deeplabv3plus", "upsample", marks=pytest.mark.exhaustive),
    ],
)
def test_labels_before_the_last_upsampling(backbone, tmp_path, name, last):
    """Those of the coarse scores, each repeated; all else as always."""
    for package in ("tf2onnx", "onnxruntime", "openvino", "ai_edge_litert"):
        pytest.importorskip(package)
    model, head = network(name, backbone)
    images = photos(SIZES[0])
    upsampling = model.get_layer(last)
    scores = keras.Model(model.input, upsampling.input)(images.astype("float32"))
    probabilities = np.asarray(keras.ops.softmax(scores))
    height, width = SIZES[0]
    wanted = {}
    for key, y in (("labels", probabilities.argmax(-1)), ("confidence", probabilities.max(-1))):
        y = y.repeat(upsampling.factor[0], 1).repeat(upsampling.factor[1], 2)
        wanted[key] = y[:, :height, :width]
    for format in ("onnx", "openvino", "litert"):
        path = tmp_path / f"model{FORMATS[format]}"
        export = getattr(kd.export, format)
        found = export(model, path, head, images=images, early_labels=True)
        assert_same(run(format, path, images), wanted)
        at_edges = (wanted["labels"] != expected(model, head, images)["labels"]).mean()
        assert found["labels"] == pytest.approx(at_edges, abs=1e-3) and at_edges > 0
    kd.export.savedmodel(model, tmp_path / "saved", head, early_labels=True)
    import tensorflow as tf

    signatures = tf.saved_model.load(str(tmp_path / "saved")).signatures
    served = signatures["serving_default"](images=tf.constant(images))
    assert_same({key: y.numpy() for key, y in served.items()}, wanted)
    raw = signatures["raw"](images=tf.constant(images))["prediction"]
    np.testing.assert_allclose(raw, model(images.astype("float32")), atol=1e-3, rtol=1e-3)


@on_tensorflow
def test_labels_before_an_upsampling_that_is_not_there(backbone, tmp_path):
    model, heads = network("unet", backbone)
    with pytest.raises(ValueError, match="ends in bilinear upsampling.* ends in Conv2D 'scores'"):
        kd.export.savedmodel(model, tmp_path / "m", heads, early_labels=True)
    depth = kd.heads.Depth()
    with pytest.raises(ValueError, match="needs a head that predicts labels"):
        kd.export.savedmodel(kd.fcn32s(backbone, heads=depth), tmp_path / "m", early_labels=True)
    assert not list(tmp_path.iterdir())


@on_tensorflow
@pytest.mark.exhaustive
def test_crf(backbone, tmp_path):
    """ONNX holds it, OpenVINO and LiteRT say what they lack."""
    pytest.importorskip("tf2onnx")
    model, heads = network("crf", backbone)
    kd.export.onnx(model, tmp_path / "crf.onnx", heads)
    for size in SIZES:
        images = photos(size)
        assert_same(run("onnx", tmp_path / "crf.onnx", images), expected(model, heads, images))
    for format, operations in (("openvino", "TensorScatterMin"), ("litert", "BitwiseAnd")):
        pytest.importorskip({"litert": "ai_edge_litert"}.get(format, format))
        with pytest.raises(ValueError, match=f"cannot hold 'fcn32s_crf'.* {operations}"):
            getattr(kd.export, format)(model, tmp_path / f"crf{FORMATS[format]}", heads)
    assert [p.name for p in tmp_path.iterdir()] == ["crf.onnx"]


@on_tensorflow
@pytest.mark.parametrize(
    "format, quantize, share",
    [
        pytest.param(f, q, s, marks=[] if (f, q) in QUICK else pytest.mark.exhaustive)
        for f in ("onnx", "openvino", "litert")
        for q, s in SMALLER.items()
    ],
)
def test_quantized(backbone, tmp_path, format, quantize, share):
    pytest.importorskip({"onnx": "tf2onnx", "litert": "ai_edge_litert"}.get(format, format))
    if (format, quantize) == ("openvino", "int8"):
        pytest.importorskip("nncf")
    x = image = keras.Input((None, None, 3))
    for _ in range(5):
        x = layers.Conv2D(64, 3, strides=2, activation="relu", padding="same")(x)
    backbone = kd.backbone(keras.Model(image, x), preprocessing="tf")
    heads = kd.heads.Depth()
    model = lively(kd.fcn32s(backbone, heads=heads))
    suffix, sizes = FORMATS[format], []
    images = photos((64, 64), 4)
    for kind in (None, quantize):
        path = tmp_path / f"{kind}{suffix}"
        found = getattr(kd.export, format)(model, path, heads, quantize=kind, images=images)
        sizes.append(path.with_suffix(".bin" if format == "openvino" else suffix).stat().st_size)
    assert sizes[1] < share * sizes[0]
    if format == "onnx":
        assert "depth" in json.loads(onnx_about(path))["outputs"]
    assert 0 < found["depth"] < 0.2  # of 10 meters
    np.testing.assert_allclose(
        run(format, path, images)["depth"], model(images.astype("float32")), atol=0.3
    )


@on_tensorflow
@pytest.mark.parametrize("mode, classes", [("binary", 1), ("multilabel", 3)])
def test_other_modes(backbone, tmp_path, mode, classes):
    head = kd.heads.Segmentation(classes, mode=mode)
    model = lively(kd.fcn32s(backbone, heads=head))
    kd.export.savedmodel(model, tmp_path / "m", head)
    import tensorflow as tf

    module = tf.saved_model.load(str(tmp_path / "m"))
    images = photos((33, 47))
    found = module.signatures["serving_default"](images=tf.constant(images))
    logits = model.predict(images, verbose=0)
    logits = logits[..., 0] if mode == "binary" else logits
    np.testing.assert_array_equal(found["labels"], logits > 0)
    probability = 1 / (1 + np.exp(-np.abs(logits)))
    np.testing.assert_allclose(found["confidence"], probability, atol=1e-4)


@on_tensorflow
def test_mixed_precision_leaves_in_float32(tmp_path):
    """The same weights, computed in float32."""
    import tensorflow as tf

    def build():
        image = keras.Input((None, None, 3))
        x = layers.Rescaling(1 / 255)(image)
        x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
        x = layers.BatchNormalization(name="norm")(x)
        x = layers.Dropout(0.5)(layers.ReLU()(x))
        return keras.Model(image, layers.Conv2D(4, 1, dtype="float32", name="score")(x))

    keras.config.set_dtype_policy("mixed_float16")
    model = lively(build())
    keras.config.set_dtype_policy("float32")
    plain = build()
    plain.set_weights(model.get_weights())
    head = kd.heads.Segmentation(4)
    kd.export.savedmodel(model, tmp_path / "m", head)
    module = tf.saved_model.load(str(tmp_path / "m"))
    images = photos((20, 30))
    raw = module.signatures["raw"](images=tf.constant(images))["prediction"].numpy()
    np.testing.assert_allclose(raw, plain.predict(images, verbose=0), atol=1e-5)
    saved = (tmp_path / "m" / "saved_model.pb").read_bytes()
    assert b"Conv2D" in saved
    assert not any(word in saved for word in (b"FusedBatchNorm", b"Rsqrt", b"RandomUniform"))


@on_tensorflow
@pytest.mark.parametrize("format", ["savedmodel", *exhaustive("onnx", "openvino", "litert")])
def test_upsampling_in_one_operation(tmp_path, format):
    """Ours and those of Keras, with sizes that are not known; factors that are not the same."""
    pytest.importorskip({"onnx": "tf2onnx", "litert": "ai_edge_litert"}.get(format, format))
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(6, 3, strides=2, padding="same")(layers.Rescaling(1 / 255)(image))
    x = layers.MaxPooling2D(6)(x)
    x = kd.layers.BilinearUpsampling((2, 3))(x)
    x = layers.UpSampling2D((3, 2), interpolation="bilinear")(x)
    x = layers.UpSampling2D(2, interpolation="nearest")(layers.Conv2D(5, 1)(x))
    model = lively(keras.Model(image, x))
    path = tmp_path / f"m{FORMATS[format]}"
    getattr(kd.export, format)(model, path, HEAD, images=photos((48, 60)))
    for size in ((48, 60), (72, 36)):
        images = photos(size)
        assert_same(run(format, path, images), expected(model, HEAD, images))


@on_tensorflow
def test_a_group_for_each_channel(tmp_path):
    """Keras compiles such convolutions by XLA, which ONNX knows nothing of."""
    pytest.importorskip("tf2onnx")
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 255)(image)
    x = layers.Conv2D(6, 3, groups=3, padding="same", bias_initializer="ones")(x)
    model = lively(keras.Model(image, layers.Conv2D(5, 1)(x)))
    kd.export.onnx(model, tmp_path / "m.onnx", HEAD)
    images = photos((20, 30))
    assert_same(run("onnx", tmp_path / "m.onnx", images), expected(model, HEAD, images))


class Erfinv(layers.Layer):
    def call(self, x):
        return keras.ops.erfinv(0.5 * keras.ops.tanh(x))


@on_tensorflow
@pytest.mark.parametrize("format", ["onnx", "openvino", "litert"])
def test_operations_that_a_format_lacks(tmp_path, format):
    pytest.importorskip({"onnx": "tf2onnx", "litert": "ai_edge_litert"}.get(format, format))
    image = keras.Input((None, None, 3))
    model = keras.Model(image, Erfinv()(layers.Conv2D(5, 1)(image)), name="odd")
    path = tmp_path / f"m{FORMATS[format]}"
    path.write_text("an older one")
    with pytest.raises(ValueError, match="cannot hold 'odd'.* TensorFlow operations Erfinv"):
        getattr(kd.export, format)(model, path, HEAD)
    assert path.read_text() == "an older one" and len(list(tmp_path.iterdir())) == 1


@on_tensorflow
def test_a_wrong_graph_is_not_written(backbone, tmp_path, monkeypatch):
    from keras_dense.export import product

    model, heads = network("fcn8s", backbone)
    other = kd.surgery.rebuild(model)
    other.set_weights([w + 0.3 for w in other.get_weights()])
    monkeypatch.setattr(product, "fold_batch_norm", lambda m: other)
    with pytest.raises(RuntimeError, match="computes something else: .* Nothing was written"):
        kd.export.savedmodel(model, tmp_path / "m", heads)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_arguments(backbone, tmp_path, format):
    """Checked first, on every backend."""
    export, path = getattr(kd.export, format), tmp_path / f"m{FORMATS[format]}"
    model = kd.fcn32s(backbone, heads=HEAD)
    for heads in ({"objects": HEAD}, kd.heads.Segmentation(4)):
        with pytest.raises(ValueError, match="`heads` must (be those of|have the structure of)"):
            export(model, path, heads)
    with pytest.raises(TypeError, match="inherits from kd.heads.Head"):
        export(model, path, types.SimpleNamespace(channels=5))
    with pytest.raises(TypeError, match=rf"kd.export.{format}\(model, path, heads\)"):
        export(model, HEAD, path)
    for size in ((64,), (64, 0), 64, (64, 64, 3)):
        with pytest.raises(ValueError, match=r"`size` must be \(height, width\)"):
            export(model, path, size=size)
    for images in (np.zeros((1, 64, 64, 3)), np.zeros((64, 64, 3), "uint8"), [[0]]):
        with pytest.raises(ValueError, match="`images` must be a uint8 array"):
            export(model, path, images=images)
    if format != "savedmodel":
        with pytest.raises(ValueError, match="`quantize` must be None or 'float16'"):
            export(model, path, quantize="int4")
    if format in ("onnx", "openvino"):
        with pytest.raises(ValueError, match="needs `images`, on which .* Received: images=None"):
            export(model, path, quantize="int8")
    with pytest.raises(TypeError, match="`model` must be a functional"):
        export("model.keras", path, HEAD)
    if format == "savedmodel":
        (tmp_path / "photographs").mkdir()
        with pytest.raises(ValueError, match="`folder` must be new, or a SavedModel"):
            export(model, tmp_path / "photographs")
    else:
        with pytest.raises(ValueError, match=f"`file` must end in '{FORMATS[format]}'"):
            export(model, tmp_path / "m.h5")


@on_tensorflow
@pytest.mark.parametrize("format", FORMATS)
def test_a_model_that_gives_nan_is_to_blame_itself(tmp_path, format):
    """Training has diverged: the error says so, and names the weights, before anything is built."""
    pytest.importorskip({"onnx": "tf2onnx", "litert": "ai_edge_litert"}.get(format, format))
    image = keras.Input((None, None, 3))
    bad = layers.Conv2D(5, 1, name="bad")
    model = keras.Model(image, bad(layers.Conv2D(4, 1, name="good")(image)))
    bad.bias.assign([np.nan, 0.0, 0.0, 0.0, 0.0])
    message = "model itself gives NaN or infinity for 20 % of its output .*not finite: bad/bias"
    with pytest.raises(ValueError, match=message):
        getattr(kd.export, format)(model, tmp_path / f"m{FORMATS[format]}", HEAD)
    assert not list(tmp_path.iterdir())


@pytest.mark.once
def test_numbers_that_are_not_finite_and_whose_fault_it_is():
    from keras_dense.export.check import expect_finite, expect_same

    fine = {"a/kernel": np.ones(3)}
    expect_finite({"prediction": np.array([[0.0, -np.inf]])}, fine)  # a class that is ruled out
    with pytest.raises(ValueError, match="for 25 % of its output 'x', .* its weights are finite"):
        expect_finite({"x": np.array([np.inf, 1, 1, 1])}, fine)
    y = {"depth": np.full(10, 1e-2, "float32")}
    expect_same(y, {"depth": y["depth"] * 1.005})
    with pytest.raises(RuntimeError, match="100 % of 'depth' differ from the model, by up to 0.01"):
        expect_same(y, {"depth": 0 * y["depth"]})  # though all of it is small
    both = {"x": np.array([-np.inf, 1.0])}
    expect_same(both, {"x": both["x"].copy()})
    with pytest.raises(RuntimeError, match="100 % of 'labels' differ from the model. Nothing"):
        expect_same(
            {"labels": np.zeros(4, "uint8")}, {"labels": np.ones(4, "uint8")}, labels=["labels"]
        )


@pytest.mark.once
@pytest.mark.parametrize("format", FORMATS)
def test_heads_of_another_task_with_as_many_channels(backbone, tmp_path, format):
    path = tmp_path / f"m{FORMATS[format]}"
    depth = kd.fcn32s(backbone, heads=kd.heads.Depth())
    with pytest.raises(
        ValueError, match="its output belongs to a head Depth.*Received: Segmentation"
    ):
        getattr(kd.export, format)(depth, path, kd.heads.Segmentation(1))
    heads = {"a": kd.heads.Normals()}
    both = kd.fcn32s(backbone, heads=heads)
    with pytest.raises(
        ValueError, match="its output 'a' belongs to a head Normals.*Received: Segmentation"
    ):
        getattr(kd.export, format)(both, path, {"a": kd.heads.Segmentation(3)})


@pytest.mark.once
def test_exports_take_the_place_of_exports_only(backbone, tmp_path):
    model = kd.fcn32s(backbone, heads=HEAD)
    folder = tmp_path / "served"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"")
    (folder / "model.keras").write_bytes(b"a model")
    with pytest.raises(
        ValueError, match="which is replaced.*served', which holds 'model.keras', too"
    ):
        kd.export.savedmodel(model, folder, HEAD)
    (tmp_path / "m.bin").write_bytes(b"weights of something else")
    with pytest.raises(ValueError, match="where 'm.bin', where the weights go, is no file of some"):
        kd.export.openvino(model, tmp_path / "m.xml", HEAD)
    (tmp_path / "m.onnx").mkdir()
    with pytest.raises(ValueError, match="`file` must be no folder"):
        kd.export.onnx(model, tmp_path / "m.onnx", HEAD)
    assert (folder / "model.keras").read_bytes() == b"a model"


@pytest.mark.once
def test_images_and_sizes_at_the_door(backbone, tmp_path):
    from keras_dense.export.arguments import _checked_images, _checked_size

    model, path = kd.fcn32s(backbone, heads=HEAD), tmp_path / "m.onnx"
    x = photos((32, 32))
    for given in (x, x.tolist(), keras.ops.convert_to_tensor(x)):
        found = _checked_images(given, (None, None, 3))
        assert isinstance(found, np.ndarray) and found.dtype == np.uint8
        np.testing.assert_array_equal(found, x)
    assert _checked_size(model, (np.int64(64), np.int32(32))) == (64, 32)
    with pytest.raises(ValueError, match="`images` must show something.* Received: 7 everywhere"):
        kd.export.onnx(model, path, HEAD, images=np.full((1, 32, 32, 3), 7, "uint8"))
    for wrong in (x / 255, x.astype("uint16"), x[0]):
        with pytest.raises(ValueError, match="`images` must be a uint8 array"):
            kd.export.onnx(model, path, HEAD, images=wrong)


@on_tensorflow
def test_messages_of_packages_are_back_afterwards(tmp_path, caplog):
    import logging
    import threading

    pytest.importorskip("tf2onnx")
    from keras_dense.export.onnx import _quiet

    log = logging.getLogger("tf2onnx.tfonnx")
    before = log.level, list(log.filters), logging.getLogger("tf2onnx").level
    with _quiet("tf2onnx"):
        log.error("not heard")
        other = threading.Thread(target=log.error, args=("heard",))
        other.start()
        other.join()
    log.error("heard, too")
    assert [r.message for r in caplog.records if "heard" in r.message] == ["heard", "heard, too"]
    assert (log.level, list(log.filters), logging.getLogger("tf2onnx").level) == before


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="there it works")
@pytest.mark.parametrize("format", FORMATS)
def test_other_backends_say_where_to_go(backbone, tmp_path, format):
    model = kd.fcn32s(backbone, heads=HEAD)
    with pytest.raises(RuntimeError, match="TensorFlow backend only.* KERAS_BACKEND=tensorflow"):
        getattr(kd.export, format)(model, tmp_path / f"m{FORMATS[format]}", HEAD)

"""Files of weights of every format, made by their own frameworks, and files that are none."""

import io
import json
import os
import pathlib
import runpy
import tarfile
import zipfile

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._weights.read import read_file

pytestmark = pytest.mark.once

HERE = pathlib.Path(__file__).parent
FIXTURES = HERE / "fixtures"
MAKE = runpy.run_path(str(HERE / "make_fixtures.py"))
ARRAYS = MAKE["arrays"]()
KERNEL = ARRAYS["conv1.weight"]
ALL = sorted(path for path in FIXTURES.iterdir() if ".data-" not in path.name)


def same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, x in expected.items():
        assert found[name].dtype == x.dtype and found[name].shape == x.shape, name
        np.testing.assert_array_equal(found[name], x, err_msg=name)
        assert found[name].flags.c_contiguous and found[name].dtype.isnative


@pytest.mark.parametrize(
    "name", ["zip.pth", "old.pth", "tiny.safetensors", "parts.safetensors.index.json"]
)
def test_files_of_pytorch_and_safetensors(name):
    same(kd.weights.read(FIXTURES / name), ARRAYS)


@pytest.mark.parametrize("name", ["zip.pth", "old.pth"])
def test_a_checkpoint_of_a_training(name):
    contents = read_file(FIXTURES / name)
    assert contents.meta["meta"]["CLASSES"] == ["road", "sky"]
    assert contents.meta["meta"]["PALETTE"] == [[128, 64, 128], [70, 130, 180]]
    assert contents.meta["left_out"] == ["optimizer"]
    everything = kd.weights.read(FIXTURES / name, everything=True)
    assert "state_dict.module.conv1.weight" in everything
    np.testing.assert_array_equal(everything["optimizer.state.0.momentum"], np.ones(5))


def test_metadata_of_safetensors():
    assert read_file(FIXTURES / "tiny.safetensors").meta == {"from": "a test"}
    assert read_file(FIXTURES / "parts.safetensors.index.json").meta == {"total_size": 480}


def test_caffe():
    expected = {
        "conv/1.0": KERNEL,
        "conv/1.1": ARRAYS["conv1.bias"].astype("float64"),
        "conv2.0": ARRAYS["conv2.weight"].astype("float32"),
    }
    same(kd.weights.read(FIXTURES / "v2.caffemodel"), expected)
    assert read_file(FIXTURES / "v2.caffemodel").meta["types"] == {
        "conv/1": "Convolution",
        "conv2": "Convolution",
    }


def test_caffe_before_shapes_had_any_length():
    expected = {
        "conv/1.0": KERNEL,
        "conv/1.1": ARRAYS["conv1.bias"].reshape(1, 1, 1, 4),
        "conv2.0": ARRAYS["conv2.weight"].astype("float32"),
    }
    same(kd.weights.read(FIXTURES / "v1.caffemodel"), expected)
    types = read_file(FIXTURES / "v1.caffemodel").meta["types"]
    assert types == {"conv/1": "Convolution", "conv2": "Deconvolution"}
    same(kd.weights.read(FIXTURES / "v0.caffemodel"), {"conv/1.0": KERNEL})


TENSORFLOW = {
    "brain": "bfloat16",
    "conv1/biases": ARRAYS["conv1.bias"],
    "conv1/weights": KERNEL.transpose(2, 3, 1, 0),
    "half": ARRAYS["conv2.weight"],
}


def check_tensorflow(found, names):
    assert sorted(found) == sorted(names)
    for name in set(names) & set(TENSORFLOW) - {"brain"}:
        np.testing.assert_array_equal(found[name], TENSORFLOW[name])
        assert found[name].dtype == TENSORFLOW[name].dtype
    assert found["brain"].dtype == "float32"
    np.testing.assert_allclose(found["brain"], ARRAYS["conv1.bias"], rtol=2**-8)


@pytest.mark.parametrize(
    "name", ["model.ckpt", "model.ckpt.index", "model.ckpt.data-00000-of-00001"]
)
def test_a_checkpoint_of_tensorflow(name):
    contents = read_file(FIXTURES / name)
    check_tensorflow(contents.tensors, [*TENSORFLOW, "global_step"])
    assert contents.tensors["global_step"] == 7
    assert contents.meta["left_out"] == ["conv1/weights/Momentum"]
    assert "conv1/weights/Momentum" in kd.weights.read(FIXTURES / name, everything=True)


def checkpoint_files():
    return sorted(FIXTURES.glob("model.ckpt.*"))


def test_a_folder_and_an_archive_of_tensorflow(tmp_path):
    folder, archive = tmp_path / "folder", tmp_path / "model.tar.gz"
    folder.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for path in checkpoint_files():
            (folder / path.name).write_bytes(path.read_bytes())
            tar.add(path, f"../deeplab/{path.name}")
        tar.add(FIXTURES / "graph.pb", "deeplab/frozen_inference_graph.pb")
    for path in (folder, archive):
        check_tensorflow(kd.weights.read(path), [*TENSORFLOW, "global_step"])
    (folder / "model.ckpt-2.index").write_bytes(b"")
    with pytest.raises(IsADirectoryError, match="several checkpoints: 'model.ckpt-2.index'"):
        kd.weights.read(folder)
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt"\n')
    check_tensorflow(kd.weights.read(folder), [*TENSORFLOW, "global_step"])


def test_a_saved_model(tmp_path):
    (tmp_path / "variables").mkdir()
    for path in checkpoint_files():
        name = path.name.replace("model.ckpt", "variables")
        (tmp_path / "variables" / name).write_bytes(path.read_bytes())
    check_tensorflow(kd.weights.read(tmp_path), [*TENSORFLOW, "global_step"])


def test_a_frozen_graph():
    contents = read_file(FIXTURES / "graph.pb")
    check_tensorflow(contents.tensors, [*TENSORFLOW, "filled"])
    np.testing.assert_array_equal(contents.tensors["filled"], np.full((2, 3), 0.5, "float32"))
    assert contents.meta["constants"] == {"global_step": 7}
    assert contents.meta["operations"] == {"Const": 7, "Identity": 1}
    assert "global_step" in kd.weights.read(FIXTURES / "graph.pb", everything=True)


def test_quantized_weights_of_litert():
    contents = read_file(FIXTURES / "int8.tflite")
    kernel = next(x for x in contents.tensors.values() if x.ndim == 4)
    expected = KERNEL.transpose(0, 2, 3, 1)
    step = np.abs(expected).max((1, 2, 3), keepdims=True) / 127
    assert np.all(np.abs(kernel - expected) <= step / 2 + 1e-6)
    name = next(name for name, x in contents.tensors.items() if x.ndim == 4)
    quantization = contents.meta["quantization"][name]
    assert quantization.values.dtype == "int8" and quantization.axis == 0
    np.testing.assert_allclose(quantization.scale, step.ravel(), rtol=1e-5)
    np.testing.assert_array_equal(quantization.real(), kernel)
    (image,) = contents.meta["inputs"]
    assert image not in contents.tensors


@pytest.fixture(scope="module")
def keras_model():
    inner = keras.Sequential([keras.Input((None, None, 4)), keras.layers.Conv2D(2, 1, name="last")])
    image = keras.Input((None, None, 3), name="image")
    y = keras.layers.Conv2D(4, 3, name="conv1")(image)
    y = keras.layers.BatchNormalization(name="bn1")(y)
    model = keras.Model(image, inner(y), name="tiny")
    model.compile("adam", "mse")
    model.fit(np.ones((1, 5, 5, 3)), np.ones((1, 3, 3, 2)), verbose=0)
    return model


@pytest.mark.parametrize("name", ["a.weights.h5", "a.keras", "a.h5"])
def test_keras(keras_model, tmp_path, name):
    path = tmp_path / name
    (keras_model.save_weights if ".weights" in name else keras_model.save)(path)
    found = kd.weights.read(path)
    expected = {}
    for layer in keras_model.layers:
        for index, weight in enumerate(layer.weights):
            inside = f"last/{index}" if "sequential" in layer.name else index
            own = f"{layer.name}/{weight.path.removeprefix('tiny/')}"
            key = own if name == "a.h5" else f"{layer.name}/{inside}"
            expected[key] = keras.ops.convert_to_numpy(weight)
    assert sorted(found) == sorted(expected)
    for key, x in expected.items():
        np.testing.assert_array_equal(found[key], x)
    left_out = read_file(path).meta["left_out"]
    assert left_out and all(key.startswith("optimizer") for key in left_out)
    assert len(kd.weights.read(path, everything=True)) == len(found) + len(left_out)


def test_numpy(tmp_path):
    swapped = {name: x.astype(x.dtype.newbyteorder(">")) for name, x in ARRAYS.items()}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **swapped, words=np.array(["a", "b"]))
        same(kd.weights.read(tmp_path / "a.npz"), ARRAYS)
        assert read_file(tmp_path / "a.npz").meta == {"words": ["a", "b"]}
    np.save(tmp_path / "a.npy", np.asfortranarray(swapped["conv1.weight"]))
    same(kd.weights.read(tmp_path / "a.npy"), {"arr_0": KERNEL})
    np.save(tmp_path / "b.npy", {"conv1": [swapped["conv1.weight"], np.float32(2)]})
    same(kd.weights.read(tmp_path / "b.npy"), {"conv1.0": KERNEL})


def test_the_name_of_a_file_does_not_matter(tmp_path):
    for path in ALL:
        if path.suffix not in (".index", ".json", ".gz"):
            copy = tmp_path / f"{path.name}.bin"
            copy.write_bytes(path.read_bytes())
            found, expected = kd.weights.read(str(copy)), kd.weights.read(path)
            same(found, expected)


# --- Files that are something else ----------------------------------------------------------


def zipped(**members):
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return found.getvalue()


def encrypted():
    data = bytearray((FIXTURES / "zip.pth").read_bytes())
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:
        data[at + 8] |= 1
    return bytes(data)


ONNX = MAKE["field"](1, 8) + MAKE["field"](2, "pytorch") + MAKE["field"](7, b"\x0a\x00")
ONNX += MAKE["field"](8, b"\x10\x11")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1234\n"
HTML = b"\n<!DOCTYPE html><html><head><title>Google Drive - Virus scan</title></head></html>"
SCRIPT = zipped(net__data__pkl=b"", **{"net__data.pkl": b"N.", "net__constants.pkl": b"N."})


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty. Download it again"),
        (HTML, "is a web page ('Google Drive - Virus scan'), as a host sends it instead"),
        (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "is an XML document"),
        (LFS, "is a pointer of Git LFS, of 69 bytes"),
        (ONNX, "looks like an ONNX network"),
        (MAKE["field"](1, 1) + MAKE["field"](2, b"abc"), "the program of a SavedModel"),
        (b"\x89PNG\r\n\x1a\n\0\0", "looks like a PNG image"),
        (b"7z\xbc\xaf\x27\x1c\0\0", "looks like a 7z archive: unpack it"),
        (b"epochs: 3\nlr: 0.1\n", "is text, which begins with 'epochs: 3"),
        (b'{"encoder_name": "resnet34"}', 'is text, which begins with \'{"encoder_name"'),
        (bytes(5000), "begins with zeros only"),
        (bytes(range(1, 256)) * 9 + b"\0", "is of no known format; it begins with b'\\x01"),
        (zipped(readme=b"x"), "is a zip file of something else, with 'readme'"),
        (zipped(), "is a zip file of something else, with nothing in it"),
        (SCRIPT, "looks like a TorchScript archive"),
        (encrypted(), "is an encrypted zip file. Decrypt it first"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\xff", "is a truncated or damaged archive, or a file that gzip"),
        (b"\x80\x02N.", "has no tensors (pickle of NumPy arrays, NoneType)"),
        (MAKE["field"](100, MAKE["field"](1, "a")), "is a network of Caffe without weights"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "model.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        kd.weights.read(path)
    assert str(error.value).startswith(f"'{path}' ") and message in str(error.value)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_bad_truncated_files(path, tmp_path):
    whole = path.read_bytes()
    for name in (path.name, *(["model.ckpt.data-00000-of-00001"] if "ckpt" in path.name else [])):
        (tmp_path / name).write_bytes((FIXTURES / name).read_bytes())
    for part in FIXTURES.glob("part-*"):
        (tmp_path / part.name).write_bytes(part.read_bytes())
    last = 200 if path.suffix == ".tflite" else 1  # Names of operations are not read.
    for size in (len(whole) - last, len(whole) * 9 // 10, len(whole) // 2, len(whole) // 10):
        (tmp_path / path.name).write_bytes(whole[:size])
        with pytest.raises(ValueError, match="truncated|damaged|no known format|Download|is text"):
            kd.weights.read(tmp_path / path.name)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_bad_bytes_are_errors_or_read(path, tmp_path):
    """No fault of a file becomes an error of another kind, a crash or gigabytes."""
    rng = np.random.default_rng(0)
    whole = np.frombuffer(path.read_bytes(), "uint8")
    for part in [*FIXTURES.glob("part-*"), *FIXTURES.glob("*.data-*")]:
        (tmp_path / part.name).write_bytes(part.read_bytes())
    for _ in range(int(os.environ.get("KERAS_DENSE_FUZZ", 25))):
        data = whole.copy()
        places = rng.integers(0, len(data), rng.integers(1, 4))
        data[places] = rng.choice([0, 1, 127, 128, 255, *rng.integers(0, 256, 5)], len(places))
        (tmp_path / path.name).write_bytes(data.tobytes())
        try:
            found = kd.weights.read(tmp_path / path.name)
        except (ValueError, FileNotFoundError) as error:
            assert path.name in str(error)
        else:
            assert all(isinstance(x, np.ndarray) for x in found.values())


def test_bad_paths(tmp_path):
    with pytest.raises(ValueError, match="`path` must be the path of a file of weights. Received"):
        kd.weights.read({"a": 1})
    with pytest.raises(ValueError, match="`everything` must be True or False. Received"):
        kd.weights.read(FIXTURES / "zip.pth", everything="no")
    with pytest.raises(
        FileNotFoundError, match="`path` must be a file that exists. Received: path"
    ):
        kd.weights.read(tmp_path / "model.pth")
    with pytest.raises(IsADirectoryError, match="is a folder without a checkpoint of TensorFlow"):
        kd.weights.read(tmp_path)


def test_bad_parts_that_are_missing(tmp_path):
    for name in ("model.ckpt.index", "parts.safetensors.index.json"):
        (tmp_path / name).write_bytes((FIXTURES / name).read_bytes())
    with pytest.raises(FileNotFoundError, match="'model.ckpt.data-00000-of-00001', which holds"):
        kd.weights.read(tmp_path / "model.ckpt")
    with pytest.raises(FileNotFoundError, match="index of several files, and 'part-1.safetensors'"):
        kd.weights.read(tmp_path / "parts.safetensors.index.json")


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/passwd", "a\\b", "..", "", 3])
def test_bad_index_that_leads_elsewhere(tmp_path, name):
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match="names a file that does not lie beside it"):
        kd.weights.read(path)


def test_bad_archives(tmp_path):
    path = tmp_path / "a.tar"
    for names, message in (
        (["pickle", "storages", "tensors"], "a checkpoint of PyTorch before 0.1.10"),
        (["a.index", "b.index"], "an archive with 2 checkpoints \\('a.index', 'b.index'\\)"),
        (["readme"], "an archive with no checkpoints \\('readme'\\)"),
        (["a.pb"], "is an archive, and 'a.pb' within is empty"),
    ):
        with tarfile.open(path, "w") as tar:
            for name in names:
                tar.addfile(tarfile.TarInfo(name))
        with pytest.raises(ValueError, match=message):
            kd.weights.read(path)


def test_bad_compression_is_named(tmp_path):
    path = tmp_path / "packed.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"x")
    content = bytearray(path.read_bytes())
    # The compression of the local header and of the directory: one that no Python knows.
    for start, place in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        at = content.index(start) + place
        content[at : at + 2] = (99).to_bytes(2, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="packed.pth' is a zip file that Python cannot open"):
        kd.weights.read(path)

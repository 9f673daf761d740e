"""The command line, on whole folders with all that goes wrong in them."""

import errno
import io
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import files, main
from keras_dense.datasets.depth_folder import read_normals

PIL = pytest.importorskip("PIL.Image")
HEADS = {
    "labels": kd.heads.Segmentation(5, class_names=list("abcde")),
    "depth": kd.heads.Depth(),
    "normals": kd.heads.Normals(),
    "colors": kd.heads.Colorization(grid=40),
    "tags": kd.heads.Segmentation(3, mode="multilabel"),
}


def photo(height=45, width=67, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype="uint8")


def saved(folder, model):
    folder.mkdir(exist_ok=True)
    model.save(folder / "model.keras")
    return str(folder / "model.keras")


@pytest.fixture
def folder(tmp_path):
    """Three photos."""
    path = tmp_path / "in"
    path.mkdir()
    for n in range(3):
        PIL.fromarray(photo(45 + n, 67, n)).save(path / f"{n}.png")
    return path


@pytest.fixture
def labels(backbone, tmp_path):
    """A segmentation in a file."""
    head = HEADS["labels"]
    model = kd.fcn32s(backbone, heads=head)
    return saved(tmp_path / "model", model), model, head


def names(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


@pytest.mark.everywhere
def test_labels_of_a_folder(labels, folder, tmp_path, capsys):
    path, model, head = labels
    out = tmp_path / "deep" / "out"
    assert main(["predict", path, str(folder), "--out", str(out), "--overlay"]) == 0
    assert names(out) == sorted(
        [f"{n}.png" for n in range(3)] + [f"overlay/{n}.png" for n in range(3)]
    )
    for n in range(3):
        written = PIL.open(out / f"{n}.png")
        expected = model.predict_on_batch(photo(45 + n, 67, n)[None])[0].argmax(-1)
        np.testing.assert_array_equal(np.array(written), expected)
        assert written.mode == "P"
        np.testing.assert_array_equal(np.array(written.convert("RGB")), head.draw(expected))
        assert np.array(PIL.open(out / "overlay" / f"{n}.png")).shape == (45 + n, 67, 3)
    # A second start does what is missing only; --overwrite does all.
    before = (out / "0.png").stat().st_mtime_ns
    (out / "1.png").unlink()
    assert main(["predict", path, str(folder), "--out", str(out)]) == 0
    assert "2 images were done before" in capsys.readouterr().out
    assert (out / "1.png").exists() and (out / "0.png").stat().st_mtime_ns == before
    assert main(["predict", path, str(folder), "--out", str(out), "--overwrite"]) == 0
    assert (out / "0.png").stat().st_mtime_ns > before


def test_every_head_from_tiles_and_from_scales(backbone, folder, tmp_path):
    model = kd.fcn32s(backbone, heads=HEADS)
    path = saved(tmp_path / "model", model)
    whole, tiled, scaled = (tmp_path / name for name in ("whole", "tiled", "scaled"))
    one = str(folder / "0.png")
    assert main(["predict", path, one, "--out", str(whole), "--overlay"]) == 0
    assert main(["predict", path, one, "--out", str(tiled), "--tile", "512"]) == 0
    assert main(["predict", path, one, "--out", str(scaled), "--scales", "1", "--flip"]) == 0
    expected = kd.decoded(model, HEADS).predict_on_batch(photo()[None])
    expected = {key: keras.ops.convert_to_numpy(x)[0] for key, x in expected.items()}
    for out in (whole, tiled):
        np.testing.assert_array_equal(np.array(PIL.open(out / "labels/0.png")), expected["labels"])
        np.testing.assert_allclose(
            kd.datasets.read_depth(out / "depth/0.png"), expected["depth"], atol=6e-4
        )
        found = read_normals(out / "normals/0.png")
        assert np.abs(found - expected["normals"]).max() < 0.012
        np.testing.assert_array_equal(np.array(PIL.open(out / "colors/0.png")), expected["colors"])
        np.testing.assert_array_equal(np.load(out / "tags/0.npy"), expected["tags"])
    assert len(names(whole)) == 10 and len(names(tiled)) == len(names(scaled)) == 5


def test_broken_photos_do_not_stop_the_others(labels, folder, tmp_path, capsys):
    content = io.BytesIO()
    PIL.fromarray(photo(200, 200)).save(content, "JPEG")
    (folder / "cut.jpg").write_bytes(content.getvalue()[:3000])
    (folder / "empty.png").write_bytes(b"")
    PIL.fromarray(np.zeros((9, 9), "uint16")).save(folder / "deep.png")
    out = tmp_path / "out"
    assert main(["predict", labels[0], str(folder), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert "3 of 6 images failed" in said
    assert "cut.jpg: cannot be read as an image" in said
    assert "empty.png: cannot be read as an image" in said
    assert "deep.png: has more than 8 bits per channel" in said
    assert names(out) == ["0.png", "1.png", "2.png"]


def test_unusual_photos(labels, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    rgb = photo(40, 70)
    PIL.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    alpha = np.concatenate([rgb, np.zeros((40, 70, 1), "uint8")], -1)
    PIL.fromarray(alpha).save(folder / "alpha.png")
    PIL.fromarray(rgb).convert("L").save(folder / "gray.png")
    PIL.fromarray(rgb[:1, :1]).save(folder / "one.png")
    exif = PIL.Exif()
    exif[0x0112] = 6  # turned by a quarter
    PIL.fromarray(rgb).save(folder / "turned.png", exif=exif)
    with pytest.warns(UserWarning, match="alpha.png: has 2800 transparent pixels"):
        assert main(["predict", labels[0], str(folder), "--out", str(out)]) == 0
    found = {path.stem: np.array(PIL.open(path)) for path in out.iterdir()}
    assert {key: x.shape for key, x in found.items()} == {
        "cmyk": (40, 70),
        "alpha": (40, 70),
        "gray": (40, 70),
        "one": (1, 1),
        "turned": (70, 40),
    }
    model = labels[1]
    np.testing.assert_array_equal(found["alpha"], model.predict_on_batch(rgb[None])[0].argmax(-1))
    upright = np.ascontiguousarray(np.rot90(rgb, -1))
    np.testing.assert_array_equal(
        found["turned"], model.predict_on_batch(upright[None])[0].argmax(-1)
    )


class FullDisk(io.BytesIO):
    def write(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk(labels, folder, tmp_path, capsys, monkeypatch):
    opened = []

    def full(path, mode):
        opened.append(path)
        pathlib.Path(path).write_bytes(b"half")
        return FullDisk()

    monkeypatch.setattr(files, "open", full, raising=False)
    out = tmp_path / "out"
    assert main(["predict", labels[0], str(folder), "--out", str(out)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    # It stops at the first, and leaves nothing behind.
    assert len(opened) == 1 and names(out) == []


def test_a_folder_that_cannot_be_written(labels, folder, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "out"
    assert main(["predict", labels[0], str(folder), "--out", str(out)]) == 1
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda x: layers.Dense(7)(layers.GlobalAveragePooling2D()(x)), "is it a classifier"),
        (lambda x: {"a": x, "b": x}, "has several outputs"),
        (lambda x: [x, x], "has several outputs"),
    ],
)
def test_foreign_models(build, message, folder, tmp_path, capsys):
    image = keras.Input((None, None, 3))
    path = saved(tmp_path / "model", keras.Model(image, build(layers.Conv2D(4, 1)(image))))
    assert main(["predict", path, str(folder), "--out", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert main(["info", path]) == 0
    assert not (tmp_path / "out").exists()


def test_a_model_of_two_inputs(folder, tmp_path, capsys):
    pair = [keras.Input((None, None, 3)), keras.Input((None, None, 3))]
    path = saved(tmp_path / "model", keras.Model(pair, layers.Add()(pair)))
    assert main(["predict", path, str(folder), "--out", str(tmp_path / "out")]) == 1
    assert "must take one batch of images" in capsys.readouterr().err


def test_files_that_cannot_be(labels, folder, tmp_path, capsys):
    out = str(tmp_path / "out")

    def said(*arguments):
        assert main([str(a) for a in arguments]) == 1
        return capsys.readouterr().err

    model = labels[0]
    assert "there is no model" in said("predict", "none.keras", folder, "--out", out)
    (tmp_path / "bad.keras").write_text("no model")
    assert "cannot be loaded" in said("predict", tmp_path / "bad.keras", folder, "--out", out)
    assert "there is no file or folder" in said("predict", model, "nowhere", "--out", out)
    (tmp_path / "empty").mkdir()
    assert "contains no image" in said("predict", model, tmp_path / "empty", "--out", out)
    twice = (folder / "0.png", folder)
    assert "written to one file" in said("predict", model, *twice, "--out", out)
    (tmp_path / "bad.json").write_text("{")
    heads = ("--heads", tmp_path / "bad.json")
    assert "must hold heads" in said("predict", model, folder, "--out", out, *heads)
    text = json.dumps(keras.saving.serialize_keras_object(kd.heads.Segmentation(9)))
    (tmp_path / "other.json").write_text(text)
    heads = ("--heads", tmp_path / "other.json")
    assert "Segmentation with 9 channels" in said("predict", model, folder, "--out", out, *heads)


def test_a_network_of_fixed_size_goes_by_tiles(folder, tmp_path):
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, layers.Conv2D(4, 3, padding="same")(image))
    path = saved(tmp_path / "model", model)
    assert main(["predict", path, str(folder), "--out", str(tmp_path / "out")]) == 0
    assert np.array(PIL.open(tmp_path / "out" / "2.png")).shape == (47, 67)


def test_a_head_with_others_on_the_way(backbone, folder, tmp_path):
    head = kd.heads.Segmentation(5)
    heads = kd.heads.with_auxiliary(head)
    model = kd.fcn32s(backbone, heads=heads)
    path = saved(tmp_path / "model", model)
    assert main(["predict", path, str(folder), "--out", str(tmp_path / "out")]) == 0
    assert names(tmp_path / "out") == ["0.png", "1.png", "2.png"]


@pytest.mark.everywhere
def test_evaluate(labels, folder, tmp_path, capsys):
    path, model, head = labels
    masks = tmp_path / "masks"
    masks.mkdir()
    for n in range(3):
        truth = model.predict_on_batch(photo(45 + n, 67, n)[None])[0].argmax(-1).astype("uint8")
        truth[:20] = 4 if n == 0 else truth[:20]
        PIL.fromarray(truth).save(masks / f"{n}.png")
    out = tmp_path / "scores.json"
    assert main(["evaluate", path, str(folder), str(masks), "--out", str(out)]) == 0
    dataset = kd.datasets.folder(folder, masks, class_names=head.class_names)
    other = kd.heads.Segmentation(5)
    expected = kd.training.evaluate(model, kd.datasets.Loader(dataset, other, 1), other)
    scores = json.loads(out.read_text())
    assert scores["mean_iou"] == pytest.approx(expected["mean_iou"]) and scores["images"] == 3
    assert "| a " in capsys.readouterr().out
    (masks / "1.png").write_bytes(b"")
    assert main(["evaluate", path, str(folder), str(masks), "--out", str(out)]) == 1
    assert "1 of 3 images failed" in capsys.readouterr().err
    assert json.loads(out.read_text())["images"] == 2
    (masks / "1.png").unlink()
    assert main(["evaluate", path, str(folder), str(masks)]) == 1
    assert "without a mask" in capsys.readouterr().err


def test_evaluate_numbered_objects(tmp_path, capsys):
    pytest.importorskip("scipy")
    pytest.importorskip("skimage")
    head = kd.heads.Instances(min_size=0)
    image = keras.Input((None, None, 3))
    scores = keras.layers.Conv2D(2, 1)
    model = kd.heads.attach(keras.Model(image, scores(image)), head)
    kernel = np.zeros((1, 1, 3, 2), "float32")
    kernel[0, 0, 0, 0] = kernel[0, 0, 1, 1] = 20 / 255  # red is foreground, green the distance
    scores.set_weights([kernel, np.full(2, -10, "float32")])
    numbers = np.zeros((48, 64), "uint16")
    numbers[4:20, 4:20], numbers[4:20, 20:40], numbers[28:44, 8:30] = 1, 2, 7
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for n in range(2):
        truth = np.roll(numbers, 3 * n, 1)
        maps = np.nan_to_num(head.encode({"instances": truth}))
        pixels = np.concatenate([maps, maps[..., :1]], -1) * 255
        PIL.fromarray(pixels.astype("uint8")).save(tmp_path / "images" / f"{n}.png")
        truth[truth == 7] = 0 if n == 0 else 7  # in the first image one object is too many
        PIL.fromarray(truth).save(tmp_path / "masks" / f"{n}.png")
    path, out = saved(tmp_path / "model", model), tmp_path / "scores.json"
    folders = [str(tmp_path / name) for name in ("images", "masks")]
    assert main(["evaluate", path, *folders, "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["ap50"] == pytest.approx((2 / 3 + 1) / 2) and found["images"] == 2
    assert found["rq"] == pytest.approx(5 / 5.5) and found["foreground_iou"] > 0.8
    assert "ap50 0.833333" in capsys.readouterr().out


def test_info(labels, capsys):
    assert main(["info", labels[0]]) == 0
    said = capsys.readouterr().out
    assert f"{labels[1].count_params():,}" in said
    assert "(any, any, any, 3)" in said and "(any, any, any, 5)" in said
    assert "coarsest stride   32" in said and "Segmentation a, b, c, d, e" in said


def test_export_says_what_is_there(labels, tmp_path, capsys):
    (tmp_path / "there").write_text("")
    assert main(["export", labels[0], "onnx", str(tmp_path / "there")]) == 1
    assert "already" in capsys.readouterr().err


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow exports")
def test_export_in_int8(labels, tmp_path, capsys):
    pytest.importorskip("tf2onnx")
    session = pytest.importorskip("onnxruntime").InferenceSession
    images = np.stack([photo(64, 96, n) for n in range(3)])
    (tmp_path / "in").mkdir()
    for n, pixels in enumerate(images):
        PIL.fromarray(pixels).save(tmp_path / "in" / f"{n}.png")
    file = tmp_path / "m.onnx"
    told = ("--quantize", "int8", "--images", str(tmp_path / "in"), "--size", "64", "96")
    assert main(["export", labels[0], "onnx", str(file), *told]) == 0
    assert "labels differ at" in capsys.readouterr().out
    session = session(file)
    assert session.get_inputs()[0].shape[1:] == [64, 96, 3]
    found = session.run(["labels"], {"images": images})[0]
    assert (found == labels[1].predict_on_batch(images).argmax(-1)).mean() > 0.9


def test_export_is_told_what_does_not_go(labels, folder, tmp_path, capsys):
    def refused(format, *arguments):
        assert main(["export", labels[0], format, str(tmp_path / "new"), *arguments]) == 1
        assert not (tmp_path / "new").exists()
        return capsys.readouterr().err

    assert "onnx, openvino and litert" in refused("savedmodel", "--quantize", "int8")
    assert "no file or folder" in refused("onnx", "--images", str(tmp_path / "nowhere"))
    assert "have 3: 45×67, 46×67, 47×67" in refused("onnx", "--images", str(folder))
    (folder / "other.png").write_bytes(b"")
    assert "other.png" in refused("onnx", "--images", str(folder))


@pytest.mark.once
def test_help_in_a_process_of_its_own():
    found = subprocess.run(
        [sys.executable, "-m", "keras_dense", "--help"], capture_output=True, text=True
    )
    assert found.returncode == 0 and "predict" in found.stdout, found.stderr
    with pytest.raises(SystemExit, match="2"):
        main([])

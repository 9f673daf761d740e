"""Progress with the time left, and one JSON document for machines."""

import io
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import main
from keras_dense._command.console import Progress, duration, plain

PIL = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once


class Screen(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def bar_on(stream, total=10, **settings):
    clock = Clock()
    return Progress(total, "image", stream=stream, clock=clock, **settings), clock


def test_a_terminal_has_one_line_that_rewrites_itself():
    screen = Screen()
    bar, clock = bar_on(screen)
    with bar:
        for done in range(1, 11):
            clock.now += 20 if done == 1 else 2  # The first one compiles something.
            bar.update(done)
    lines = screen.getvalue().split("\r")
    assert screen.getvalue().count("\n") == 1 and screen.getvalue().endswith("\n")
    assert "2/10 images, 2 s each, 0:16 left" in lines[2]
    assert lines[-1].startswith("10/10 images, 2 s each")
    # Shorter lines cover longer ones.
    assert len(lines[2]) == len(lines[1]) > len(lines[2].rstrip())


def test_elsewhere_there_is_a_line_every_half_minute():
    file = io.StringIO()
    bar, clock = bar_on(file, 1000)
    with bar:
        for done in range(1, 1001):
            clock.now += 0.125
            bar.update(done)
    assert file.getvalue().splitlines() == [
        "240/1000 images, 8 a second, 1:35 left",
        "480/1000 images, 8 a second, 1:05 left",
        "720/1000 images, 8 a second, 0:35 left",
        "960/1000 images, 8 a second, 0:05 left",
        "1000/1000 images, 8 a second",
    ]
    file = io.StringIO()
    bar, clock = bar_on(file)
    with bar:
        bar.update(10)
    assert file.getvalue() == ""  # Too short for a line.


def test_quiet_and_unknown_totals():
    for stream in (Screen(), io.StringIO()):
        bar, clock = bar_on(stream, quiet=True)
        with bar:
            clock.now += 100
            bar.update(3)
        assert stream.getvalue() == ""
    bar, clock = bar_on(io.StringIO(), None)
    clock.now += 8
    bar.update(2)
    assert bar.text() == "2 images, 4 s each"
    bar, clock = bar_on(io.StringIO(), 4)
    clock.now += 10
    bar.update(0.25)  # A tile of the first image.
    assert bar.text() == "0/4 images, 40 s each, 2:30 left"
    assert [duration(x) for x in (0, 59.6, 3600)] == ["0:00", "1:00", "1:00:00"]


def test_json_has_neither_nan_nor_arrays():
    found = plain({"a": np.float32("nan"), (1, 2): [np.int64(3), {"b": np.array([np.inf, 1])}]})
    assert json.loads(json.dumps(found, allow_nan=False)) == {
        "a": None,
        "(1, 2)": [3, {"b": [None, 1.0]}],
    }


@pytest.fixture
def place(tmp_path):
    """A model with its head, three images and masks of its labels."""
    for name in ("in", "masks"):
        (tmp_path / name).mkdir()
    image = keras.Input((None, None, 3))
    head = kd.heads.Segmentation(3, class_names=list("abc"))
    brightest = layers.Conv2D(3, 1, use_bias=False)
    model = kd.heads.attach(keras.Model(image, brightest(image)), head)
    brightest.set_weights([np.eye(3).reshape(1, 1, 3, 3)])
    model.save(tmp_path / "m.keras")
    for n in range(3):
        pixels = np.random.default_rng(n).integers(0, 256, (20, 30, 3), dtype="uint8")
        PIL.fromarray(pixels).save(tmp_path / "in" / f"{n}.png")
        labels = model.predict_on_batch(pixels[None])[0].argmax(-1).astype("uint8")
        PIL.fromarray(labels).save(tmp_path / "masks" / f"{n}.png")
    return tmp_path


def document(capsys, *arguments, code=0):
    """The one document on stdout, and what is on stderr."""
    assert main([*map(str, arguments), "--json"]) == code
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["command"] == arguments[0] and found["exit_code"] == code
    return found, said.err


def test_every_command_prints_one_document(place, capsys):
    model, images, masks = (place / name for name in ("m.keras", "in", "masks"))
    found, text = document(capsys, "info", model, "--size", 32, 64)
    assert found["cost"]["multiply_adds"] == 32 * 64 * 9 and "multiply-adds" in text
    assert found["heads"] == {"": {"kind": "Segmentation", "classes": ["a", "b", "c"]}}
    assert found["outputs"][""]["receptive_field"] == [1.0, 1.0]
    assert "torchvision/fcn_resnet50" in document(capsys, "info")[0]["published"]
    found, _ = document(capsys, "predict", model, images, "--out", place / "out")
    assert found["images"] == 3 and found["failed"] == {}
    assert found["results"][str(images / "1.png")] == [str(place / "out" / "1.png")]
    found, text = document(capsys, "predict", model, images, "--out", place / "out")
    assert found["done_before"] == 3 and "3 images were done before" in text
    found, text = document(capsys, "evaluate", model, images, masks)
    assert found["mean_iou"] == 1 and found["images"] == 3 and "| mean " in text
    found, text = document(capsys, "check", images, masks, "--classes", "a", "b", "c")
    assert found["samples"] == 3 and sum(found["pixels"]) == 1800 and "3 samples" in text
    found, text = document(
        capsys, "compare", model, place / "out", masks, "--images", images, "--samples", 9
    )
    assert found["scores"]["mean_iou"]["difference"] == 0 and "| mean IoU |" in text


def test_errors_are_part_of_the_document(place, capsys):
    model = place / "m.keras"
    found, text = document(
        capsys, "predict", "none.keras", place / "in", "--out", place / "out", code=1
    )
    assert "there is no model 'none.keras'" in found["error"] and found["error"] in text
    (place / "in" / "bad.png").write_bytes(b"no image")
    found, text = document(capsys, "predict", model, place / "in", "--out", place / "out", code=1)
    (file,) = found["failed"]
    assert file.endswith("bad.png") and "cannot be read as an image" in found["failed"][file]


@pytest.mark.exhaustive
def test_a_process_prints_nothing_else_to_stdout(place):
    command = [sys.executable, "-m", "keras_dense", "predict", str(place / "m.keras")]
    command += [str(place / "in"), "--out", str(place / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert json.loads(done.stdout)["images"] == 3, done.stderr

"""The examples run as a user runs them, each in a process of its own."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import pytest

import keras_dense as kd

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def run(script, *arguments, backend=None):
    environment = {**os.environ, "KERAS_BACKEND": backend or keras.backend.backend()}
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
    )


@pytest.mark.slow
def test_train_and_serve(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    out = tmp_path / "run"
    arguments = [
        "--smoke", "--out", out, "--optimizer", "adamw", "--weight-decay", "1e-4",
        "--backbone-lr", "0.1", "--freeze-batch-norm", "--loss", "cross_entropy,dice:0.5",
        "--recalibrate-batch-norm", "2", "--class-balance", "median_frequency",
        "--scale-range", "0.8", "1.2", "--rotate", "5",
    ]  # fmt: skip
    result = run("train_segmentation.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "batch normalizations frozen: 27" in result.stdout
    assert "| pyramid" in result.stdout
    results = json.loads((out / "results.json").read_text())
    assert len(results["iou"]) == len(results["class_names"]) == 8
    assert len((out / "history.csv").read_text().splitlines()) == 3
    for name in ("model.keras", "curves.png", "results.md", "preview/epoch_0002.png"):
        assert (out / name).exists(), name

    again = run("train_segmentation.py", *arguments)
    assert again.returncode == 0, again.stderr
    assert "continuing after epoch 2" in again.stdout
    assert json.loads((out / "results.json").read_text())["iou"] == results["iou"]

    other = run("train_segmentation.py", *arguments, "--learning-rate", "0.5")
    assert other.returncode != 0
    assert "--learning-rate: 0.01 then, 0.5 now" in other.stderr

    result = run(
        "serve_savedmodel.py", "export", out / "model.keras", tmp_path / "exported",
        "--head", out / "head.json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    photograph = tmp_path / "photograph.png"
    Image.effect_noise((91, 67), 60).convert("RGB").save(photograph)
    result = run(
        "serve_savedmodel.py", "label", tmp_path / "exported", photograph, tmp_path / "o.png"
    )
    assert result.returncode == 0, result.stderr
    assert "alone ->" in result.stdout
    assert Image.open(tmp_path / "o.png").size == (2 * 3 * 91 + 110, 3 * 67)


@pytest.mark.slow
def test_train_with_earlier_predictions(tmp_path):
    out = tmp_path / "run"
    result = run(
        "train_segmentation.py", "--smoke", "--out", out, "--model", "layer_cascade",
        "--model-args", "filters=8", "--intermediate-weight", "0.5", "--backbone-lr", "0.1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert len(json.loads((out / "results.json").read_text())["iou"]) == 8
    columns = (out / "history.csv").read_text().splitlines()[0].split(",")
    assert {"segmentation_mean_iou", "val_segmentation_mean_iou", "stage1_loss"} <= {*columns}
    assert (out / "preview" / "epoch_0002.png").exists() and (out / "curves.png").exists()
    cascade = kd.inference.LayerCascade(keras.saving.load_model(out / "model.keras"))
    assert cascade.thresholds == (0.985, 0.985)


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the demo chooses TensorFlow")
def test_demo(tmp_path):
    result = run("demo.py", "--smoke", "--out", tmp_path / "demo")
    assert result.returncode == 0, result.stderr
    for name in ("1_scenes.png", "2_predictions.png", "4_served.png", "epochs/epoch_0002.png"):
        assert (tmp_path / "demo" / name).exists(), name
    assert "alone ->" in result.stdout


def test_dilate_classifier(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    photograph, picture = tmp_path / "photograph.png", tmp_path / "picture.png"
    Image.effect_noise((91, 67), 60).convert("RGB").save(photograph)
    result = run(
        "dilate_classifier.py", photograph, picture,
        "--classifier", "mobilenet", "--weights", "none", "--side", "96",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "output stride  8: a map of 8×12" in result.stdout
    errors = [
        float(line.rpartition(": ")[2]) for line in result.stdout.splitlines() if "every" in line
    ]
    assert len(errors) == 2 and max(errors) < 1e-4
    assert Image.open(picture).size[0] > 4 * 96


@pytest.mark.slow
def test_search_crf(tmp_path, shared_data):
    Image = pytest.importorskip("PIL.Image")
    trunk = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    kd.fcn8s(trunk, 11).save(tmp_path / "model.keras")
    out = tmp_path / "crf"
    result = run(
        "search_crf.py", tmp_path / "model.keras", "--root", shared_data / "camvid", "--out", out,
        "--count", "1", "--limit", "2", "--sxy", "20", "--srgb", "5", "--compat", "1", "3",
        "--spatial", "0", "--iterations", "2",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "crf.json").read_text())["bilateral_sxy"] == 20
    assert "On 2 pictures of the validation part" in (out / "search.md").read_text()
    assert len((out / "search.md").read_text().splitlines()) == 12
    assert Image.open(out / "crf.jpg").size[0] > 4 * 480

"""The examples run as a user runs them, each in a process of its own."""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
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


@pytest.mark.once
@pytest.mark.exhaustive
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


@pytest.mark.once
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


@pytest.mark.once
@pytest.mark.exhaustive
def test_search_crf(tmp_path, shared_data):
    Image = pytest.importorskip("PIL.Image")
    backbone = kd.backbone("mobilenet_v2", weights=None, alpha=0.35)
    model = kd.fcn8s(backbone, 11)
    model.save(tmp_path / "model.keras")
    kd.with_crf(model, theta_alpha=20.0, iterations=1).save(tmp_path / "joint.keras")
    out = tmp_path / "crf"
    result = run(
        "search_crf.py", tmp_path / "model.keras", "--root", shared_data / "camvid", "--out", out,
        "--count", "1", "--limit", "2", "--sxy", "20", "--srgb", "5", "--compat", "1", "3",
        "--spatial", "0", "--iterations", "2", "--joint", tmp_path / "joint.keras",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert json.loads((out / "crf.json").read_text())["bilateral_sxy"] == 20
    told = (out / "search.md").read_text()
    assert "On 2 pictures of the validation part" in told
    assert all(f"| trained jointly, {n} iterations |" in told for n in (1, 2))
    assert len(told.splitlines()) == 14
    assert Image.open(out / "crf.jpg").size[0] > 5 * 480


@pytest.mark.once
@pytest.mark.exhaustive
def test_train_with_a_crf(tmp_path):
    out = tmp_path / "run"
    result = run(
        "train_segmentation.py", "--smoke", "--out", out, "--crf", "iterations=2", "theta_alpha=9",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    crf = keras.saving.load_model(out / "model.keras").get_layer("crf")
    assert (crf.iterations, crf.theta_alpha) == (2, 9.0)
    assert float(keras.ops.max(keras.ops.abs(crf.bilateral - 5 * np.eye(8)))) > 1e-3  # it learned


@pytest.mark.once
@pytest.mark.exhaustive
def test_train_tasks(tmp_path):
    single = tmp_path / "segmentation"
    result = run("train_tasks.py", "--smoke", "--tasks", "segmentation", "--gray", "--out", single)
    assert result.returncode == 0, result.stderr
    for task in ("depth", "normals", "color"):
        (tmp_path / task).mkdir()
        scores = {"depth": {"abs_rel": 0.5}, "normals": {"mean": 20.0}}
        scores = {task: scores.get(task, {"rmse_ab": 10.0})}
        (tmp_path / task / "results.json").write_text(json.dumps({"scores": scores}))
    runs = [tmp_path / task for task in ("segmentation", "depth", "normals", "color")]
    out = tmp_path / "four"
    arguments = ["--smoke", "--balance", "uncertainty", "--out", out, "--against", *runs]
    result = run("train_tasks.py", *arguments)
    assert result.returncode == 0, result.stderr
    told = (out / "results.md").read_text()
    for words in ("gain over single tasks:", "| mean depth map |", "| gray |", "| single tasks |"):
        assert words in told, words
    results = json.loads((out / "results.json").read_text())
    assert set(results["scores"]) == {"segmentation", "depth", "normals", "color"}
    for name in ("tasks.jpg", "curves.png", "model.keras", "preview/epoch_0002.png"):
        assert (out / name).exists(), name


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.slow
def test_tour(tmp_path):
    result = run("tour.py", "--smoke", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "loaded again, it says the same" in result.stdout
    for name in ("1_world.jpg", "2_curves.png", "3_predictions.jpg", "4_truth.jpg"):
        assert (tmp_path / name).exists(), name


@pytest.mark.once
@pytest.mark.exhaustive
def test_predict_ray(backbone, tmp_path):
    """On Ray's local mode: what a model predicts, broken files named, what is there skipped."""
    pytest.importorskip("ray.data")
    Image = pytest.importorskip("PIL.Image")
    heads = {"objects": kd.heads.Segmentation(5), "depth": kd.heads.Depth()}
    model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), heads)
    model.save(tmp_path / "model.keras")
    told = json.dumps(keras.saving.serialize_keras_object(heads))
    (tmp_path / "heads.json").write_text(told)
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    pictures = {f"{n}.png": rng.integers(0, 256, (40, 50 + n, 3), dtype="uint8") for n in range(3)}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    (tmp_path / "pictures" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    out = tmp_path / "out"
    arguments = [tmp_path / "model.keras", tmp_path / "pictures", "--out", out]
    result = run("predict_ray.py", *arguments)
    assert result.returncode == 1, result.stderr
    assert f"3 pictures written to {out}, 1 failed" in result.stdout
    failed = json.loads((out / "failed.json").read_text())
    assert [pathlib.Path(path).name for path in failed] == ["broken.jpg"]
    product = kd.decoded(model, heads)
    for name, pixels in pictures.items():
        wanted = product.predict_on_batch(pixels[None])
        labels = np.asarray(Image.open(out / "objects" / f"{name}.png"))
        assert (labels != keras.ops.convert_to_numpy(wanted["objects"])[0]).mean() < 1e-3
        depth = np.load(out / "depth" / f"{name}.npy")
        np.testing.assert_allclose(
            depth, keras.ops.convert_to_numpy(wanted["depth"])[0], rtol=1e-4, atol=1e-4
        )
    (out / "objects" / "1.png.png").unlink()
    result = run("predict_ray.py", *arguments)
    assert f"1 pictures written to {out}, 1 failed" in result.stdout, result.stderr
    # Results of another model, or among the pictures, are refused.
    (tmp_path / "heads.json").write_text(told + " ")
    result = run("predict_ray.py", *arguments)
    assert result.returncode == 1 and "another model or other heads" in result.stderr
    result = run("predict_ray.py", *arguments[:3], tmp_path / "pictures")
    assert result.returncode == 1 and "must not be the folder of the pictures" in result.stderr

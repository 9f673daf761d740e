"""Examples as a user runs them, each in a process of its own."""

import json
import os
import pathlib
import re
import runpy
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_dense as kd

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"


def run(script, *arguments, cwd=None):
    path = os.pathsep.join([str(EXAMPLES.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend(), "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, EXAMPLES / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=cwd,
    )


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.exhaustive
def test_quickstart(tmp_path):
    result = run("quickstart.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    accuracy = [float(word) for word in re.findall(r"pixel_accuracy: (0\.\d+)", result.stdout)]
    assert accuracy[-1] > 0.7 and "| pyramid" in result.stdout
    model = keras.saving.load_model(tmp_path / "quickstart.keras", compile=False)
    assert kd.heads.of(model).class_names[0] == "sky"
    image = pytest.importorskip("PIL.Image").open(tmp_path / "quickstart.png")
    assert image.size[0] > 4 * 256


@pytest.mark.once
def test_predict_published(tmp_path, shared_data):
    Image = pytest.importorskip("PIL.Image")
    weights = shared_data / "weights" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    photograph = shared_data / "voc_mini" / "images" / "2007_003190.jpg"
    result = run("predict_published.py", photograph, weights, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "deeplab/mobilenetv2_dm05_voc_8bit" in result.stdout
    assert re.search(r"2007_003190_labels.jpg: background \d+%, sheep \d+%", result.stdout)
    assert Image.open(tmp_path / "2007_003190_labels.jpg").size[0] > 3 * 350


@pytest.mark.slow
@pytest.mark.exhaustive
def test_train_distributed(tmp_path):
    result = run("train_distributed.py", "--smoke", "--out", tmp_path / "run")
    assert result.returncode == 0, result.stderr
    assert "process 0 of 1: epoch 1 of 2" in result.stdout
    assert re.search(r"model.keras: mean IoU 0\.\d+", result.stdout)
    model = keras.saving.load_model(tmp_path / "run" / "model.keras", compile=False)
    assert kd.heads.of(model).class_names[0] == "sky"
    again = run("train_distributed.py", "--smoke", "--epochs", 1, "--out", tmp_path / "run")
    assert again.returncode == 0, again.stderr


@pytest.mark.once
@pytest.mark.exhaustive
def test_few_masks(tmp_path):
    command = ("few_masks.py", "--demo", "--smoke", "--out", tmp_path / "few")
    result = run(*command)
    assert result.returncode == 0, result.stderr
    assert "<together: 8 + 6 samples, 2 + 2 in a batch>" in result.stdout
    assert re.search(r"teacher: mean IoU 0\.\d+ on images with masks", result.stdout)
    labels = sorted((tmp_path / "few" / "inferred" / "labels").iterdir())
    assert [path.name for path in labels[:2]] == ["scene_010.png", "scene_011.png"]
    teacher = keras.saving.load_model(tmp_path / "few" / "teacher.keras", compile=False)
    assert sorted(kd.heads.of(teacher)) == ["segmentation", "tags"]
    assert "4/4" not in run(*command).stdout  # the run is finished; masks are inferred again


@pytest.mark.once
@pytest.mark.exhaustive
def test_train_and_serve(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    out = tmp_path / "run"
    arguments = [
        "--smoke", "--out", out, "--model", "fcn8s", "--optimizer", "sgd", "--optimizer-args",
        "momentum=0.9", "--freeze-batch-norm", "--loss", "cross_entropy,dice:0.5",
        "--recalibrate-batch-norm", "2", "--class-balance", "median_frequency",
        "--scale-range", "0.8", "1.2", "--rotate", "5",
    ]  # fmt: skip
    result = run("train.py", *arguments)
    assert result.returncode == 0, result.stderr
    assert "batch normalizations frozen: 27" in result.stdout
    assert "| pyramid" in result.stdout
    results = json.loads((out / "results.json").read_text())
    assert len(results["scores"]["segmentation"]["iou"]) == len(results["class_names"]) == 8
    assert results["baseline"]["segmentation"]["mean_iou"] > 0
    assert len((out / "history.csv").read_text().splitlines()) == 3
    for name in ("model.keras", "curves.png", "results.md", "preview/epoch_0002.png"):
        assert (out / name).exists(), name

    again = run("train.py", *arguments)
    assert again.returncode == 0, again.stderr
    assert "continuing after epoch 2" in again.stdout
    assert json.loads((out / "results.json").read_text())["scores"] == results["scores"]

    other = run("train.py", *arguments, "--learning-rate", "0.5")
    assert other.returncode != 0
    assert "learning_rate (0.001 then, 0.5 now)" in other.stderr

    result = run("serve_savedmodel.py", "export", out / "model.keras", tmp_path / "exported")
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
        "train.py", "--smoke", "--out", out, "--model", "layer_cascade",
        "--model-args", "filters=8", "--intermediate-weight", "0.5", "--backbone-lr", "0.1",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    scores = json.loads((out / "results.json").read_text())["scores"]
    assert len(scores["segmentation"]["iou"]) == 8
    columns = (out / "history.csv").read_text().splitlines()[0].split(",")
    assert {"segmentation_mean_iou", "val_segmentation_mean_iou", "stage1_loss"} <= {*columns}
    assert (out / "preview" / "epoch_0002.png").exists() and (out / "curves.png").exists()
    cascade = kd.inference.LayerCascade(keras.saving.load_model(out / "model.keras"))
    assert cascade.thresholds == (0.985, 0.985)


@pytest.mark.exhaustive
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the demo chooses TensorFlow")
def test_demo(tmp_path):
    result = run("demo.py", "--smoke", "--out", tmp_path / "demo")
    assert result.returncode == 0, result.stderr
    page = (tmp_path / "demo" / "index.html").read_text()
    assert (tmp_path / "demo" / "index.html").resolve().as_uri() in result.stdout
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert shown[-4:] == ["1_scenes.png", "2_predictions.png", "curves.png", "4_served.png"]
    for name in (*shown, "epochs/epoch_0002.png"):
        assert (tmp_path / "demo" / name).exists(), name
    assert "alone ->" in result.stdout
    # With the folder of data, photographs are labeled; without it, the reason is said.
    assert ("0_photographs.png" in shown) != ("no published network" in page)


@pytest.mark.once
def test_bad_photographs_of_the_demo(tmp_path):
    result = run("demo.py", tmp_path / "none.jpg", "--out", tmp_path / "demo")
    assert result.returncode == 2 and "there is no file" in result.stderr
    assert not (tmp_path / "demo").exists()


@pytest.mark.once
@pytest.mark.exhaustive
def test_dilate_classifier(tmp_path):
    Image = pytest.importorskip("PIL.Image")
    photograph, drawing = tmp_path / "photograph.png", tmp_path / "drawing.png"
    Image.effect_noise((91, 67), 60).convert("RGB").save(photograph)
    result = run(
        "dilate_classifier.py", photograph, drawing,
        "--classifier", "mobilenet", "--weights", "none", "--side", "96",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "output stride  8: a map of 8×12" in result.stdout
    errors = [
        float(line.rpartition(": ")[2]) for line in result.stdout.splitlines() if "every" in line
    ]
    assert len(errors) == 2 and max(errors) < 1e-4
    assert Image.open(drawing).size[0] > 4 * 96


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
    text = (out / "search.md").read_text()
    assert "On 2 images of the validation split" in text
    assert all(f"| trained jointly, {n} iterations |" in text for n in (1, 2))
    assert len(text.splitlines()) == 14
    assert Image.open(out / "crf.jpg").size[0] > 5 * 480


@pytest.mark.once
@pytest.mark.exhaustive
def test_train_with_a_crf(tmp_path):
    out = tmp_path / "run"
    result = run(
        "train.py", "--smoke", "--out", out, "--crf", "iterations=2", "theta_alpha=9",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    crf = keras.saving.load_model(out / "model.keras").get_layer("crf")
    assert (crf.iterations, crf.theta_alpha) == (2, 9.0)
    learned = keras.ops.convert_to_numpy(crf.bilateral) - 5 * np.eye(8)
    assert np.abs(learned).max() > 1e-3


@pytest.mark.once
@pytest.mark.exhaustive
def test_train_several_tasks(tmp_path):
    out = tmp_path / "four"
    result = run(
        "train.py", "--smoke", "--tasks", "segmentation", "depth", "normals", "color",
        "--balance", "uncertainty", "--gray", "--head-args", "depth.max_depth=20", "--out", out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    text = (out / "results.md").read_text()
    for words in ("| this run |", "| positions only |", "color: rmse_ab ↓", "| pyramid"):
        assert words in text, words
    results = json.loads((out / "results.json").read_text())
    assert set(results["scores"]) == {"segmentation", "depth", "normals", "color"}
    assert set(results["weights"]) == set(results["scores"])
    for name in ("tasks.jpg", "curves.png", "preview/epoch_0002.png"):
        assert (out / name).exists(), name
    model = keras.saving.load_model(out / "model.keras", compile=False)
    assert kd.heads.of(model)["depth"].max_depth == 20
    image = np.random.default_rng(0).uniform(0, 255, (1, 48, 64, 3)).astype("float32")
    gray = keras.ops.convert_to_numpy(kd.ops.gray(image))
    for a, b in zip(*(model.predict_on_batch(x).values() for x in (image, gray)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-2)  # The model sees lightness only.


@pytest.mark.once
@pytest.mark.exhaustive
def test_train_on_sampled_pixels(tmp_path):
    out = tmp_path / "run"
    result = run(
        "train.py", "--smoke", "--out", out, "--model", "hypercolumn", "--model-args", "mlp=(16,)",
        "--sample-pixels", "200",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "segmentation" in json.loads((out / "results.json").read_text())["scores"]
    assert keras.saving.load_model(out / "model.keras").output_shape == (None, None, None, 8)


@pytest.mark.once
@pytest.mark.exhaustive
def test_compare_runs(tmp_path):
    four = {"segmentation": {"mean_iou": 0.42, "iou": [0.42]}, "depth": {"abs_rel": 0.54}}
    single = {"segmentation": {"mean_iou": 0.40}}, {"depth": {"abs_rel": 0.60}}
    for name, scores in zip(("four", "labels", "depth"), (four, *single), strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps({"scores": scores}))
    arguments = ["four", "--single", "labels", "depth", "--out", "gain.md"]
    result = run("compare_runs.py", *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / "gain.md").read_text()
    assert result.stdout == text and "| four | 0.42 | 0.54 |" in text
    assert "four: gain over single tasks +7.5 %" in text  # Of (5 % + 10 %) / 2.
    result = run("compare_runs.py", "four", "--single", "labels", cwd=tmp_path)
    assert result.returncode == 1 and "--single has no run for depth" in result.stderr


@pytest.mark.slow
@pytest.mark.exhaustive
def test_frozen_backbone(tmp_path):
    pytest.importorskip("keras_hub")
    result = run("frozen_backbone.py", "--smoke", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "T4: 32 channels every 14 pixels" in result.stdout
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert not model.get_layer("backbone").trainable_weights
    depth = kd.decoded(model).predict(np.zeros((1, 45, 61, 3), "uint8"), verbose=0)["depth"]
    assert depth.shape == (1, 45, 61, 1) and depth.min() > 0.2
    exported = (tmp_path / "model.onnx").exists()
    assert exported == (keras.backend.backend() == "tensorflow")


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.slow
def test_numbered_objects(tmp_path):
    pytest.importorskip("skimage")
    for head in ("instances", "foreground"):
        result = run("numbered_objects.py", "--smoke", "--head", head, "--out", tmp_path)
        assert result.returncode == 0, result.stderr
        assert "4 for training, 2 held out" in result.stdout and "ap50: 0." in result.stdout
        assert (tmp_path / f"{head}.png").exists()
    model = keras.saving.load_model(tmp_path / "instances.keras", compile=False)
    assert isinstance(kd.heads.of(model), kd.heads.Instances)


@pytest.mark.exhaustive
@pytest.mark.once
@pytest.mark.slow
def test_tour(tmp_path):
    result = run("tour.py", "--smoke", "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "loaded again, it returns the same" in result.stdout
    for name in ("1_world.jpg", "2_curves.png", "3_predictions.jpg", "4_truth.jpg"):
        assert (tmp_path / name).exists(), name


@pytest.mark.once
@pytest.mark.exhaustive
def test_predict_ray(backbone, tmp_path):
    """Results are those of the model, broken files are listed, existing results are skipped."""
    pytest.importorskip("ray.data")
    Image = pytest.importorskip("PIL.Image")
    heads = {"objects": kd.heads.Segmentation(5), "depth": kd.heads.Depth()}
    model = kd.assemble(backbone, kd.decoders.fpn((8, 8)), heads)
    model.save(tmp_path / "model.keras")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    images = {f"{n}.png": rng.integers(0, 256, (40, 50 + n, 3), dtype="uint8") for n in range(3)}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / "images" / name)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8 no image")
    out = tmp_path / "out"
    arguments = [tmp_path / "model.keras", tmp_path / "images", "--out", out]
    result = run("predict_ray.py", *arguments)
    assert result.returncode == 1, result.stderr
    assert f"3 images written to {out}, 1 failed" in result.stdout
    failed = json.loads((out / "failed.json").read_text())
    assert [pathlib.Path(path).name for path in failed] == ["broken.jpg"]
    product = kd.decoded(model)
    for name, pixels in images.items():
        wanted = product.predict_on_batch(pixels[None])
        wanted = {key: keras.ops.convert_to_numpy(y)[0] for key, y in wanted.items()}
        labels = np.asarray(Image.open(out / "objects" / f"{name}.png"))
        assert (labels != wanted["objects"]).mean() < 1e-3
        depth = np.asarray(Image.open(out / "depth" / f"{name}.png")).astype(int)
        assert np.abs(depth - heads["depth"].stored(wanted["depth"]).array).max() <= 2
    (out / "objects" / "1.png.png").unlink()
    result = run("predict_ray.py", *arguments)
    assert f"1 images written to {out}, 1 failed" in result.stdout, result.stderr
    # Results of another model are not mixed with these, nor results with the images.
    kd.assemble(backbone, kd.decoders.fpn((8, 8)), heads).save(tmp_path / "model.keras")
    result = run("predict_ray.py", *arguments)
    assert result.returncode == 1 and "has results of another model" in result.stderr
    result = run("predict_ray.py", *arguments[:3], tmp_path / "images")
    assert result.returncode == 1 and "must not be the folder of the images" in result.stderr


@pytest.mark.once
def test_defaults_of_a_training(tmp_path):
    """A pretrained backbone is trained slowly, and its statistics are computed anew."""
    train = runpy.run_path(str(EXAMPLES / "train.py"))
    out = ["--out", str(tmp_path / "run")]

    def defaults(*given):
        args = train["arguments"]([*out, *given])
        return args.backbone_lr, args.recalibrate_batch_norm

    assert defaults() == (0.1, 45)
    assert defaults("--weights", "none") == (1.0, 45)
    assert defaults("--freeze-batch-norm", "--backbone-lr", "0.3") == (0.3, 0)
    assert defaults("--recalibrate-batch-norm", "0") == (0.1, 0)


@pytest.mark.once
def test_a_first_try_that_failed_may_be_corrected(tmp_path):
    main = runpy.run_path(str(EXAMPLES / "train.py"))["main"]
    for data in ("nothing", "neither"):
        with pytest.raises(SystemExit, match=f"--data {data}: keras_dense has no data set"):
            main(["--out", str(tmp_path), "--root", str(tmp_path), "--data", data])
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n")
    with pytest.raises(SystemExit, match="data .neither then, nothing now"):
        main(["--out", str(tmp_path), "--root", str(tmp_path), "--data", "nothing"])

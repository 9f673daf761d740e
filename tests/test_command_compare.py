"""`python -m keras_dense compare`: paired differences, intervals, drawings."""

import json
import shutil

import keras
import numpy as np
import pytest
from keras import layers

import keras_dense as kd
from keras_dense._command import main

PIL = pytest.importorskip("PIL.Image")
pytestmark = pytest.mark.once
NAMES = ["sky", "road", "tree"]


def labels(seed, size=(24, 30)):
    return np.random.default_rng(seed).integers(0, 3, size).astype("uint8")


@pytest.fixture
def place(tmp_path):
    """Masks, images, two folders of predictions: the second is wrong more often."""
    for name in ("images", "masks", "a", "b"):
        (tmp_path / name).mkdir()
    for n in range(6):
        truth = labels(n)
        truth[:3] = 255
        pixels = np.random.default_rng(n).integers(0, 256, (24, 30, 3), dtype="uint8")
        PIL.fromarray(pixels).save(tmp_path / f"images/{n}.png")
        PIL.fromarray(truth).save(tmp_path / f"masks/{n}.png")
        for name, rows in (("a", 4), ("b", 5 + n)):
            found = np.where(truth == 255, 0, truth).astype("uint8")
            found[5 : 5 + rows] = (found[5 : 5 + rows] + 1) % 3
            PIL.fromarray(found).save(tmp_path / name / f"{n}.png")
    return tmp_path


def compare(place, *arguments, first="a", second="b"):
    named = [str(place / x) for x in (first, second, "masks")]
    return main(["compare", *named, *map(str, arguments)])


def matrices(place, name):
    found = []
    for n in range(6):
        truth = np.array(PIL.open(place / f"masks/{n}.png")).astype(int)
        guess = np.array(PIL.open(place / name / f"{n}.png"))
        matrix = np.zeros((3, 3), int)
        np.add.at(matrix, (truth[truth < 3], guess[truth < 3]), 1)
        found.append(matrix)
    return np.array(found)


def test_scores_are_those_of_the_metric_and_differences_are_paired(place, capsys):
    out = place / "out"
    assert compare(place, "--classes", *NAMES, "--out", out, "--images", place / "images") == 0
    text = capsys.readouterr().out
    found = json.loads((out / "compare.json").read_text())
    for side, name in (("first", "a"), ("second", "b")):
        metric = kd.metrics.ConfusionMatrix(3)
        for n in range(6):
            truth = np.array(PIL.open(place / f"masks/{n}.png"))[None]
            guess = np.eye(3, dtype="float32")[np.array(PIL.open(place / name / f"{n}.png"))][None]
            metric.update_state(truth, guess)
        for score, value in metric.scores().items():
            np.testing.assert_allclose(found["scores"][score][side], value)
    accuracy = found["scores"]["pixel_accuracy"]
    # Each image of the second has 1 + n more rows of 21 that are wrong.
    shares = np.array([(1 + n) / 21 for n in range(6)])
    assert accuracy["difference"] == pytest.approx(-shares.mean())
    draws = np.random.default_rng(5).integers(0, 6, (20000, 6))
    low, high = np.percentile(-shares[draws].mean(1), [2.5, 97.5])
    assert accuracy["low"] == pytest.approx(low, abs=0.006)
    assert accuracy["high"] == pytest.approx(high, abs=0.006)
    assert "| pixel accuracy | 81.0 | 64.3 | -16.7 |" in text and "| IoU tree |" in text
    assert all(line.endswith("| * |") for line in text.splitlines() if "accuracy" in line)
    # The images that differ most come first.
    drawn = sorted(path.name for path in out.glob("*.png"))
    assert drawn == [f"{n + 1:02d}_{5 - n}.png" for n in range(6)]
    drawing = np.array(PIL.open(out / drawn[0]))
    assert drawing.shape[1] > 5 * 288 and drawing.std() > 10


def test_a_comparison_with_itself_has_no_difference(place, capsys):
    out = place / "out"
    few = ("--samples", 50, "--classes", *NAMES)
    assert compare(place, *few, "--out", out, second="a") == 0
    found = json.loads((out / "compare.json").read_text())["scores"]["iou"]
    assert found["difference"] == found["low"] == found["high"] == [0, 0, 0]
    assert "*" not in capsys.readouterr().out and not list(out.glob("*.png"))
    # A second comparison takes its place, another folder does not.
    assert compare(place, *few, "--out", out, "--drawings", 1) == 0
    assert len(list(out.glob("*.png"))) == 1
    assert compare(place, "--classes", *NAMES, "--out", place / "images") == 1
    assert "holds something else than a comparison" in capsys.readouterr().err


def test_models_runs_and_their_predictions_are_the_same(place, capsys):
    head = kd.heads.Segmentation(3, class_names=NAMES)
    for seed, run in enumerate(("run1", "run2")):
        keras.utils.set_random_seed(seed)
        image = keras.Input((None, None, 3))
        model = kd.heads.attach(
            keras.Model(image, layers.Conv2D(3, 3, padding="same")(image)), head
        )
        (place / run).mkdir()
        model.save(place / run / "model.keras")
        told = [str(place / run / "model.keras"), str(place / "images")]
        assert main(["predict", *told, "--out", str(place / f"labels{seed}")]) == 0
    assert compare(place, first="run1", second="run2") == 1
    assert "give --images" in capsys.readouterr().err
    found = []
    for first, second in (("run1", "run2"), ("run1/model.keras", "labels1"), ("labels0", "run2")):
        capsys.readouterr()
        told = ("--images", place / "images", "--json", "--samples", 50)
        assert compare(place, *told, first=first, second=second) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0]["class_names"] == NAMES
    assert found[0]["scores"] == found[1]["scores"] == found[2]["scores"]


def test_what_cannot_be_compared_is_said(place, capsys):
    def said(*arguments, **names):
        assert compare(place, *arguments, **names) == 1
        return capsys.readouterr().err

    assert "do not say their classes; give --classes" in said()
    (place / "b" / "3.png").unlink()
    PIL.fromarray(labels(0, (5, 5))).save(place / "b" / "4.png")
    PIL.fromarray(labels(0) + np.uint8(7)).save(place / "b" / "5.png")
    text = said("--classes", *NAMES, "--samples", 50)
    assert "3 of 6 images failed" in text and "there is no prediction of it in" in text
    assert "has shape (5, 5), the mask (24, 30)" in text and "are none of 3 classes" in text
    shutil.rmtree(place / "b")
    assert "there is no model" in said("--classes", *NAMES)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.Conv2D(1, 1)(image))
    kd.heads.attach(model, kd.heads.Depth()).save(place / "depth.keras")
    assert "predicts something else" in said("--images", place / "images", second="depth.keras")
    assert "--samples must be at least 1" in said("--samples", 0)


def test_classes_that_do_not_occur_and_a_single_image_have_no_interval(place):
    out = place / "out"
    assert compare(place, "--classes", *NAMES, "never", "--samples", 20, "--out", out) == 0
    found = json.loads((out / "compare.json").read_text())["scores"]["iou"]
    assert found["difference"][3] is None and found["low"][3] is None
    assert all(x < 0 for x in found["difference"][:3])
    for n in range(1, 6):
        (place / f"masks/{n}.png").unlink()
        (place / f"a/{n}.png").unlink()
    assert compare(place, "--classes", *NAMES, "--out", out) == 0
    found = json.loads((out / "compare.json").read_text())["scores"]["mean_iou"]
    assert found["difference"] < 0 and found["low"] is None and found["high"] is None

"""Trainings by a recipe: complete, repeatable, continued after a stop, several of them."""

import csv
import html.parser
import importlib.util
import json
import pathlib
import time

import keras
import numpy as np
import pytest

import keras_dense as kd
from keras_dense._command import main
from keras_dense.recipes import rounds
from keras_dense.recipes.choose import choose
from keras_dense.recipes.data import Stretched
from keras_dense.recipes.deliver import deliver
from keras_dense.recipes.folds import ensemble
from keras_dense.recipes.recipe import load
from keras_dense.recipes.speed import Speed, fix_length

pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.ndimage")
_spec = importlib.util.spec_from_file_location(
    "recipe_folders", pathlib.Path(__file__).with_name("folders.py")
)
F = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(F)

CLASSES = list("abcdefgh")
SMALL = {
    "network": "fcn32s",
    "backbone": "mobilenet",
    "backbone_arguments": {"alpha": 0.25},
    "weights": None,
    "batch_size": 2,
    "crop": [32, 64],
    "exports": [],
    "progress": False,
}


class Outline(html.parser.HTMLParser):
    """Checks that tags are closed and nothing is loaded from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings, self.images = [], 0, 0
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.headings += tag == "h2"
        self.images += tag == "img"
        if tag not in ("meta", "img"):
            self.open.append(tag)
        for name, value in attrs:
            assert name not in ("src", "href") or value.startswith("data:image/")

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def history(out):
    with (out / "history.csv").open() as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder, and a finished run."""
    root = F.scenes(tmp_path_factory.mktemp("recipes"), 6)
    out = root / "run"
    found = kd.recipes.train(
        root / "images",
        root / "masks",
        out=out,
        steps=4,
        rounds=2,
        classes=CLASSES,
        **SMALL,
    )
    return root, out, found


def test_a_run_leaves_a_model_a_report_and_results(trained):
    root, out, found = trained
    assert found == json.loads((out / "results.json").read_text())
    assert 0 <= found["score"] <= 1 and found["steps"] == 4 and len(history(out)) == 3
    with np.load(out / "images.npz") as file:
        assert file["labels"].sum(0).tolist() == found["matrix"]
        assert len(file["names"]) == found["images"]["validation"]
    model = keras.saving.load_model(out / "model.keras")
    head = kd.heads.of(model)
    assert head.class_names == CLASSES and len(head.palette) == 8
    assert model.predict(np.zeros((1, 40, 70, 3), "uint8"), verbose=0).shape == (1, 40, 70, 8)
    text = (out / "report.html").read_text(encoding="utf-8")
    outline = Outline(text)
    assert outline.headings >= 7 and outline.images >= 1
    for words in ("What was found", "and why", "Worst and best", "confused", "calibration error"):
        assert words in text
    assert "keras_dense predict" in text
    assert len(list((out / "preview").iterdir())) == 2


def test_a_run_has_a_model_card(trained, tmp_path):
    _, out, found = trained
    text = kd.recipes.card(out, tmp_path / "card.md").read_text("utf-8")
    assert f"| mean iou | {found['score']:.3f} |" in text and "Hardly found" in text
    assert all(f"| {name} |" in text for name in CLASSES)


def test_a_finished_run_is_not_trained_again(trained):
    root, out, found = trained
    before = (out / "model.keras").stat().st_mtime_ns
    again = kd.recipes.train(
        root / "images",
        root / "masks",
        out=out,
        steps=4,
        rounds=2,
        classes=CLASSES,
        **SMALL,
    )
    assert again == found and (out / "model.keras").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match=r"other arguments.*steps \(4 then, 5 now\)"):
        kd.recipes.train(
            root / "images",
            root / "masks",
            out=out,
            steps=5,
            rounds=2,
            classes=CLASSES,
            **SMALL,
        )


def test_a_recipe_gives_the_same_numbers_after_a_stop(trained, tmp_path, monkeypatch):
    root, out, found = trained
    save = rounds.save_weights

    def stopped(path, weights):
        if path.name == "average_2.npz":  # in the second round, before its checkpoint
            raise KeyboardInterrupt
        save(path, weights)

    monkeypatch.setattr(rounds, "save_weights", stopped)
    settings = {"recipe": out / "recipe.json", "out": tmp_path, "exports": [], "progress": False}
    with pytest.raises(KeyboardInterrupt):
        kd.recipes.train(**settings)
    assert len(history(tmp_path)) == 2 and not (tmp_path / "model.keras").exists()
    monkeypatch.undo()
    again = kd.recipes.train(**settings)
    assert history(tmp_path) == history(out)
    for key in ("score", "candidates", "heads", "matrix"):
        assert again[key] == found[key]


def test_a_failed_first_try_does_not_block_a_corrected_one(tmp_path):
    F.scenes(tmp_path, 3)
    settings = {**SMALL, "out": tmp_path / "run", "dry_run": True}
    with pytest.raises(ValueError, match="labels up to"):
        kd.recipes.train(tmp_path / "images", tmp_path / "masks", classes=3, **settings)
    found = kd.recipes.train(tmp_path / "images", tmp_path / "masks", classes=8, **settings)
    assert load(tmp_path / "run" / "recipe.json") == found
    assert "crop: [32, 64]\n    Given." in str(found)


def test_command(tmp_path, capsys):
    F.blobs(tmp_path, encode=F.black_and_white)
    folders = [str(tmp_path / "images"), str(tmp_path / "masks"), "--out", str(tmp_path / "run")]
    arguments = ["--weights", "none", "--set", "crop=32,32", "flips=none", "--json", "--dry-run"]
    assert main(["train", *folders, *arguments, "--minutes", "3"]) == 0
    shown = capsys.readouterr()
    recipe = json.loads(shown.out)
    assert recipe["choices"]["crop"]["value"] == [32, 32]
    assert recipe["choices"]["flips"]["value"] == "none"
    assert recipe["choices"]["minutes"]["value"] == 3 and "white is the foreground" in shown.err
    assert main(["train", *folders, "--weights", "nowhere.h5"]) == 1
    assert "`weights` must be" in capsys.readouterr().err
    assert main(["train", *folders, "--palette", "red"]) == 1
    assert "--palette takes colors" in capsys.readouterr().err
    assert main(["train", "--out", str(tmp_path / "run")]) == 1
    assert "give folders of images and masks, or --recipe" in capsys.readouterr().err
    (tmp_path / "bad.json").write_text("{}")
    recipe = ["--recipe", str(tmp_path / "bad.json"), "--out", str(tmp_path / "other")]
    assert main(["train", *recipe]) == 1
    assert "must be a recipe of format 1" in capsys.readouterr().err


def test_length_fits_into_the_time(tmp_path):
    found = kd.recipes.look(F.scenes(tmp_path, 4) / "images", tmp_path / "masks")
    recipe = choose(found, weights=None, minutes=10)
    fix_length(recipe, Speed(10, 0.5, 0.1, 0.05), spent=20, exports=False)
    # No more than 600 passes over three images.
    assert recipe.value("steps") <= 600 * 3 / 8 and recipe.value("rounds") == 8
    recipe["train"] = [str(i) for i in range(4000)]
    fix_length(recipe, Speed(10, 0.5, 0.1, 0.05), spent=20, exports=False)
    steps = recipe.value("steps")
    assert 800 < steps < 1200 and steps % recipe.value("rounds") == 0
    assert "10 minutes: 0.50 s for a step" in recipe["choices"]["steps"]["why"]
    recipe = choose(found, weights=None, minutes=0.1)
    fix_length(recipe, Speed(10, 0.5, 0.1, 0.05), spent=20)
    assert recipe.value("steps") >= 56 and "too few to learn" in recipe["warned"][-1]


def test_samples_of_a_training_are_spread_evenly():
    stretched = Stretched([{"n": i} for i in range(5)], 23, seed=1)
    drawn = [stretched[i]["n"] for i in range(23)]
    assert all(sorted(drawn[i : i + 5]) == list(range(5)) for i in range(0, 20, 5))
    assert len(set(map(tuple, np.reshape(drawn[:20], (4, 5)).tolist()))) > 1


def test_names_of_durations():
    assert rounds.duration(3661) == "1:01:01" and rounds.duration(-5) == "0:00"


@pytest.mark.exhaustive
def test_steps_are_measured(tmp_path):
    F.scenes(tmp_path, 4)
    began = time.perf_counter()
    settings = {**SMALL, "minutes": 0.5, "average_rounds": 0}
    out = tmp_path / "run"
    kd.recipes.train(tmp_path / "images", tmp_path / "masks", out=out, **settings)
    recipe = load(out / "recipe.json")
    assert recipe.value("steps") >= 8 and "s for a step" in recipe["choices"]["steps"]["why"]
    assert time.perf_counter() - began < 300


@pytest.mark.exhaustive
def test_folds_and_numbered_objects(tmp_path):
    F.blobs(tmp_path, 6)
    found = kd.recipes.train(
        tmp_path / "images",
        tmp_path / "masks",
        out=tmp_path / "run",
        folds=2,
        steps=2,
        rounds=1,
        **SMALL,
    )
    parts = [set(load(tmp_path / f"run/fold_{i}/recipe.json")["validation"]) for i in (1, 2)]
    assert not parts[0] & parts[1] and len(parts[0] | parts[1]) == 6
    Outline((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))
    assert len(found["folds"]) == 2 and 0 <= found["heads"][""]["pq"] <= 1
    low, high = found["intervals"][""]["pq"]  # over the images of all folds
    assert low <= found["heads"][""]["pq"] <= high
    model = keras.saving.load_model(tmp_path / "run" / "model.keras")
    folds = [keras.saving.load_model(each["model"]) for each in found["folds"]]
    image = np.random.default_rng(0).integers(0, 256, (1, 48, 64, 3), dtype="uint8")
    head = kd.heads.of(model)
    chances = [
        keras.ops.convert_to_numpy(head.to_mean(one.predict(image, verbose=0))) for one in folds
    ]
    mean = keras.ops.convert_to_numpy(head.to_mean(model.predict(image, verbose=0)))
    np.testing.assert_allclose(mean, np.mean(chances, 0), atol=1e-5)


@pytest.mark.exhaustive
def test_depth_and_labels(tmp_path):
    world = kd.datasets.scenes(6, (64, 96))
    for i in range(6):
        F.write(tmp_path / "images" / f"{i}.png", world[i]["image"])
        F.write(tmp_path / "masks" / f"{i}.png", world[i]["segmentation"])
        depth = (world[i]["depth"][..., 0] * 1000).clip(0, 65535).astype("uint16")
        F.write(tmp_path / "depth" / f"{i}.png", depth)
    found = kd.recipes.train(
        tmp_path / "images",
        tmp_path / "masks",
        depth=tmp_path / "depth",
        out=tmp_path / "run",
        steps=2,
        rounds=1,
        **SMALL,
    )
    assert set(found["heads"]) == {"segmentation", "depth"}
    Outline((tmp_path / "run" / "report.html").read_text(encoding="utf-8"))


@pytest.mark.exhaustive
def test_exports_run_without_this_process(tmp_path):
    pytest.importorskip("tensorflow")
    backbones = [kd.backbone("mobilenet", weights=None, alpha=0.25) for _ in range(2)]
    models = [kd.fcn32s(backbone, 3) for backbone in backbones]
    lines = []
    found = deliver(ensemble(models), tmp_path, ["savedmodel", "nothing"], lines.append)
    assert list(found) == ["savedmodel"], lines
    assert (tmp_path / "export/savedmodel/1/saved_model.pb").exists()
    assert any("nothing was not written" in line for line in lines)

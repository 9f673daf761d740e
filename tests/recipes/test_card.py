"""The model card of a run: what it says, and what it leaves to people."""

import copy
import json
import re

import pytest

import keras_dense as kd
from keras_dense._command import main

pytestmark = pytest.mark.once

RECIPE = {
    "format": 1,
    "data": {
        "images": "images",
        "masks": "masks",
        "read": {"kind": "labels", "class_names": ["ground", "crop|weed"]},
        "classes": [
            {"name": "ground", "share": 0.9, "images": 40},
            {"name": "crop|weed", "share": 0.1, "images": 12},
        ],
    },
    "train": ["a", "b", "c"],
    "validation": ["d", "e"],
    "choices": {
        "network": {"value": "unet", "why": "Thin classes."},
        "backbone": {"value": "mobilenet_v2", "why": "Small."},
        "weights": {"value": "imagenet", "why": "The default."},
        "minutes": {"value": None, "why": "Not used."},
    },
    "said": ["40 images of 64 x 96 pixels."],
    "warned": ["40 images are few."],
}
RESULTS = {
    "score": 0.44,
    "heads": {"": {"mean_iou": 0.44, "iou": [0.83, 0.05], "dice": [0.91, None]}},
    "intervals": {"": {"mean_iou": [0.4, 0.5], "iou": [[0.8, 0.9], [None, None]]}},
    "candidates": {"last round": 0.44, "best round": 0.41},
    "calibration_error": 0.0379,
    "images": {"train": 3, "validation": 2},
    "steps": 1200,
    "seconds": 1234.5,
}


@pytest.fixture
def run(tmp_path):
    return write(tmp_path / "weeds")


def write(folder, recipe=RECIPE, results=RESULTS):
    folder.mkdir()
    (folder / "recipe.json").write_text(json.dumps(recipe))
    (folder / "results.json").write_text(json.dumps(results))
    return folder


def test_it_has_all_that_the_run_knows(run):
    path = kd.recipes.card(run)
    assert path == run / "model_card.md"
    text = path.read_text("utf-8")
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    assert titles[0] == "Model card: weeds"
    assert titles[1:] == "Intended use,Data,Scores,Training,Limits,Use,License".split(",")
    for words in (
        "`unet` on `mobilenet_v2` (weights: imagenet)",
        "Images to train on: 3, held out: 2.",
        "- 40 images of 64 x 96 pixels.",
        "| mean iou | 0.440 | 0.400 to 0.500 |",
        "| ground | 90 % | 40 | 0.830 | 0.800 to 0.900 | 0.910 |",
        "| crop\\|weed | 10 % | 12 | 0.050 | – | – |",
        "calibration error of the labels: 0.038",
        "1200 steps. 1,234 seconds",
        '| network | `"unet"` | Thin classes. |',
        "- 40 images are few.",
        "among 2 candidates",
        "Hardly found (IoU below .1): crop|weed.",
        'keras.saving.load_model("model.keras", compile=False)',
    ):
        assert words in text, words
    assert "minutes" not in text
    assert text.count("*To be filled in") == 6


def test_licenses_are_filled_in(run):
    kd.recipes.card(run, license="CC-BY-4.0", data_license="CC0-1.0")
    text = (run / "model_card.md").read_text("utf-8")
    assert 'license: "CC-BY-4.0"' in text.split("---")[1]
    assert "License: CC0-1.0" in text and text.endswith("## License\n\nCC-BY-4.0\n")
    assert text.count("*To be filled in") == 4


def test_an_edited_card_is_kept(run):
    path = kd.recipes.card(run)
    path.write_text("edited")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        kd.recipes.card(run)
    assert path.read_text() == "edited"
    assert kd.recipes.card(run, run / "other.md").name == "other.md"
    kd.recipes.card(run, overwrite=True)
    assert path.read_text("utf-8").startswith("---")


def test_objects_and_folds(tmp_path):
    recipe, results = copy.deepcopy(RECIPE), copy.deepcopy(RESULTS)
    recipe["choices"]["objects"] = {"value": "instances", "why": "Numbers."}
    recipe["validation"] = []
    results["heads"] = {"": {"ap50": 0.7, "pq": 0.6, "tp": 12}}
    results["intervals"] = {"": {"pq": [0.5, 0.65]}}
    results["folds"], results["spread"] = [{}, {}, {}], 0.01
    del results["candidates"], results["steps"], results["images"], results["calibration_error"]
    text = kd.recipes.card(write(tmp_path / "cells", recipe, results)).read_text("utf-8")
    assert "predicts numbered objects" in text and "the mean of 3 networks" in text
    assert "Scored on all images, each by a model that was not trained on it" in text
    assert "| pq | 0.600 | 0.500 to 0.650 |" in text and "| tp |" not in text
    assert "objects(maps)" in text and "candidates" not in text and "Images: 3." in text


def test_bad_folders(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="`run` must be the folder of a finished run"):
        kd.recipes.card(tmp_path)
    (run / "results.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        kd.recipes.card(run)


def test_the_command(run, capsys):
    assert main(["card", str(run), "--data-license", "CC0-1.0"]) == 0
    assert "model_card.md" in capsys.readouterr().out
    assert main(["card", str(run), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == 1 and "exists, perhaps edited" in document["error"]
    assert main(["card", str(run), "--overwrite", "--out", str(run / "b.md"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"].endswith("b.md")

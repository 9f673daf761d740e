"""Notebooks run from top to bottom, each in a folder of its own, with little data."""

import ast
import os
import pathlib
import runpy

import keras
import pytest

pytest.importorskip("PIL")

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "examples" / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.py"))
TENSORFLOW = ("export_and_serving",)
# What each leaves behind.
LEFT = {
    "crf": (),
    "coloring": (),
    "export_and_serving": ("served/1/saved_model.pb", "model.keras"),
    "few_masks": ("teacher.keras", "inferred/labels"),
    "first_network": ("first_network.keras",),
    "large_images": ("labels.npy",),
    "own_folder": ("run/report.html", "run/recipe.json"),
    "room": (),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name, tmp_path, monkeypatch):
    backend = keras.backend.backend()
    if backend != ("tensorflow" if name in TENSORFLOW else "torch"):
        pytest.skip("notebooks run on one backend")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_DENSE_QUICK", "1")
    path = os.pathsep.join([str(FOLDER.parents[1]), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    runpy.run_path(str(FOLDER / f"{name}.py"))
    assert all((tmp_path / left).exists() for left in LEFT[name])


@pytest.mark.once
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells(name):
    """Text and code take turns, and each cell can be parsed by itself."""
    cells = (FOLDER / f"{name}.py").read_text("utf-8").split("# %%")
    assert cells[0] == "" and cells[1].startswith(" [markdown]\n# # ")
    for cell in cells[1:]:
        kind, _, body = cell.partition("\n")
        if kind.strip() == "[markdown]":
            assert all(line.startswith("#") for line in body.strip().splitlines())
        else:
            ast.parse(body)

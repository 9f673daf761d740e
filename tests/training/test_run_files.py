"""Arguments of a run, and tables of scores."""

import json

import pytest

import keras_dense as kd

pytestmark = pytest.mark.once


def test_arguments_are_written_once_and_compared_afterwards(tmp_path):
    folder = tmp_path / "runs" / "one"
    kd.training.keep_arguments(folder, {"crop": [320], "root": tmp_path})
    assert json.loads((folder / "arguments.json").read_text())["crop"] == "[320]"
    kd.training.keep_arguments(folder, {"root": str(tmp_path), "crop": [320]})
    assert [path.name for path in folder.iterdir()] == ["arguments.json"]


def test_other_arguments_are_named(tmp_path):
    kd.training.keep_arguments(tmp_path, {"rate": 0.01, "seed": 0})
    with pytest.raises(ValueError, match=r"Received other values of: rate \(0.01 then, 0.5 now\)$"):
        kd.training.keep_arguments(tmp_path, {"rate": 0.5, "seed": 0})
    with pytest.raises(ValueError, match=r"crop \(missing then, 64 now\), seed \(0 then, missing"):
        kd.training.keep_arguments(tmp_path, {"rate": 0.01, "crop": 64})
    kd.training.keep_arguments(tmp_path, {"rate": 0.01, "seed": 0})  # Nothing was overwritten.


def test_table_of_models_with_different_tasks():
    rows = {
        "both": {"depth": {"rmse": 0.5}, "labels": {"mean_iou": 0.61234}},
        "alone": {"depth": {"rmse": 0.25, "delta1": 1.0}},
    }
    assert kd.training.score_table(rows, lower_is_better=["rmse"]).splitlines() == [
        "|  | depth: rmse ↓ | depth: delta1 ↑ | labels: mean_iou ↑ |",
        "|---|---:|---:|---:|",
        "| both | 0.5 |  | 0.6123 |",
        "| alone | 0.25 | 1 |  |",
    ]


def test_tables_without_scores_are_errors():
    with pytest.raises(ValueError, match="`rows` must have at least one score"):
        kd.training.score_table({"one": {}})
    with pytest.raises(ValueError, match="`lower_is_better` must name scores"):
        kd.training.score_table({"one": {"depth": {"rmse": 1.0}}}, lower_is_better=["mse"])

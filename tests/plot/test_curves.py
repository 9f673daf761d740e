"""Curves of a training run, from a history or a file."""

import types

import numpy as np
import pytest

from keras_dense import plot

pytestmark = pytest.mark.once

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("matplotlib")

HISTORY = {
    "loss": [2.0, 1.0, 0.5],
    "val_loss": [2.1, 1.2, 0.9],
    "mean_iou": [0.1, 0.3, 0.5],
    "val_mean_iou": [0.1, 0.35, 0.3],
    "learning_rate": [0.1, 0.05, 0.01],
}


def drawn(path):
    with Image.open(path) as file:
        pixels = np.asarray(file.convert("RGB"))
    return pixels.shape, len(np.unique(pixels.reshape(-1, 3), axis=0))


def test_dict_history_and_file(tmp_path):
    path = plot.curves(HISTORY, tmp_path / "plots" / "a.png", title="a run")
    (height, width, _), inks = drawn(path)
    assert width > 1.8 * height and inks > 20  # loss and mIoU beside each other
    history = types.SimpleNamespace(history=HISTORY, epoch=[4, 5, 6])
    assert drawn(plot.curves(history, tmp_path / "b.png"))[0][1] == width
    csv = tmp_path / "log.csv"
    lines = [
        "epoch,loss,mean_iou,val_loss,val_mean_iou",
        "0,2,.1,2.1,.1",
        "1,1,.3,NA,",
        "2,1,2,3,4",
    ]
    csv.write_text("\n".join(lines))
    assert drawn(plot.curves(csv, tmp_path / "c.png"))[0][1] == width
    only_loss = plot.curves({"loss": [1.0]}, tmp_path / "d.png")
    assert drawn(only_loss)[0][1] < 0.6 * width
    assert drawn(plot.curves(HISTORY, tmp_path / "e.png", metrics=[]))[0][1] < 0.6 * width


def test_nothing_is_left_in_pyplot(tmp_path):
    import matplotlib.pyplot

    before = matplotlib.pyplot.get_fignums()
    plot.curves(HISTORY, tmp_path / "a.svg")
    assert matplotlib.pyplot.get_fignums() == before


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file .*none.csv"):
        plot.curves(tmp_path / "none.csv", tmp_path / "a.png")
    with pytest.raises(ValueError, match="`metrics` must be among .*'mean_iou'.*Received: 'iou'"):
        plot.curves(HISTORY, tmp_path / "a.png", metrics=["iou"])
    with pytest.raises(ValueError, match="`history` must hold at least one epoch"):
        plot.curves({"loss": []}, tmp_path / "a.png")
    (tmp_path / "empty.csv").write_text("epoch,loss\n")
    with pytest.raises(ValueError, match="`history` must hold at least one epoch"):
        plot.curves(tmp_path / "empty.csv", tmp_path / "a.png")
    with pytest.raises(ValueError, match="`history` must hold a loss or a metric"):
        plot.curves({"learning_rate": [1.0]}, tmp_path / "a.png")

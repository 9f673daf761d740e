"""Drawings of confusion matrices and of calibration."""

import numpy as np
import pytest

from keras_dense.heads.drawing import RIGHT, WRONG
from keras_dense.plot import confusion_matrix, reliability

pytestmark = pytest.mark.once
pytest.importorskip("PIL.Image")


def colors(drawing):
    return {tuple(c) for c in np.unique(drawing.reshape(-1, 3), axis=0).tolist()}


def test_cells_of_a_confusion_matrix():
    full = confusion_matrix([[10, 0], [10, 0]], cell=40)
    assert {RIGHT, WRONG} <= colors(full)  # both rows are predicted as the first class
    assert full.dtype == np.uint8 and full.shape[2] == 3
    by_column = confusion_matrix([[10, 0], [10, 0]], normalize="prediction")
    assert RIGHT not in colors(by_column) and (120, 120, 120) in colors(by_column)  # hatched
    half = tuple((np.add(RIGHT, 255) / 2).astype(int).tolist())
    assert half in colors(by_column)
    whole = confusion_matrix([[10, 0], [0, 10]], normalize="all")
    assert half in colors(whole) and RIGHT not in colors(whole)


def test_names_make_room():
    short = confusion_matrix(np.eye(3), ["a", "b", "c"])
    long = confusion_matrix(np.eye(3), ["a", "quite a long name", "c"])
    assert long.shape[0] > short.shape[0]
    longest = confusion_matrix(np.eye(3), ["a", "name " * 90, "c"])
    assert longest.shape[0] < 500
    assert confusion_matrix(np.eye(21), cell=24).shape[1] > 21 * 24


def test_bars_of_a_calibration():
    scores = {
        "calibration_accuracy": np.array([np.nan, 0.5, 0.75]),
        "calibration_confidence": np.array([np.nan, 0.5, 1.0]),
        "calibration_share": np.array([0.0, 0.5, 0.5]),
    }
    drawing = reliability(scores, size=300, title="a network")
    # From the lower left corner of the diagram: empty, accurate to 1/2, overconfident above 3/4.
    column = {n: drawing[34 : 34 + 300, 46 + 100 * n + 50][::-1] for n in range(3)}
    assert (column[0][60] == 255).all()
    assert column[1][140].tolist() == column[2][200].tolist() == [88, 134, 186]
    assert (column[1][170] > 220).all() and column[2][240].tolist()[0] > 230
    right = reliability({**scores, "calibration_confidence": scores["calibration_accuracy"]})
    red = np.array(column[2][240])
    assert not (right.reshape(-1, 3) == red).all(-1).any()


def test_of_a_metric():
    from keras_dense.metrics import CalibrationError

    metric = CalibrationError(2)
    labels = np.random.default_rng(0).integers(0, 2, (1, 20, 20))
    metric.update_state(labels, np.random.default_rng(1).normal(size=(1, 20, 20, 2)))
    assert reliability(metric.scores(), size=120).shape[1] == 120 + 62


def test_bad_input():
    with pytest.raises(ValueError, match=r"`matrix` must be counts \(C, C\).*shape \(2, 3\)"):
        confusion_matrix(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="`matrix` must be counts .*smallest -1"):
        confusion_matrix([[1, 0], [-1, 2]])
    with pytest.raises(ValueError, match="`class_names` must be one for each of 2 classes"):
        confusion_matrix(np.eye(2), ["sky"])
    with pytest.raises(ValueError, match="`normalize` must be one of"):
        confusion_matrix(np.eye(2), normalize="rows")
    with pytest.raises(ValueError, match="`cell` must be an integer >= 24"):
        confusion_matrix(np.eye(2), cell=3)
    with pytest.raises(ValueError, match="with 'calibration_accuracy'. Received: .'mean_iou'."):
        reliability({"mean_iou": 0.5})
    with pytest.raises(ValueError, match="`size` must be an integer >= 120"):
        reliability({}, size=3)
